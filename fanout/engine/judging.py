"""Judges a lane's answer by a schema: whole ones at their end, and the beginnings of those that nothing can mend."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, evolve

from fanout.abc import WAITING, Accept
from fanout.answers import Answer
from fanout.engine.attempt import Attempt
from fanout.errors import ProviderError, Refused
from fanout.events import End, Event, Reasoning, Started
from fanout.prompt import Message, Options, Prompt

if TYPE_CHECKING:
    from fanout.schema import Schema
    from fanout.schema.prefixes import Prefix

_NO_TEXT = frozenset({End, Reasoning})
"""The events after which there is no text to look at: an answer that is over is judged as a whole."""

LONGEST_REASON = 500
"""Characters of a refusal's own words that an error repeats."""

FARTHEST = 1000
"""The distance of an answer that was cut off because nothing could mend it."""

Again = Callable[[Attempt], Attempt]
"""Makes another lane with the provider of one."""


@define(eq=False)
class Judgement:
    """The word of a schema on the answer of one lane: its value, or why it has none.

    `distance` says how far a refused answer is from one that fits.
    """

    lane: Attempt
    schema: "Schema"
    value: Any = None
    refused: Refused | None = None
    distance: int = 0
    _prefix: "Prefix | None" = None

    def look(self, events: Sequence[Event]) -> bool:
        """Takes events of one read. True if no further text can mend the beginning of the answer: it is refused."""
        prefix = self._prefix
        if prefix is not None:
            prefix.left -= len(events)
            if prefix.left > 0 or type(events[-1]) in _NO_TEXT:
                return False
            answer = self.lane.answer
            if (mistake := prefix.look(answer.text)) is not None:
                self._prefix = None
                self._refuse(answer, [mistake], FARTHEST)
                return True
        if type(events[0]) is Started:  # of each try, which may take another form of the provider
            enforced = self.lane.provider.schema_form == "enforced"
            self._prefix = None if enforced or self._tools else self.schema.watch()  # words beside a call are no answer
        return False

    def judge(self) -> bool:
        """Judges the whole answer. True if it fits. Raises what the caller's class raises, but for a ValueError."""
        from fanout.schema import Invalid  # noqa: PLC0415  # few groups have a schema

        answer = self.lane.answer
        try:
            self.value = self.schema.judge(answer, self._tools)
        except Invalid as invalid:
            self._refuse(answer, invalid.why, invalid.distance)
            return False
        return True

    def mark(self, answer: Answer) -> Answer:
        """Returns the answer with its value, or with the error of its refusal."""
        if self.refused is not None:
            return evolve(answer, error=answer.error or self.refused)
        return answer if self.value is None else evolve(answer, value=self.value)

    def correct(self) -> Prompt:
        """Returns the prompt that asks for a refused answer once more, with what is wrong with it."""
        assert self.lane.prompt is not None
        assert self.refused is not None
        answer = self.lane.answer
        lines = "\n".join(f"- {path or 'the whole'}: {words}" for path, words in self.refused.why)
        words = f"That answer does not fit the JSON schema:\n{lines}\nAnswer once more, with JSON alone that fits it."
        turns = (*self.lane.prompt.messages, answer.message, Message("user", words))
        state = answer.conversation.state if answer.conversation else None
        return evolve(self.lane.prompt, messages=turns, state=state)

    @property
    def _tools(self) -> Sequence[Mapping[str, Any]]:
        options = self.lane.prompt.options if self.lane.prompt else Options()
        given = options.body.get("tools")
        return [*options.tools, *(given if isinstance(given, list) else ())]

    def _refuse(self, answer: Answer, why: Sequence[tuple[str, str]], distance: int) -> None:
        from fanout.schema import tell  # noqa: PLC0415  # few groups have a schema

        self.refused = error = Refused(f"its answer does not fit the schema: {tell(why)}")
        error.why, error.lane, error.partial = tuple(why), answer.lane, answer.text
        self.distance = distance


def find_nearest(judgements: Iterable[Judgement | None]) -> Judgement | None:
    """Returns the judgement on the refused answer that came nearest to fitting, if any lane did answer."""
    refused = [one for one in judgements if one is not None and one.refused is not None and one.lane.answer.answered]
    return min(refused, key=lambda one: one.distance, default=None)


class Weighed(Protocol):
    """A lane's place in its group, as far as its answer is weighed: `refusal` says why it was not taken."""

    refusal: str | ProviderError | None
    judgement: Judgement | None

    @property
    def answer(self) -> Answer:
        """The answer."""
        ...


def weigh(seat: Weighed, accept: Accept | None) -> Awaitable[bool] | None:
    """Judges the lane's answer by its schema, and asks `accept` about it.

    Notes in the seat if it is refused, or returns what is to be awaited.
    """
    try:
        if seat.judgement is not None and not seat.judgement.judge():
            seat.refusal = seat.judgement.refused
            return None
        taken = accept is None or accept(seat.answer)
    except (Refused, ValueError) as error:
        seat.refusal = str(error)
        return None
    except BaseException:
        seat.refusal = "accept raised an exception"
        raise
    if isawaitable(taken):
        return taken
    seat.refusal = None if taken else ""
    return None


async def decide(verdict: Awaitable[bool]) -> str | None:
    """Awaits what `accept` returned. Returns None if the answer is taken, else why not, as far as it said."""
    waiting = WAITING.get()
    try:
        return None if await (verdict if waiting is None else waiting(verdict)) else ""
    except (Refused, ValueError) as error:
        return str(error)


def make_refusal(answer: Answer, reason: str | ProviderError) -> ProviderError:
    """Makes the error of an answer that was not taken."""
    if isinstance(reason, ProviderError):
        return reason
    words = "its answer was not accepted" if answer.answered else "its answer was empty"
    error = Refused(f"{words}: {reason[:LONGEST_REASON]}" if reason else words)
    error.lane, error.partial = answer.lane, answer.text
    return error
