"""Race: all lanes start at once, the first good one wins and the others lose."""

from collections.abc import Collection, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from fanout.abc import Accept, OnLose, Policy, Standing
from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.events import ANSWERING, CONTENT, End, Event, Reasoning, Status, is_content

if TYPE_CHECKING:
    from fanout.schema import Form

On = Literal["finish", "first_token", "first_thought"]


JUDGED_WHOLE = "a schema judges whole answers, and on={!r} has one win before its end: use finish"
"""The sentence that a schema and an early win exclude each other."""


def has_answer(answer: Answer) -> bool:
    """The default `accept`: anything but an empty answer."""
    return answer.answered


class Race(Policy):
    """The first good lane wins.

    `on="finish"`: good is the first finished answer that fits the schema and that `accept` takes; a refused one counts
    as a failure.
    `on="first_token"`: good is the first output, which is text, a tool call or a file; with `reasoning=True` a thought
    is one too, as it is with `on="first_thought"`. A winner that fails later is not replaced.
    """

    def __init__(
        self,
        *lanes: Any,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = False,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack["Form"],
    ) -> None:
        super().__init__(*lanes, deadline=deadline, on_lose=on_lose, **form)
        if on not in get_args(On):
            raise UsageError(f"on must be finish, first_token or first_thought, not {on!r}")
        if self.schema is not None and on != "finish":
            raise UsageError(JUDGED_WHOLE.format(on))
        self.accept = accept or has_answer
        self._output = ANSWERING | {Reasoning} if reasoning or on == "first_thought" else ANSWERING
        self.win_on(on)

    def win_on(self, on: On) -> None:
        """Sets what makes a lane good."""
        self.on = on
        self._on_output = on != "finish"
        self.waits = not self._on_output
        self.speech = CONTENT if Reasoning in self._output else CONTENT - {Reasoning}
        self.heeds = frozenset({End}) | self._output if self._on_output else frozenset({End})

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """All others once this lane is good; this lane itself if its answer is refused."""
        if isinstance(event, End):
            if event.status is not Status.FINISHED:
                return ()
            if not lanes[lane].good:
                return (lane,)
        elif not (self._on_output and type(event) in self._output and is_content(event)):
            return ()
        return [i for i, other in enumerate(lanes) if i != lane and not other.lost]

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """Returns the first good lane; or the one that runs, once its output has made all others lose."""
        if self._on_output:
            left = [i for i, lane in enumerate(lanes) if not lane.lost]
            if len(left) == 1 and lanes[left[0]].status is None and self._has_spoken(lanes[left[0]].answer):
                return left[0]
        return super().winner(lanes)

    def _has_spoken(self, answer: Answer) -> bool:
        return (answer.ttft if Reasoning in self._output else answer.ttfo) is not None
