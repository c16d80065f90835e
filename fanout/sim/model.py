"""The model of a world: its calls and users, on lanes and groups that know only the documents."""

from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from random import Random

from attrs import define, field

from fanout.events import Event, Status
from fanout.sim.clock import Time
from fanout.sim.group_model import RETRIES, Chair, GroupModel, answer_of
from fanout.sim.lane_model import LaneModel, model_timeouts
from fanout.sim.play import Record, Seen, is_due
from fanout.sim.world import Act, Leaf, Node
from fanout.transports.memory import Exchange


@define(eq=False)
class CallModel:
    """One call. It is `left` at a time if the user left it, or something was raised; `crashed` if that was a bug."""

    time: Time
    seen: Seen
    exchanges: Mapping[tuple[int, str], Sequence[Exchange]]
    lanes: dict[str, LaneModel] = field(factory=dict)
    top: GroupModel = field(init=False)
    left: float = inf
    unsure: float = inf
    """The time from which on it is not known which of two things came first."""
    crashed: bool = False
    _queue: deque[Event] = field(factory=deque)
    _had: list[Event] = field(factory=list)
    _busy: bool = False

    def start(self) -> None:
        """Begins the call."""
        call = self.seen.call
        for act in call.user.acts:
            if isinstance(act.at, float):
                self.time.at(self.time.now + act.at, lambda act=act: self._do(act))  # type: ignore[misc]  # its own
        self.top.run(self.time.now + call.deadline)

    def hear(self, events: Sequence[Event]) -> None:
        """Takes events of any lane, for the user to have one after the other."""
        self._queue += events
        self._serve()

    def _serve(self) -> None:
        user = self.seen.call.user
        while self._queue and not self._busy and self.left == inf and user.way == "open":
            self._had.append(self._queue.popleft())
            until = self.time.now
            for act in user.acts:
                if is_due(act, self._had):
                    until += act.pause
                    self.time.at(until, lambda act=act: self._do(act))  # type: ignore[misc]  # its own
            until += user.pace
            if until > self.time.now:
                self._busy = True
                self.time.at(until, self._wake)

    def _wake(self) -> None:
        self._busy = False
        self._serve()

    def _do(self, act: Act) -> None:
        if self.left < inf:
            return
        if act.what == "stop":
            self.lanes[act.lane].cancel()
        elif act.what == "cancel":
            self.top.cancel()
        else:
            self.leave()

    def doubt(self, lane: LaneModel) -> None:
        """Takes note that a lane ended as it started, at a deadline, or for want of content like another one."""
        waits = [each for each in self.lanes.values() if each.patient and each.is_due("first")]
        if (lane in waits and len(waits) > 1) or any(act.ends for act in self.seen.call.user.acts):
            self.unsure = min(self.unsure, self.time.now)

    def leave(self) -> None:
        """The user leaves: all ends."""
        if self.left == inf:
            self.left = self.time.now
            self.top.cancel()

    def crash(self) -> None:
        """The caller's code has raised."""
        if self.left == inf:
            self.crashed = True
            self.leave()

    @property
    def winner(self) -> str | None:
        """The name of the lane that wins."""
        chair = self.top.winner
        return None if chair is None else answer_of(chair.lane).leaf.name

    @property
    def statuses(self) -> dict[str, Status | None]:
        """The status of each lane."""
        return {name: lane.status for name, lane in self.lanes.items()}


def model(record: Record) -> list[CallModel]:
    """Plays a world's model, which must come to what the record says."""
    time = Time(Random(record.world.seed))  # noqa: S311  # the engine's jitter, drawn in the same order
    calls = []
    for seen in record.seen:
        call = CallModel(time, seen, record.exchanges)
        call.top = _make_group(call, record, seen.call.plan)
        time.at(seen.call.at, call.start)
        calls.append(call)
    time.run()
    return calls


def _make_group(call: CallModel, record: Record, node: Node) -> GroupModel:
    chairs = []
    for lane in node.lanes:
        made = _make_lane(call, record, lane, node) if isinstance(lane, Leaf) else _make_group(call, record, lane)
        chairs.append(Chair(made))
    keep = (node.on_lose or call.seen.call.on_lose) == "keep"
    return GroupModel(call.time, node, chairs, keep, call.crash)


def _make_lane(call: CallModel, record: Record, leaf: Leaf, node: Node) -> LaneModel:
    own = call.seen.call
    timeouts, patient = model_timeouts(leaf, own.timeouts)
    tries = (leaf.retries, own.retries, RETRIES[node.policy])
    asked = record.exchanges.get((own.number, leaf.host))
    lane = LaneModel(
        call.time,
        leaf,
        timeouts,
        patient,
        next(number for number in tries if number is not None),
        asked[0].began if asked else inf,
        told=call.hear,
        doubt=call.doubt,
        others=len(own.plan.leaves()) > 1,
    )
    call.lanes[leaf.name] = lane
    return lane
