"""Consensus: the lanes vote, and the answer that most of them give wins.

After Wang et al., "Self-Consistency" (2203.11171), and Aggarwal et al., "Adaptive-Consistency" (2305.11860), for when
to stop. At the sizes of a fan-out, to stop as soon as nobody can catch the leader is exact and mostly cheaper than to
stop when it is likely enough to stay in front; that pays from about 15 lanes on. To take the first two that agree is
fast, and wrong far more often.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from math import comb, inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack, get_args
from unicodedata import normalize
from weakref import WeakKeyDictionary

from fanout.abc import OnLose, Policy, Standing
from fanout.answers import Answer
from fanout.errors import Refused, UsageError
from fanout.events import End, Event, Status
from fanout.policies.best import Choosing
from fanout.policies.questions import MOST_SHOWN, check_judge, find_objects

if TYPE_CHECKING:
    from fanout.schema import Form

Stop = Literal["caught", "likely"]
Key = Callable[[Answer], Any]

LIKELY = 0.95
"""The probability at which a leader is likely enough to be the answer of most."""

MOST_EXACT = 1 << 53
"""The whole numbers below are the same as a float; what has a fraction of 0 is one of them."""


class Consensus(Policy):
    """The answer that most lanes give; the others are stopped as soon as that is certain.

    `key` says which answers are the same: usually the value or JSON of an answer, else its text, without regard to
    capitals, spaces and a full stop; the name of a field of the JSON; or a function of the answer. An answer without a
    key is refused. `stop="caught"` stops when the lanes that still run could not make another answer catch up, so that
    it is the one of the full vote; `stop="likely"` when that is likely (0.95) by the votes alone, however few lanes are
    left: of three or five lanes that agree, all or nearly all have to end for it. With `agree` the first answer with so
    many votes wins, and no other.

    `wave` lanes start at once, usually all; the next when those that run cannot decide any more. Where no answer wins,
    because of a tie, `run.kept` has all of them, and the judge `or_judge`, if there is one, says by the `criteria`
    which is the best. Raises UsageError.
    """

    undecided: ClassVar[str] = "the lanes did not agree"

    def __init__(  # the settings of a plan
        self,
        *lanes: Any,
        agree: int | None = None,
        key: str | Key | None = None,
        stop: Stop = "caught",
        wave: int | None = None,
        or_judge: Any = None,
        criteria: str | None = None,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack["Form"],
    ) -> None:
        super().__init__(*lanes, deadline=deadline, on_lose=on_lose, **form)
        for name, number in (("agree", agree), ("wave", wave)):
            if number is not None and (type(number) is not int or not 1 <= number <= max(len(lanes), 1)):
                raise UsageError(f"{name} must be between 1 and the number of lanes, {len(lanes)}, not {number!r}")
        if stop not in get_args(Stop):
            raise UsageError(f"stop must be caught or likely, not {stop!r}")
        if key is not None and not callable(key) and not (isinstance(key, str) and key):
            raise UsageError(f"key takes the name of a field or a function of an answer, not {key!r:.80}")
        if or_judge is not None:
            check_judge(or_judge)
        self.heeds = frozenset({End})
        self.accept = self._has_key
        self.pace = 0.0 if wave is None else inf
        self.agree, self.key, self.stop = agree, key, stop
        self.first = len(lanes) if wave is None else wave
        self.judge, self.criteria, self.most_shown = or_judge, criteria, MOST_SHOWN
        self._keys: WeakKeyDictionary[Standing, str] = WeakKeyDictionary()

    @property
    def plans(self) -> tuple[Any, ...]:
        """The lanes, and the judge if there is one."""
        return self.lanes if self.judge is None else (*self.lanes, self.judge)

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """All that do not agree, once it is decided; those that run, once nothing can be; a refused lane itself."""
        if not isinstance(event, End):
            return ()
        votes = self._count(lanes)
        if self._is_decided(votes, _running(lanes)):
            return [i for i, one in enumerate(lanes) if not one.lost and i not in _leader(votes)]
        refused = [lane] if event.status is Status.FINISHED and not lanes[lane].good else []
        running = [i for i, one in enumerate(lanes) if one.status is None and not one.lost]
        hopeless = self.agree is not None and len(_leader(votes)) + len(running) < self.agree
        return refused + (running if hopeless else [])

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """Returns the first lane that gave the answer of most, once it is decided."""
        votes = self._count(lanes)
        return _leader(votes)[0] if self._is_decided(votes, _running(lanes)) else None

    def needs_next(self, lanes: Sequence[Standing], started: int) -> bool:
        """Tells whether those that run could not decide, whatever they answer."""
        if started < self.first:
            return True
        return not self._is_decided(self._count(lanes), _running(lanes[started:]), more=_running(lanes[:started]))

    def tally(self, lanes: Sequence[Standing]) -> Mapping[str, Sequence[int]]:
        """Returns the lanes that voted for each answer, the most first, those that lost among them."""
        return self._count(lanes, lost=True)

    def open_hearing(self) -> "Tied | None":
        """Returns the question to the judge where lanes do not agree, if there is a judge."""
        return None if self.judge is None else Tied(self)

    def wait(self, good: int, elapsed: float) -> float | None:
        """Returns None: every vote counts, whenever it comes."""
        return None

    def _count(self, lanes: Sequence[Standing], *, lost: bool = False) -> dict[str, list[int]]:
        """Returns who gave each answer, in the order in which they finished; the answer of most stands first."""
        votes: dict[str, list[int]] = {}
        for i in sorted(range(len(lanes)), key=lambda i: lanes[i].place):
            counts = lanes[i].good or (lost and _has_voted(lanes[i]))
            if counts and (key := self._key_of(lanes[i])) is not None:
                votes.setdefault(key, []).append(i)
        return dict(sorted(votes.items(), key=lambda item: -len(item[1])))

    def _is_decided(self, votes: Mapping[str, Sequence[int]], left: int, *, more: int = 0) -> bool:
        """Tells whether the first answer has won, with so many lanes `left`, or would if `more` gave it too."""
        counts = [*map(len, votes.values()), 0, 0]
        most, next_most = counts[0] + more, counts[1]
        if self.agree is not None:
            return most >= self.agree
        if self.stop == "caught" or not left:
            return most > next_most + left
        return compute_lead(most, next_most) >= LIKELY

    def _key_of(self, lane: Standing) -> str | None:
        """Returns the key of a lane that has finished; it is found once, as it may be the caller's own to find."""
        if lane not in self._keys:
            try:
                found = self.find_key(lane.answer)
            except Refused:
                return None
            self._keys[lane] = found
        return self._keys[lane]

    def _has_key(self, answer: Answer) -> bool:
        if not answer.answered:
            return False
        self.find_key(answer)
        return True

    def find_key(self, answer: Answer) -> str:
        """Returns the key of an answer: answers with the same key are the same. Raises Refused if it has none."""
        try:
            key = _find_usual(answer) if self.key is None else self._find_own(answer)
            found = key if key is None or isinstance(key, str) else encode(key)
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"no key for its vote: {error}") from error
        if found is None:
            raise Refused("no key for its vote")
        return found.encode(
            "utf-8", "backslashreplace"
        ).decode()  # JSON may hold half a character, and no wire takes it

    def _find_own(self, answer: Answer) -> Any:
        if not isinstance(self.key, str):
            assert self.key is not None
            return self.key(answer)
        value = answer.value if answer.value is not None else _read_json(answer.text)
        if not isinstance(value, Mapping) or value.get(self.key) is None:
            raise Refused(f"no key for its vote: its JSON has no field {self.key!r}")
        found = value[self.key]
        return normalise(found) if isinstance(found, str) else found


class Tied(Choosing):
    """The question to a judge about answers of which none has won: one lane of each, of those in front."""

    def __init__(self, policy: Consensus) -> None:
        super().__init__(policy)
        self.share = 0.0  # to cut a lane off for the judge would cost a vote
        self._consensus = policy

    def choose(self, lanes: Sequence[Standing]) -> Sequence[int]:
        """Returns the first lane of each answer that shares the lead; of every answer where one leads alone."""
        votes = list(self._consensus.tally(lanes).values())
        in_front = [voters[0] for voters in votes if len(voters) == len(votes[0])]
        chosen = in_front if len(in_front) > 1 else [voters[0] for voters in votes]
        return sorted(chosen, key=lambda i: lanes[i].place)


def compute_lead(most: int, next_most: int) -> float:
    """Returns how likely an answer with `most` votes is ahead of one with `next_most` in all answers there could be.

    The posterior of Adaptive-Consistency, a Beta distribution under a flat prior, at one half: as both counts are
    whole, that is a sum of binomials.
    """
    n = most + next_most + 1
    return sum(comb(n, k) for k in range(most + 1)) / 2.0**n if n < MOST_COUNTED else float(most > next_most)


MOST_COUNTED = 1000
"""Votes up to which that is a float."""


def normalise(text: str) -> str:
    """Returns a text without regard to capitals, to spaces around and within, and to a full stop at its end.

    Characters that are written in two ways are the same, and so are 1 and 1.0.
    """
    words = " ".join(normalize("NFC", normalize("NFC", text).casefold()).split()).removesuffix(".").rstrip()
    return words.partition(".")[0] if _WHOLE.fullmatch(words) else words


_WHOLE = re.compile(r"[+-]?[0-9]+\.0+")
_FENCED = re.compile(r"```\w*\s(.*?)\s*```", re.DOTALL)


def encode(value: Any) -> str:
    """Returns a value as canonical JSON, in which what is equal is written alike. Raises TypeError, ValueError."""
    return json.dumps(_equal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_say)


def _say(value: Any) -> str:
    """The words of a value that JSON has none for: a date, say, or a Decimal."""
    said = str(value)
    if f" at {id(value):#x}" in said:
        raise TypeError(f"{type(value).__name__} says nothing but where it lies in memory")
    return said


def _equal(value: Any) -> Any:
    """The value with the same number for 1 and 1.0, as in RFC 8785, and with characters written in one way."""
    if isinstance(value, str):
        return normalize("NFC", value)
    if isinstance(value, float) and value.is_integer() and abs(value) < MOST_EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {_equal(str(name)): _equal(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_equal(inner) for inner in value]
    return value


def _find_usual(answer: Answer) -> str | None:
    if answer.value is not None:
        return encode(answer.value)
    if answer.tool_calls and not answer.text:
        return encode([[call.name, _read_json(call.arguments)] for call in answer.tool_calls])
    value = _read_json(answer.text)
    return encode(value) if isinstance(value, dict | list) else normalise(answer.text or answer.refusal) or None


def _read_json(text: str) -> Any:
    """The JSON that a text is, perhaps in a code fence; else the text."""
    bare = text.strip()
    if fenced := _FENCED.fullmatch(bare):
        bare = fenced[1].strip()
    if bare[:1] in ("{", "["):
        try:
            return json.loads(bare)
        except (ValueError, RecursionError):
            return text
    if bare.startswith("```") and (found := next(find_objects(bare), None)) is not None:
        return found
    return text


def _leader(votes: Mapping[str, Sequence[int]]) -> Sequence[int]:
    return next(iter(votes.values()), ())


def _has_voted(lane: Standing) -> bool:
    """Tells whether a lane's answer is a vote, whoever has won: one that is empty or that a schema refused is none."""
    answer = lane.answer
    return lane.status is Status.FINISHED and answer.answered and answer.error is None


def _running(lanes: Sequence[Standing]) -> int:
    return sum(lane.status is None and not lane.lost for lane in lanes)
