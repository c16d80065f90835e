"""A lane's place in a group: what a policy may know of the lane, and what `accept` says of its answer."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from inspect import isawaitable
from typing import Protocol

import trio
from attrs import define

from fanout.abc import WAITING, Accept, Hearing, Lane
from fanout.answers import Answer
from fanout.engine.attempt import Attempt
from fanout.errors import ProviderError, Refused
from fanout.events import Status
from fanout.prompt import Prompt

LONGEST_REASON = 500
"""Characters of a refusal's own words that an error repeats."""


@define(eq=False)
class Seat:
    """One lane's place in a group, with what a policy may know of it.

    `weighing` holds the policy's `accept` while it is awaited: the lane has finished, and its answer is not good yet.
    `refusal` says why an answer was not taken.
    """

    lane: "Attempt | Compound"
    status: Status | None = None
    lost: bool = False
    refusal: str | ProviderError | None = None
    weighing: trio.CancelScope | None = None
    place: int = 0
    started: bool = False

    @property
    def open(self) -> bool:
        """True as long as it is not known what becomes of the lane."""
        return self.status is None or self.weighing is not None

    @property
    def good(self) -> bool:
        """True if the lane has finished, its answer was taken, and it has not lost."""
        return self.status is Status.FINISHED and self.weighing is None and self.refusal is None and not self.lost

    @property
    def answer(self) -> Answer:
        """The lane's answer so far."""
        return self.lane.answer


class Compound(Lane, Protocol):
    """A lane made of lanes, and what is to be known of those below."""

    @property
    def clock(self) -> str:
        """The clock that says until when the lane of its answer may take."""
        ...

    @property
    def expired(self) -> bool:
        """True if it can give no answer any more."""
        ...

    @property
    def favourite(self) -> "Seat | None":
        """The winner, or the first that is good where nobody chooses."""
        ...

    @property
    def settled(self) -> Attempt | None:
        """The only lane below whose answer can still be its own, if there is but one."""
        ...

    @property
    def votes(self) -> Mapping[str, tuple[str, ...]]:
        """The lanes that voted for each answer, if lanes did."""
        ...

    def attempts(self) -> Iterator[tuple[Attempt, bool]]:
        """Every attempt below, in the order of the plan; and True with those whose answer was kept."""
        ...

    def overhead(self) -> Iterator[Attempt]:
        """The attempts below whose answers were not kept, but went into the one that was."""
        ...

    def hearings(self) -> Iterator[Hearing]:
        """The questions to judges below, and their words."""
        ...

    def judged(self) -> Iterator[tuple[Attempt, Prompt]]:
        """The judges' attempts below, and the prompt whose answers they were shown."""
        ...

    def errors(self) -> Iterator[ProviderError]:
        """The errors of the lanes below that gave no answer."""
        ...


def follow(seat: Seat | None) -> Attempt | None:
    """Returns the lane with one provider that won, down to the last; None where one that won has not chosen."""
    while seat is not None:
        if isinstance(seat.lane, Attempt):
            return seat.lane
        seat = seat.lane.favourite
    return None


def call_all(calls: Iterable[Callable[[], None]]) -> None:
    """Makes every call, in their order; what one of them raises comes out when all have been made."""
    with ExitStack() as stack:
        for call in reversed(list(calls)):
            stack.callback(call)


def weigh(seat: Seat, accept: Accept) -> Awaitable[bool] | None:
    """Asks `accept` about the lane's answer: notes in the seat if it is refused, or returns what is to be awaited."""
    try:
        taken = accept(seat.answer)
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


def stop_weighing(seat: Seat) -> None:
    """Stops the wait for `accept`, if there is one."""
    if seat.weighing is not None:
        seat.weighing.cancel()
        seat.weighing = None


def refuse(answer: Answer, reason: str | ProviderError) -> ProviderError:
    """Makes the error of an answer that was not taken."""
    if isinstance(reason, ProviderError):
        return reason
    words = "its answer was not accepted" if answer.answered else "its answer was empty"
    error = Refused(f"{words}: {reason[:LONGEST_REASON]}" if reason else words)
    error.lane, error.partial = answer.lane, answer.text
    return error
