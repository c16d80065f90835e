"""A lane made of lanes: the nursery, and where the policy's word is carried out."""

from collections.abc import Awaitable, Collection, Iterator, Mapping, Sequence
from functools import partial
from inspect import iscoroutine
from math import inf
from typing import TYPE_CHECKING

import trio

from fanout.abc import Alone, Hear, Leave, OnLose, Policy, no_others, nobody, not_alone
from fanout.answers import Answer
from fanout.engine.alarms import let_read
from fanout.engine.attempt import Attempt
from fanout.engine.judging import Judgement, decide, make_refusal, weigh
from fanout.engine.portions import PORTION
from fanout.engine.seats import Compound, Row, Seat, call_all, follow, stop_weighing
from fanout.errors import ProviderError, TimedOut
from fanout.errors.unwrapped import unwrapping
from fanout.events import CONTENT, End, Event, Status
from fanout.learning.pacing import Fixed, Pacer
from fanout.prompt import Prompt
from fanout.settings.timeouts import Leniency

if TYPE_CHECKING:
    from fanout.schema import Schema

# The problem: several services could answer a prompt, and nobody knows beforehand which of them will answer well, late
# or not at all. To ask them one after the other costs the whole patience for each that is silent; to ask them all at
# once costs all their money each time. Happy eyeballs (RFC 8305, section 5) has the same problem with the addresses of
# a host, and "The Tail at Scale" (CACM 56(2), 2013) with the replicas of a service.
#
# The rule that covers all of it:
# - start the first lane;
# - start the next when a lane that runs has failed, OR when all that run have been silent for the pacer's delay since
#   the last start or the last content, and the pacer allows it, OR when the policy says that those that run cannot
#   decide; each failure starts one lane, once;
# - at each event ask the policy which lanes have lost by it, and stop those at once, in the very call that brings it;
# - the group is over when each lane has ended or lost.
# With a delay of 0 that is a race, with a delay a hedge, with infinity a fallback. A group is a lane too: what it hears
# climbs, and a group within a group is nothing special.
#
# Two things differ from happy eyeballs. Content restarts the wait: a connection is there or not, but an answer comes in
# pieces, and a lane that speaks needs no rival. And a winner may be refused, which counts as a failure.
#
# What is left out: nothing is learnt here from one run for the next; a pacer may have (`fanout/learning/`). Nor is a
# lane started again after it failed: that is its own business, with the same service (`retry.py`).


class Group(Row):
    """Runs its lanes in one nursery, as its policy says, and is a lane itself."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        lanes: Sequence[Attempt | Compound],
        on_lose: OnLose,
        schema: "Schema | None" = None,
        pacer: Pacer | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.hear: Hear = nobody
        self.leave: Leave = no_others
        self.alone: Alone = is_alone
        self.ended_at: float | None = None
        for lane in lanes:
            self._add_seat(lane, schema)
        self._policy = policy
        self._pacer = pacer or Fixed(policy.pace)
        self._keep = (policy.on_lose or on_lose) == "keep"
        self._cancelling = False
        self._ended_lanes = 0
        self._open = len(self.seats)
        self._failures = 0
        self._spoke_at = 0.0
        self._turn = trio.Event()
        self._nursery: trio.Nursery | None = None

    def _add_seat(self, lane: Attempt | Compound, schema: "Schema | None") -> Seat:
        """Gives a lane its place. A group below judges its lanes itself."""
        index, seat = len(self.seats), Seat(lane)
        self.seats.append(seat)
        lane.hear = partial(self.judge, index)
        lane.leave = self._leave
        lane.alone = partial(self._is_last, index)
        if schema is not None and isinstance(lane, Attempt):
            seat.judgement = Judgement(lane, schema)
            lane.hear = partial(self._look, index, seat.judgement)
        return seat

    @property
    def chooses(self) -> bool:
        """True if its policy chooses a winner."""
        return self._policy.chooses

    @property
    def over(self) -> bool:
        """True once the group has ended: every lane has ended or lost."""
        return self.ended_at is not None

    @property
    def winner(self) -> Seat | None:
        """The seat whose answer is the group's, if the policy chose one."""
        index = self._policy.winner(self.seats)
        return None if index is None else self.seats[index]

    @property
    def chosen(self) -> Seat | None:
        """The seat of the lane with one provider that won: None as long as a group that won has not chosen."""
        return follow(self.winner)

    @property
    def favourite(self) -> Seat | None:
        """The winner, or the first that is good where the policy chooses nobody."""
        return self.winner if self._policy.chooses else self._first_good

    @property
    def answer(self) -> Answer:
        """The winner's answer; where nobody won, that of the first lane that finished, or of the first lane."""
        return self._best.answer

    @property
    def due(self) -> float:
        """The Trio time until which the lane of that answer may take."""
        return self._best.lane.due

    @property
    def clock(self) -> str:
        """The clock that says so."""
        return self._best.lane.clock

    @property
    def _best(self) -> Seat:
        return self.winner or self._first_good or self.seats[0]

    @property
    def _first_good(self) -> Seat | None:
        return min((seat for seat in self.seats if seat.good), key=lambda seat: seat.place, default=None)

    def __repr__(self) -> str:
        running = sum(seat.started and seat.status is None for seat in self.seats)
        return f"<Group {self.name!r} {'over' if self.over else 'open'}, {running} of {len(self.seats)} lanes run>"

    def attempts(self) -> Iterator[tuple[Attempt, bool]]:
        """Every attempt below, in the order of the plan; and True with those whose answer was kept.

        As long as a policy that chooses has not, nothing is kept.
        """
        return ((attempt, kept) for attempt, _, kept in self.places())

    def places(self) -> Iterator[tuple[Attempt, Seat, bool]]:
        """The same with the seat of each, whose answer has the value or the refusal."""
        chosen = self._has_chosen() or (self.over and bool(self._policy.undecided))
        for seat in self.seats:
            kept = chosen and seat.good
            if isinstance(seat.lane, Attempt):
                yield seat.lane, seat, kept
            else:
                for attempt, place, inner in seat.lane.places():
                    yield attempt, place, kept and inner

    def overhead(self) -> Iterator[Attempt]:
        """The attempts below whose answers were not kept, but went into the one that was."""
        if self._has_chosen():
            for seat in self.seats:
                if seat.good and not isinstance(seat.lane, Attempt):
                    yield from seat.lane.overhead()

    @property
    def votes(self) -> Mapping[str, tuple[str, ...]]:
        """The lanes that voted for each answer, here or in the first group below in which lanes vote."""
        own = {key: tuple(self.seats[i].answer.lane for i in at) for key, at in self._policy.tally(self.seats).items()}
        below = (seat.lane.votes for seat in self.seats if not isinstance(seat.lane, Attempt))
        return own or next(filter(None, below), {})

    def _has_chosen(self) -> bool:
        return not self._policy.chooses or self.winner is not None

    def errors(self) -> Iterator[ProviderError]:
        """The errors of the lanes below that gave no answer; those that were only cancelled have none."""
        undecided = "" if not self.over or self._has_chosen() else self._policy.undecided
        for seat in self.seats:
            if seat.refusal is not None:
                yield make_refusal(seat.answer, seat.refusal)
            elif undecided and seat.good:
                yield make_refusal(seat.answer, undecided)
            elif not isinstance(seat.lane, Attempt):
                yield from seat.lane.errors()
            elif error := seat.answer.error:
                yield error

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs the lanes until all have ended; the group's own deadline can only shorten `until`."""
        until = min(until, trio.current_time() + self._policy.deadline)
        with unwrapping():
            async with trio.open_nursery() as self._nursery:
                try:
                    await self._start_lanes(self._nursery, prompt, until)
                except BaseException:
                    self._leave()  # now, and not when the nursery is left: a lane may still say farewell
                    raise
        for seat in self.seats:  # all is said: what knows each other waits for the garbage collector
            seat.lane.hear, seat.lane.leave, seat.lane.alone = nobody, no_others, not_alone

    def cancel(self, error: TimedOut | None = None, /) -> None:
        """Ends every lane that has not ended, those of groups that are over among them, and with them the group."""
        self._cancelling = True
        undecided = [seat for seat in self.seats if seat.weighing is not None]  # who has lost is not weighed
        for seat in undecided:
            seat.status = Status.TIMED_OUT if error else Status.CANCELLED
            stop_weighing(seat)
            self._open -= 1
        running = [seat for seat in self.seats if seat.status is None or not isinstance(seat.lane, Attempt)]
        call_all(partial(seat.lane.cancel, error) for seat in running)
        if undecided:
            self._turn.set()  # whoever waits looks whether another lane runs
            self._end_if_over(trio.current_time())

    def close(self) -> None:
        """Starts nothing new from now on: the lanes that run may end."""
        call_all(s.lane.close if s.started else s.lane.cancel for s in self.seats if s.status is None)

    def cut_off(self) -> None:
        """Makes every lane lose of which it is not known yet what becomes of it: nobody waits for it any more."""
        try:
            self._lose(None, [index for index, seat in enumerate(self.seats) if seat.open])
        finally:
            self._end_if_over(trio.current_time())

    def _leave(self) -> None:
        """Ends all, above and below: a task of the group is cancelled from outside. No policy is asked any more."""
        self.leave()
        self.cancel()

    async def _start_lanes(self, nursery: trio.Nursery, prompt: Prompt, until: float) -> None:
        leniency = Leniency()
        size = sum(len(message.text) for message in prompt.messages)
        last = None
        for place, index in enumerate(self._pacer.order(len(self.seats), size)):
            seat = self.seats[index]
            delay = 0.0 if last is None else self._pacer.delay(last)
            if delay > 0 and seat.status is None:
                await self._wait_for_turn(index, delay, until, leniency)
            elif place and place % PORTION == 0 and not self.over:
                # A thousand at once would be one long step, and the first request late.
                await trio.lowlevel.checkpoint()
            if seat.status is None:
                last, seat.started = index, True
                self._spoke_at = trio.current_time()
                self._failures = max(0, self._failures - 1)
                nursery.start_soon(seat.lane.run, prompt, until, name=seat.lane.name)

    async def _wait_for_turn(self, index: int, delay: float, until: float, leniency: Leniency) -> None:
        """Returns when the lanes have been silent for the delay, and at once for each that has failed meanwhile.

        Or at once where the policy needs lane `index` all the same, because those before it cannot decide. It also
        returns where no lane runs: none of them could fail any more. Silence is certain only when what has arrived has
        been read, and is not held against the lanes where we have been late ourselves. Where the pacer refuses, only a
        failure starts the next lane.
        """
        certain = False
        while not self._failures and self.any_runs() and not self._policy.needs_next(self.seats, index):
            due = min(self._spoke_at + delay, until)
            now = trio.current_time()
            if now < due:
                certain = False
                self._turn = trio.Event()
                with trio.move_on_at(due):
                    await self._turn.wait()
            elif certain and (now >= until or self._pacer.may_hedge()):
                self.overtake()
                break
            elif certain:
                delay = inf
            else:
                if more := leniency.pardon(now - due, delay):
                    self._spoke_at += now - due + more
                await let_read(now - due)
                certain = True
        if trio.current_time() >= until:
            late = TimedOut("the group's deadline passed before its turn came", clock="deadline")
            for seat in self.seats:
                if not seat.started and seat.status is None:
                    seat.lane.cancel(late)

    def overtake(self) -> None:
        """Takes note that another lane starts, here or above, because those that run here are late."""
        for seat in self.seats:
            if seat.started and seat.status is None:
                seat.lane.overtake()

    def _is_last(self, index: int) -> bool:
        """True if no other lane could still give the answer, here or above."""
        answered = self.winner if self._policy.chooses else any(seat.good for seat in self.seats)
        if answered or self.seats[index].lost:
            return False
        others = (seat for i, seat in enumerate(self.seats) if i != index)
        return not any(seat.open and not seat.lost and not seat.lane.expired for seat in others) and self.alone()

    def judge(self, index: int, events: Sequence[Event], at: float) -> None:
        """Takes events of a lane as they arrive: the verdict falls here, and climbs to the group above.

        The events of one read are judged one after the other, however the network has cut them. What is known of the
        lanes is written down before the policy or the group above hears of it, who may raise.
        """
        seat = self.seats[index]
        if len(events) == 1 and (kind := type(events[0])) in CONTENT and self._ignores(kind):
            if not seat.lost:  # the commonest: a piece that decides nothing
                if kind in self._policy.speech:
                    self._spoke_at = at
                self.hear(events, at)
            return
        end = events[-1] if isinstance(events[-1], End) else None
        before = events if end is None else events[:-1]
        if all(map(self._ignores, set(map(type, before)))):
            self._pass_on([event for event in before if type(event) in CONTENT], seat, at)
        else:
            for event in before:
                self._ask(index, event, at)
                self._pass_on([event] if type(event) in CONTENT else (), seat, at)
        if end is not None:
            self._note_end(index, end, at)

    def _look(self, index: int, judgement: Judgement, events: Sequence[Event], at: float) -> None:
        """Takes events of a lane that a schema judges: one whose beginning nothing can mend fails now."""
        if not judgement.look(events):
            self.judge(index, events, at)
            return
        self.seats[index].refusal = judgement.refused
        if self._keep:
            self._lose(index, (index,))
            self._end_if_over(at)
        else:
            judgement.lane.cancel()

    def _ignores(self, kind: type) -> bool:
        heeds = self._policy.heeds
        return heeds is not None and kind not in heeds

    def _pass_on(self, contents: Sequence[Event], seat: Seat, at: float) -> None:
        if contents and not seat.lost:
            if not self._policy.speech.isdisjoint(map(type, contents)):
                self._spoke_at = at
            self.hear(contents, at)

    def _note_end(self, index: int, end: End, at: float) -> None:
        seat = self.seats[index]
        self._ended_lanes += 1
        seat.status, seat.place = end.status, self._ended_lanes
        if seat.lost:
            return
        verdict = None
        try:
            if end.status is Status.FINISHED and not self._cancelling:
                verdict = weigh(seat, self._policy.accept)
        finally:
            if verdict is None:
                self._close_seat(index, end, at)
        if verdict is not None and self._nursery is not None:
            seat.weighing = scope = trio.CancelScope(deadline=seat.lane.due)
            self._nursery.start_soon(self._await_verdict, index, end, verdict, scope, name=f"accept {seat.lane.name}")

    def _close_seat(self, index: int, end: End, at: float) -> None:
        """Takes note that it is known what becomes of a lane, and asks the policy what follows."""
        seat = self.seats[index]
        self._open -= 1
        if seat.started and end.status is not Status.FINISHED:
            self._failures += 1
        self._turn.set()  # whoever waits looks whether another lane runs
        try:
            self._ask(index, end, at)
        finally:
            self._end_if_over(at)

    async def _await_verdict(self, index: int, end: End, verdict: Awaitable[bool], scope: trio.CancelScope) -> None:
        """Waits for an async `accept`. Whatever it raises but a refusal ends all lanes, and comes out to the caller."""
        seat = self.seats[index]
        if seat.weighing is not scope:  # another lane has won in the step in which this one ended
            if iscoroutine(verdict):
                verdict.close()
            return
        try:
            with scope:
                seat.refusal = await decide(verdict)
        except BaseException:
            self._leave()
            raise
        if seat.weighing is not None:  # and nobody has left it meanwhile
            if scope.cancelled_caught:
                late = TimedOut("accept did not decide within the time of its lane", clock=seat.lane.clock)
                late.lane, late.partial = seat.answer.lane, seat.answer.text
                seat.refusal = late
            seat.weighing = None
            self._close_seat(index, end, trio.current_time())

    def _ask(self, index: int, event: Event, at: float) -> None:
        """Asks the policy who has lost by an event, and stops them: a lane that has lost already decides nothing."""
        if self._cancelling or self._ignores(type(event)) or self.seats[index].lost:
            return
        if losers := self._policy.losers(index, event, self.seats):
            try:
                self._lose(index, losers)
            finally:
                self._end_if_over(at)

    def _lose(self, index: int | None, lost: Collection[int]) -> None:
        """Stops lanes of which the policy has just said, for an event of lane `index` if of any, that they have lost.

        One that ran or was good is missing from now on, as if it had failed.
        """
        seats = [seat for i in lost if not (seat := self.seats[i]).lost]
        own = None if index is None else self.seats[index]
        for seat in seats:
            if seat is own and seat.status is Status.FINISHED and seat.refusal is None:
                seat.refusal = ""  # by the policy itself
            seat.lost = True
            self._open -= seat.open
            stop_weighing(seat)
            self._failures += seat.started and seat.status in (None, Status.FINISHED)
        self._turn.set()
        running = [seat for seat in seats if seat.status is None]
        call_all(seat.lane.close if self._keep and seat.started else seat.lane.cancel for seat in running)

    def _end_if_over(self, at: float) -> None:
        if self.over or self._open:
            return
        self.ended_at = at
        statuses = {seat.status for seat in self.seats if not seat.lost}
        if self._cancelling and Status.CANCELLED in statuses:
            status = Status.CANCELLED
        elif Status.FINISHED in statuses and self._has_chosen():
            status = Status.FINISHED
        else:
            status = Status.TIMED_OUT if statuses == {Status.TIMED_OUT} else Status.FAILED
        self.hear([End(status)], at)


def is_alone() -> bool:
    """True: nothing runs beside the group of a whole plan."""
    return True
