"""A group of the model: the policies as the documents say, written a second time."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import inf

from attrs import define, field

from fanout.errors import TimedOut
from fanout.events import CONTENT, Delta, End, Event, File, Reasoning, Replace, Status, ToolCall
from fanout.sim.clock import Time
from fanout.sim.lane_model import LaneModel
from fanout.sim.world import Node, Opinion

RETRIES = {"race": 1, "hedge": 0, "fallback": 0, "quorum": 1, "all": 2}
"""The number of times that each policy's lanes are tried again, where nobody says."""

_OUTPUT = (Delta, ToolCall, File, Replace)


class Bug(Exception):  # it stands for one
    """The caller's `accept` has made a mistake: it comes out of the call."""


@define(eq=False)
class Chair:
    """A lane's place in a group, and what has become of it."""

    lane: "LaneModel | GroupModel"
    status: Status | None = None
    lost: bool = False
    refused: bool = False
    weighed: int = 0
    """The number of an async verdict that is waited for; 0: none."""
    place: int = 0
    started: bool = False

    @property
    def undecided(self) -> bool:
        """True while nobody knows what becomes of the lane."""
        return self.status is None or self.weighed > 0

    @property
    def good(self) -> bool:
        """True if its answer stands."""
        return self.status is Status.FINISHED and not (self.weighed or self.refused or self.lost)


@define(eq=False)
class GroupModel:
    """A policy over lanes. `crash` is called with what the caller's `accept` raises."""

    time: Time
    node: Node
    chairs: list[Chair]
    keep: bool
    crash: Callable[[], None]
    hear: Callable[[Sequence[Event]], None] = lambda _: None
    alone: Callable[[], bool] = lambda: True
    until: float = inf
    ended: float | None = None
    cancelling: bool = False
    _failures: int = 0
    _spoke: float = 0.0
    _next: int = 0
    _begun: bool = False
    _ends: int = 0
    _weighings: int = 0
    _wake: int = field(default=0)

    def __attrs_post_init__(self) -> None:
        for index, chair in enumerate(self.chairs):
            chair.lane.hear = partial(self._judge, index)
            chair.lane.alone = partial(self._is_last, index)

    @property
    def pace(self) -> float:
        """The silence after which the next lane starts."""
        if self.node.policy == "hedge":
            return float(self.node.given["after"])
        return inf if self.node.policy == "fallback" else 0.0

    @property
    def thoughts_count(self) -> bool:
        """True if a thought is an output."""
        return bool(self.node.given.get("reasoning")) or self.node.given.get("on") == "first_thought"

    @property
    def on_output(self) -> bool:
        """True if the first output wins."""
        return str(self.node.given.get("on", "finish")) != "finish"

    # Starts

    def run(self, until: float) -> None:
        """Starts the first lane, or all of them."""
        self.until = min(until, self.time.now + self.node.deadline)
        self._begun = True
        self._go_on()

    def _go_on(self) -> None:
        """Starts each lane whose turn has come."""
        while self._next < len(self.chairs):
            chair = self.chairs[self._next]
            if self._next and self.pace > 0 and chair.status is None and not self._is_turn():
                return
            if chair.status is None:
                chair.started = True
                self._spoke = self.time.now
                self._failures = max(0, self._failures - 1)
                self.time.at(self.time.now, partial(chair.lane.run, self.until))
            self._next += 1

    def _is_turn(self) -> bool:
        runs = any(chair.started and chair.undecided and not chair.lost for chair in self.chairs)
        due = min(self._spoke + self.pace, self.until)
        if not self._failures and runs and self.time.now < due:
            self._wake += 1
            mine = self._wake
            self.time.at(due, lambda: self._go_on() if mine == self._wake else None)
            return False
        if self.time.now >= self.until:
            for chair in self.chairs:
                if not chair.started and chair.status is None:
                    chair.lane.cancel(TimedOut("too late", clock="deadline"))
        return True

    def _look(self) -> None:
        """Something has changed: maybe the next lane's turn has come."""
        if self._begun and self._next < len(self.chairs):
            self.time.at(self.time.now, self._go_on)

    # What lanes say

    def _judge(self, index: int, events: Sequence[Event]) -> None:
        chair = self.chairs[index]
        for event in events:
            if isinstance(event, End):
                self._note_end(index, event)
                continue
            self._ask(index, event)
            if type(event) in CONTENT and not chair.lost:
                quiet = type(event) is Reasoning and not self.thoughts_count and self.node.policy in _RACES
                self._spoke = self._spoke if quiet else self.time.now
                self.hear([event])

    def _note_end(self, index: int, end: End) -> None:
        chair = self.chairs[index]
        self._ends += 1
        chair.status, chair.place = end.status, self._ends
        if chair.lost:
            return
        if end.status is not Status.FINISHED or self.node.policy == "all" or self.cancelling:
            self._settle(index, end)
            return
        lane = answer_of(chair.lane)
        opinion = self._opinion(lane)
        if opinion.wait is None:
            self._take(index, end, opinion)
            return
        self._weighings += 1
        chair.weighed = mine = self._weighings
        due = due_of(chair.lane)
        if self.time.now + opinion.wait < due:
            self.time.at(self.time.now + opinion.wait, partial(self._decide, index, end, opinion, mine))
        else:
            self.time.fired[due] += 1  # other lanes may have the same limit
            self.time.at(due, partial(self._decide, index, end, Opinion("no"), mine))

    def _opinion(self, lane: LaneModel) -> Opinion:
        if self.node.opinions is None:
            return Opinion("yes" if lane.answered_texts else "no")
        return self.node.opinions[lane.leaf.name]

    def _decide(self, index: int, end: End, opinion: Opinion, mine: int) -> None:
        if self.chairs[index].weighed == mine:
            self.chairs[index].weighed = 0
            self._take(index, end, opinion)

    def _take(self, index: int, end: End, opinion: Opinion) -> None:
        if opinion.says == "bug":
            self.crash()
            return
        self.chairs[index].refused = opinion.says != "yes"
        self._settle(index, end)

    def _settle(self, index: int, end: End) -> None:
        chair = self.chairs[index]
        if chair.started and end.status is not Status.FINISHED:
            self._failures += 1
        self._look()
        self._ask(index, end)
        self._end_if_over()

    # Who loses

    def _ask(self, index: int, event: Event) -> None:
        if self.cancelling or self.chairs[index].lost:
            return
        losers = self._losers(index, event)
        if losers:
            self._lose(index, losers)
            self._end_if_over()

    def _losers(self, index: int, event: Event) -> Collection[int]:
        chairs, chair = self.chairs, self.chairs[index]
        others = [i for i in range(len(chairs)) if i != index and not chairs[i].lost]
        if self.node.policy == "all":
            return ()
        if isinstance(event, End):
            if self.node.policy == "quorum":
                return self._missed_or_reached(index)
            if event.status is not Status.FINISHED:
                return ()
            return others if chair.good else (index,)
        if self.node.policy not in _RACES or not self.on_output:
            return ()
        if isinstance(event, _OUTPUT) or (isinstance(event, Reasoning) and event.text and self.thoughts_count):
            return others
        return ()

    def _missed_or_reached(self, index: int) -> Collection[int]:
        k = self.node.given["k"]
        bad = {
            i
            for i, chair in enumerate(self.chairs)
            if chair.lost or chair.refused or chair.status in (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)
        }
        good = {i for i, chair in enumerate(self.chairs) if chair.good}
        everybody = set(range(len(self.chairs)))
        if len(everybody) - len(bad) < k:
            return everybody
        if len(good) >= k:
            return everybody - good
        return (index,) if self.chairs[index].refused else ()

    def _lose(self, index: int, losers: Collection[int]) -> None:
        chairs = [self.chairs[i] for i in sorted(losers) if not self.chairs[i].lost]
        for chair in chairs:
            chair.lost = True
            chair.weighed = 0
            self._failures += chair.started and chair.status in (None, Status.FINISHED)
        self._look()
        for chair in chairs:
            if chair.status is None:
                if self.keep and chair.started:
                    chair.lane.close()
                else:
                    chair.lane.cancel()

    # Its end

    def _end_if_over(self) -> None:
        if self.ended is not None or any(chair.undecided and not chair.lost for chair in self.chairs):
            return
        self.ended = self.time.now
        statuses = {chair.status for chair in self.chairs if not chair.lost}
        status = Status.FAILED
        if self.cancelling and Status.CANCELLED in statuses:
            status = Status.CANCELLED
        elif Status.FINISHED in statuses:
            status = Status.FINISHED
        elif statuses == {Status.TIMED_OUT}:
            status = Status.TIMED_OUT
        self.hear([End(status)])

    def cancel(self, error: TimedOut | None = None) -> None:
        """Ends every lane that has not ended, those that run on after they lost among them."""
        self.cancelling = True
        for chair in self.chairs:
            if chair.weighed:
                chair.weighed = 0
                chair.status = Status.TIMED_OUT if error else Status.CANCELLED
        for chair in self.chairs:
            chair.lane.cancel(error)
        self._end_if_over()

    def close(self) -> None:
        """Starts nothing new."""
        for chair in self.chairs:
            if chair.status is None:
                if chair.started:
                    chair.lane.close()
                else:
                    chair.lane.cancel()

    # What can be known of it

    @property
    def winner(self) -> Chair | None:
        """The chair whose answer the policy chose."""
        if self.node.policy == "all":
            return None
        good = [chair for chair in self.chairs if chair.good]
        if self.node.policy == "quorum" and len(good) < self.node.given["k"]:
            return None
        left = [chair for chair in self.chairs if not chair.lost]
        if self.on_output and len(left) == 1 and left[0].status is None:
            lane = answer_of(left[0].lane)
            if (lane.first if self.thoughts_count else lane.output) is not None:
                return left[0]
        return min(good, key=lambda chair: chair.place, default=None)

    @property
    def best(self) -> Chair:
        """The chair whose answer is the group's, whoever chose it."""
        good = [chair for chair in self.chairs if chair.good]
        return self.winner or min(good, key=lambda chair: chair.place, default=self.chairs[0])

    @property
    def expired(self) -> bool:
        """True if no lane of it can still answer."""
        return all(not chair.undecided or chair.lost or chair.lane.expired for chair in self.chairs)

    def _is_last(self, index: int) -> bool:
        answered = self.winner is not None or any(chair.good for chair in self.chairs if self.node.policy == "all")
        if answered or self.chairs[index].lost:
            return False
        others = [chair for i, chair in enumerate(self.chairs) if i != index]
        could = any(chair.undecided and not chair.lost and not chair.lane.expired for chair in others)
        return not could and self.alone()


_RACES = ("race", "hedge", "fallback")


def answer_of(lane: LaneModel | GroupModel) -> LaneModel:
    """The lane whose answer this one's is."""
    return lane if isinstance(lane, LaneModel) else answer_of(lane.best.lane)


def due_of(lane: LaneModel | GroupModel) -> float:
    """The time until which the lane of that answer may take."""
    return answer_of(lane).due
