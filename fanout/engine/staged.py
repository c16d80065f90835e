"""A lane in two stages: lanes that answer, and then judges who see the answers.

The judges are lanes like others, with their clocks, tries and Ends. They start in the very step in which it is decided
that no further answer is waited for. What they are asked, and how their word is read, is the hearing's business, which
does no I/O.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import trio
from attrs import define

from fanout.abc import Alone, Hear, Hearing, Leave, OnLose, Policy, no_others, nobody, not_alone
from fanout.answers import Answer
from fanout.engine.alarms import let_read
from fanout.engine.attempt import Attempt
from fanout.engine.group import Group, is_alone
from fanout.engine.seats import Compound, Seat, call_all, follow
from fanout.errors import ProviderError, TimedOut
from fanout.errors.unwrapped import unwrapping
from fanout.events import End, Event, Status
from fanout.prompt import Prompt
from fanout.prompt.history import Turns

if TYPE_CHECKING:
    from fanout.schema import Schema


class State(Enum):
    """The states of a lane in two stages."""

    WAITING = "waits for its start"
    GATHERING = "its lanes answer"
    JUDGING = "judges are asked about the answers"
    ENDED = "its End has been heard"


WAITING, GATHERING, JUDGING, ENDED = State

MOVES = {
    (WAITING, GATHERING): "its turn has come",
    (WAITING, ENDED): "cancelled, or closed",
    (GATHERING, JUDGING): "no further answer is waited for, and there are several",
    (GATHERING, ENDED): "there is one answer or none, its lanes have decided themselves, or cancelled",
    (JUDGING, ENDED): "the judges have said their word or failed, or cancelled",
}
"""The legal moves, and when they are made; any other is a bug, and raises."""


@define
class Asked:
    """The prompt of one run: as the judges know it, when it was put, and until when all may take (Trio times)."""

    prompt: Prompt
    began: float
    until: float


class Staged:
    """Runs lanes as a policy says, and then the judges of its hearing. It is a lane itself."""

    def __init__(
        self,
        policy: Policy,
        lanes: Sequence[Attempt | Compound],
        hearing: Hearing,
        judges: Sequence[Group],
        on_lose: OnLose,
        turns: Turns | None = None,
        schema: "Schema | None" = None,
    ) -> None:
        self.name = type(policy).__name__.lower()
        self.hear: Hear = nobody
        self.leave: Leave = no_others
        self.alone: Alone = is_alone
        self.state = WAITING
        self.ended_at: float | None = None
        self.panel = Panel(self.name, policy, lanes, on_lose, self._look, schema)
        self.judges = judges
        self.hearing = hearing
        self._turns = turns
        self._asked = Asked(Prompt(()), 0.0, 0.0)
        self._candidates: Sequence[Seat] = ()
        self._won: Seat | None = None
        self._grace: trio.CancelScope | None = None
        self._reserve: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self.panel.hear = self._hear_panel
        self.panel.leave = self._leave
        self.panel.alone = self._has_no_answer
        for index, judge in enumerate(judges):
            judge.hear = partial(self._hear_judge, index)
            judge.leave = self._leave
            judge.alone = not_alone  # where it fails, there is an answer all the same

    def __repr__(self) -> str:
        return f"<Staged {self.name!r} {self.state.name}, {len(self._candidates)} answers of {len(self.panel.seats)}>"

    @property
    def chooses(self) -> bool:
        """True: there is one answer at the end."""
        return True

    @property
    def seats(self) -> Sequence[Seat]:
        """The places of the lanes that answer."""
        return self.panel.seats

    @property
    def over(self) -> bool:
        """True once its End has been heard."""
        return self.ended_at is not None

    @property
    def winner(self) -> Seat | None:
        """The seat whose answer is the lane's: a judge who writes it is known from its first token on."""
        writer = self._writer
        return writer.winner if writer is not None and self.state is JUDGING else self._won

    @property
    def favourite(self) -> Seat | None:
        """The winner: there is one at the end."""
        return self.winner

    @property
    def chosen(self) -> Seat | None:
        """The seat of the lane with one provider that won, down to the last."""
        return follow(self.winner)

    @property
    def answer(self) -> Answer:
        """The answer of the winner; before that an empty one, since no lane's words are known to be the answer."""
        won = self.winner
        if won is not None:
            return won.answer
        return self.panel.answer if self.over else Answer(self.name)

    @property
    def due(self) -> float:
        """The Trio time until which the lanes that ran last may take."""
        return self._last.due

    @property
    def clock(self) -> str:
        """The clock that says so."""
        return self._last.clock

    @property
    def expired(self) -> bool:
        """True if none of its lanes can still give an answer."""
        return self.state is not JUDGING and self.panel.expired and self._has_no_answer_here()

    @property
    def settled(self) -> Attempt | None:
        """The only lane below whose answer can still be its own, if there is but one."""
        writer = self._writer
        if self.state is JUDGING:
            return None if writer is None or writer.over else writer.settled
        if self._won is None:
            return self.panel.settled if len(self.panel.seats) == 1 else None
        return self._won.lane if isinstance(self._won.lane, Attempt) else self._won.lane.settled

    @property
    def votes(self) -> Mapping[str, tuple[str, ...]]:
        """The lanes that voted for each answer, if lanes did."""
        return self.panel.votes

    @property
    def _writer(self) -> Group | None:
        return None if self.hearing.writer is None else self.judges[self.hearing.writer]

    @property
    def _last(self) -> Group:
        asked = [judge for judge in self.judges if judge.seats[0].started]
        return asked[-1] if asked else self.panel

    def attempts(self) -> Iterator[tuple[Attempt, bool]]:
        """Every attempt below, the lanes' before the judges'; and True with those whose answer was kept."""
        return ((attempt, kept) for attempt, _, kept in self.places())

    def places(self) -> Iterator[tuple[Attempt, Seat, bool]]:
        """The same with the seat of each, whose answer has the value or the refusal."""
        if self._won is None or self._won is self.panel.winner:
            yield from self.panel.places()
        else:
            for seat in self.panel.seats:
                yield from _places_of(seat, kept=seat is self._won)
        for judge in self.judges:
            for seat in judge.seats:
                yield from _places_of(seat, kept=seat is self.winner)

    def overhead(self) -> Iterator[Attempt]:
        """The judges' attempts; of an answer that a judge wrote, those of the lanes whose answers it was made of."""
        won = self._won
        if won is None:
            return
        if not isinstance(won.lane, Attempt):
            yield from won.lane.overhead()
        wrote = any(won is seat for judge in self.judges for seat in judge.seats)
        for seat in self._candidates if wrote else ():
            yield from (attempt for attempt, _, kept in _places_of(seat, kept=True) if kept)
            if not isinstance(seat.lane, Attempt):
                yield from seat.lane.overhead()
        for judge in self.judges:
            for seat in judge.seats:
                if seat is not won:
                    yield from (attempt for attempt, _, _ in _places_of(seat, kept=False))

    def hearings(self) -> Iterator[Hearing]:
        """The questions to its judges and those below, and their words."""
        yield self.hearing
        for group in (self.panel, *self.judges):
            yield from group.hearings()

    def judged(self) -> Iterator[tuple[Attempt, Prompt]]:
        """The judges' attempts, and the prompt whose answers they were shown."""
        for judge in self.judges:
            yield from ((attempt, self._asked.prompt) for attempt, _ in judge.attempts())
        yield from self.panel.judged()

    def errors(self) -> Iterator[ProviderError]:
        """The errors of the lanes, and of the judges, that gave no answer."""
        for group in (self.panel, *self.judges):
            yield from group.errors()

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs both stages to their end, at `until` (a Trio time) at the latest."""
        if self.state is ENDED:  # cancelled between being scheduled and being run
            return
        self._move(GATHERING)
        now = trio.current_time()
        known = prompt if self._turns is None else self._turns.before(prompt)
        self._asked = Asked(known, now, min(until, now + self.panel.deadline))
        with unwrapping():
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.panel.run, prompt, self._asked.until, name=self.name)
        for group in (self.panel, *self.judges):  # all is said, as in a group
            group.hear, group.leave, group.alone = nobody, no_others, not_alone

    def cancel(self, error: TimedOut | None = None, /) -> None:
        """Ends every lane that has not ended, and with them this one."""
        ends = self.state is not ENDED
        calls: list[Callable[[], None]] = [partial(group.cancel, error) for group in (self.panel, *self.judges)]
        if ends:
            status, now = Status.TIMED_OUT if error else Status.CANCELLED, trio.current_time()
            self._note_end(now)
            calls.append(partial(self.hear, [End(status)], now))
        call_all(calls)

    def close(self) -> None:
        """Starts nothing new from now on: the lanes that run may end, and no judge is asked any more."""
        if self.state is WAITING:
            return self.cancel()
        if self.state is GATHERING:
            unasked = [judge.cancel for judge in self.judges]
            return call_all([*unasked, self.panel.close])
        left = [judge for judge in self.judges if not judge.over]
        return call_all(judge.close if judge.seats[0].started else judge.cancel for judge in left)

    def overtake(self) -> None:
        """Takes note that another lane has started, above, because those that run here are late."""
        for group in (self.panel, *self.judges):
            group.overtake()

    def _leave(self) -> None:
        """Ends all, above and below: a task of this lane is cancelled from outside."""
        self.leave()
        self.cancel()

    def _has_no_answer(self) -> bool:
        return self._has_no_answer_here() and self.alone()

    def _has_no_answer_here(self) -> bool:
        return not any(seat.good for seat in self.panel.seats)

    def _look(self) -> None:
        """Sets the time until which answers are waited for, once there are enough of them, or a deadline comes near."""
        good = sum(seat.good for seat in self.panel.seats)
        if self.state is not GATHERING or self._nursery is None or not good:
            return
        now, began, until = trio.current_time(), self._asked.began, self._asked.until
        left = self.hearing.wait(good, now - began)
        if left is not None and self._grace is None:
            self._grace = trio.CancelScope()
            self._nursery.start_soon(self._cut_off_at, now + left, self._grace, name=f"grace of {self.name}")
        if self.hearing.share and isfinite(until) and self._reserve is None:
            self._reserve = trio.CancelScope()
            due = max(now, until - self.hearing.share * (until - began))
            self._nursery.start_soon(self._cut_off_at, due, self._reserve, name=f"judge's time of {self.name}")

    async def _cut_off_at(self, due: float, grace: trio.CancelScope) -> None:
        try:
            with grace:
                await trio.sleep_until(due)
                await let_read(trio.current_time() - due)
                if self.state is GATHERING:
                    self.panel.cut_off()
        except BaseException:
            self._leave()
            raise

    def _hear_panel(self, events: Sequence[Event], at: float) -> None:
        """Takes the End of the first stage. What its lanes say is not this lane's answer, and goes no further."""
        end = events[-1]
        if not isinstance(end, End) or self.state is not GATHERING:
            return
        self._candidates = [self.panel.seats[i] for i in self.hearing.choose(self.panel.seats)]
        if (won := self.panel.winner) is not None:
            self._end(at, won)
        elif len(self._candidates) < 2:
            self._end(at, next(iter(self._candidates), None), end.status)
        else:
            self._move(JUDGING)
            self._stop_waiting()
            self._ask(self.hearing.ask(self._asked.prompt, [seat.answer for seat in self._candidates]), at)

    def _ask(self, questions: Mapping[int, Prompt], at: float) -> None:
        assert self._nursery is not None
        for index, prompt in questions.items():
            judge = self.judges[index]
            if self.state is JUDGING and judge.over:  # cancelled by its name before its turn
                self._take(index, at)
            elif self.state is JUDGING and trio.current_time() >= self._asked.until:
                judge.cancel(TimedOut("the deadline passed before the judge's turn came", clock="deadline"))
            elif self.state is JUDGING:
                self._nursery.start_soon(judge.run, prompt, self._asked.until, name=judge.name)

    def _hear_judge(self, index: int, events: Sequence[Event], at: float) -> None:
        if self.state is not JUDGING:
            return
        end = isinstance(events[-1], End)
        contents = events[:-1] if end else events
        if contents and index == self.hearing.writer:
            self.hear(contents, at)
        if end:
            self._take(index, at)

    def _take(self, index: int, at: float) -> None:
        """Takes a judge's word, or its failure, and asks what follows."""
        judge = self.judges[index]
        won = judge.winner
        error = None if won is not None else next(judge.errors(), None) or ProviderError("the judge was cancelled")
        self._ask(self.hearing.take(index, judge.answer, error), at)
        if self.state is JUDGING and self.hearing.over:
            self._end(at, self._choose())

    def _choose(self) -> Seat:
        writer = self._writer
        if writer is not None and writer.winner is not None:
            return writer.winner
        return self._candidates[self.hearing.best or 0]

    def _end(self, at: float, won: Seat | None, status: Status = Status.FAILED) -> None:
        """Ends this lane, and the judges who were never asked."""
        self._won = won
        self._note_end(at)
        ended = [End(status if won is None else Status.FINISHED)]
        call_all([*(judge.cancel for judge in self.judges if not judge.over), partial(self.hear, ended, at)])

    def _note_end(self, at: float) -> None:
        self._move(ENDED)
        self.ended_at = at
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        for scope in (self._grace, self._reserve):
            if scope is not None:
                scope.cancel()

    def _move(self, state: State) -> None:
        if (self.state, state) not in MOVES:
            raise RuntimeError(f"a lane in stages that is {self.state.name} cannot become {state.name}")
        self.state = state


class Panel(Group):
    """The first stage, which is looked at whenever it is known what becomes of one of its lanes."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        lanes: Sequence[Attempt | Compound],
        on_lose: OnLose,
        look: Callable[[], None],
        schema: "Schema | None" = None,
    ) -> None:
        super().__init__(name, policy, lanes, on_lose, schema)
        self.deadline = policy.deadline
        self._look_at_all = look

    def _close_seat(self, index: int, end: End, at: float) -> None:
        super()._close_seat(index, end, at)
        self._look_at_all()


def _places_of(seat: Seat, *, kept: bool) -> Iterator[tuple[Attempt, Seat, bool]]:
    if isinstance(seat.lane, Attempt):
        yield seat.lane, seat, kept
    else:
        for attempt, place, inner in seat.lane.places():
            yield attempt, place, kept and inner
