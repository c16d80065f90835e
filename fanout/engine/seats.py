"""A lane's place in a group, and what a group may know of a lane that is made of lanes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol

import trio
from attrs import define

from fanout.abc import Hearing, Lane
from fanout.answers import Answer
from fanout.engine.attempt import Attempt
from fanout.engine.judging import Judgement
from fanout.errors import ProviderError
from fanout.events import Status
from fanout.prompt import Prompt


@define(eq=False)
class Seat:
    """One lane's place in a group, with what a policy may know of it.

    `weighing` holds the policy's `accept` while it is awaited: the lane has finished, and its answer is not good yet.
    `refusal` says why an answer was not taken. `judgement` is the schema's, if there is one.
    """

    lane: "Attempt | Compound"
    status: Status | None = None
    lost: bool = False
    refusal: str | ProviderError | None = None
    weighing: trio.CancelScope | None = None
    place: int = 0
    started: bool = False
    judgement: Judgement | None = None

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
        """The lane's answer so far, with the value that it was accepted with, or the error of its refusal."""
        return self.lane.answer if self.judgement is None else self.judgement.mark(self.lane.answer)


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

    def overtake(self) -> None:
        """Takes note that another lane has started because those that run here are late."""
        ...

    def attempts(self) -> Iterator[tuple[Attempt, bool]]:
        """Every attempt below, in the order of the plan; and True with those whose answer was kept."""
        ...

    def places(self) -> "Iterator[tuple[Attempt, Seat, bool]]":
        """The same with the seat of each, whose answer has the value or the refusal."""
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


class Row:
    """The places of a group's lanes, and what they alone can say of the lanes below."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []

    @property
    def settled(self) -> Attempt | None:
        """The only lane below that has not lost, if there is but one: the others lost when a policy chose it."""
        left = [seat.lane for seat in self.seats if not seat.lost]
        if len(left) != 1:
            return None
        return left[0] if isinstance(left[0], Attempt) else left[0].settled

    def hearings(self) -> Iterator[Hearing]:
        """The questions to judges below, and their words."""
        for seat in self.seats:
            if not isinstance(seat.lane, Attempt):
                yield from seat.lane.hearings()

    def judged(self) -> Iterator[tuple[Attempt, Prompt]]:
        """The judges' attempts below, and the prompt whose answers they were shown."""
        for seat in self.seats:
            if not isinstance(seat.lane, Attempt):
                yield from seat.lane.judged()

    @property
    def expired(self) -> bool:
        """True if none of its lanes can still give an answer."""
        return all(not seat.open or seat.lost or seat.lane.expired for seat in self.seats)

    def any_runs(self) -> bool:
        """True if a lane runs that may still give the answer."""
        return any(seat.started and seat.open and not seat.lost for seat in self.seats)


def follow(seat: Seat | None) -> Seat | None:
    """Returns the seat of the lane with one provider that won; None where one that won has not chosen."""
    while seat is not None and not isinstance(seat.lane, Attempt):
        seat = seat.lane.favourite
    return seat


def call_all(calls: Iterable[Callable[[], None]]) -> None:
    """Makes every call, in their order; what one of them raises comes out when all have been made."""
    with ExitStack() as stack:
        for call in reversed(list(calls)):
            stack.callback(call)


def stop_weighing(seat: Seat) -> None:
    """Stops the wait for `accept`, if there is one."""
    if seat.weighing is not None:
        seat.weighing.cancel()
        seat.weighing = None
