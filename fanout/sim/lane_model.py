"""A lane of the model: what the documents say of one, written a second time, without tasks, scopes or alarms.

Only the decoders are the engine's: what bytes mean is checked by the conformance tests, and not here.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from attrs import define, evolve, field

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    ConnectError,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ResetError,
    TimedOut,
    Truncated,
)
from fanout.events import CONTENT, End, Event, Reasoning, Started, Status, Usage
from fanout.settings.timeouts import DEFAULTS, Timeouts
from fanout.sim.clock import Places, Time
from fanout.sim.plans import make_lane
from fanout.sim.world import Leaf, Reply


@define(eq=False)
class LaneModel:
    """One lane. `history` are its events and their times; `ended` is the time of its End."""

    time: Time
    leaf: Leaf
    timeouts: Timeouts
    patient: bool
    allowed: int
    asked_at: float
    """The time at which the engine asked its service first: it decides between lanes that queue in the same moment."""
    hear: Callable[[Sequence[Event]], None] = lambda _: None
    told: Callable[[Sequence[Event]], None] = lambda _: None
    alone: Callable[[], bool] = lambda: False
    doubt: Callable[["LaneModel"], None] = lambda _: None
    """Is called where two things happen in one moment, in an order that nobody says."""
    state: str = "waiting"
    started: float | None = None
    ended: float | None = None
    until: float = inf
    tries: int = 0
    requests: int = 0
    content: int = 0
    first: float | None = None
    output: float | None = None
    last: float = 0.0
    whole_at: float | None = None
    moved: float = 0.0
    has_moved: bool = False
    waived: bool = False
    fired: TimedOut | None = None
    closed: bool = False
    key: int = 0
    key_changes: int = 0
    history: list[tuple[float, Event]] = field(factory=list)
    reader: Any = None
    refusing: bool = False
    answered_texts: bool = False
    keys_used: list[int] = field(factory=list)
    others: bool = False
    """True if the call has other lanes, which a deadline ends in the same moment."""
    _step: int = 0
    _alarm: int = 0
    _place: Places | None = None
    _rest: ProviderError | None = None
    _window: float = 0.0
    _tokens: int = 0
    _tokens_before: int = 0

    @property
    def status(self) -> Status | None:
        """The status of its End."""
        end = self.history[-1][1] if self.history else None
        return end.status if isinstance(end, End) else None

    @property
    def due(self) -> float:
        """The time until which the lane may take."""
        return min(self.until, inf if self.started is None else self.started + (self.timeouts.total or inf))

    @property
    def expired(self) -> bool:
        """True once a clock has fired."""
        return self.fired is not None

    # Its start, and its tries

    def run(self, until: float) -> None:
        """Starts, when its turn among the lanes of its name has come."""
        if self.state == "ended":
            return
        self.until = until
        if self.leaf.concurrency is None:
            self._begin()
            return
        place = self.time.places.setdefault(self.leaf.label, Places(self.leaf.concurrency))
        place.waiting.append((self.time.now, self.asked_at, self))
        self.time.at(self.time.now + 1e-9, lambda: _give(place))  # when all have come who come now
        self.time.at(until, self._miss_turn)

    def _miss_turn(self) -> None:
        if self.state == "waiting":
            self.cancel(TimedOut("no turn", clock="deadline"))

    def take_place(self, place: Places) -> None:
        """Its turn has come."""
        place.free -= 1
        self._place = place
        self._begin()

    def _begin(self) -> None:
        self.started = self._window = self.time.now
        self._set_alarm()
        self._try()

    def _try(self) -> None:
        self.state, self.reader, self.refusing = "trying", None, False
        self.tries += 1
        self._step += 1
        now = self.time.now
        keys = range(self.leaf.keys)
        waits = [max(0.0, self.time.blocked.get((self.leaf.host, key), now) - now) for key in keys]
        self.key = min(keys, key=lambda key: waits[key])
        self._emit([Started(self.tries)])
        if self.state == "ended":
            return
        if len(waits) > 1 and min(waits) > 0:
            refused = all((self.leaf.host, key) in self.time.refused for key in keys)
            self._rest = AuthError("keys rest") if refused else RateLimited("keys rest")
            self._rest.retry_after = min(waits)
            self._conclude([End(Status.FAILED, error=self._rest)])
            return
        reply = self.leaf.replies[min(self.requests, len(self.leaf.replies) - 1)]
        self.requests += 1
        self.keys_used.append(self.key)
        self._play(reply)

    def _play(self, reply: Reply) -> None:
        step, at = self._step, self.time.now + reply.wait

        def guard(call: Callable[[], None]) -> Callable[[], None]:
            return lambda: call() if self.state == "trying" and self._step == step else None

        if reply.ending == "refuse":
            self.time.at(at, guard(lambda: self._break_off(ConnectError("refused"))))
            return
        self.time.at(at, guard(lambda: self._open(reply)))
        for read in reply.reads:
            at += read.wait
            self.time.at(at, guard(lambda data=read.data: self._read(data)))  # type: ignore[misc]  # its own data
        at += reply.last
        if reply.ending == "close":
            self.time.at(at, guard(lambda: self._break_off(None)))
        elif reply.ending == "reset":
            self.time.at(at, guard(lambda: self._break_off(ResetError("lost"))))

    def _open(self, reply: Reply) -> None:
        self.refusing = reply.status >= 400
        self.reader = make_lane(self.leaf).provider.read(Head(reply.status, dict(reply.headers)))

    def _read(self, data: bytes) -> None:
        events = self.reader.feed(data)
        if events and isinstance(events[-1], End):
            self._conclude(events)
            return
        if events:
            self._emit(events)
        elif not self.refusing and data and self.patient and not self.has_moved and self.first is None:
            assert self.started is not None
            self.has_moved, self.moved = True, self.time.now - self.started
        if self.state == "trying" and self.reader.complete and self.first is not None and self.whole_at is None:
            self.whole_at = self.time.now
            self._set_alarm()

    def _break_off(self, error: ProviderError | None) -> None:
        self._conclude(self._rest_of_answer(error))

    def _rest_of_answer(self, error: ProviderError | None) -> list[Event]:
        if self.reader is None:
            return [End(Status.FAILED, error=error or Truncated("nothing came"))]
        return list(self.reader.close(error))

    # Its end

    def _conclude(self, events: list[Event]) -> None:
        self._step += 1
        had = self.content > 0 or any(map(_is_content, events))
        end = self._judge(events, had)
        wait = self._follow(end.error, had)
        if wait is None:
            self._end(end, events[:-1])
            return
        self.state = "paused"
        step = self._step
        if len(events) > 1:
            self._emit(events[:-1])
        self.time.at(
            self.time.now + wait, lambda: self._try() if self.state == "paused" and self._step == step else None
        )

    def _judge(self, events: list[Event], had: bool) -> End:
        """A clock of ours is a time-out; nothing, though finished, is no answer, unless it was counted or unknown."""
        end = events[-1]
        assert isinstance(end, End)
        if isinstance(end.error, TimedOut) and end.error.clock:
            end = evolve(end, status=Status.TIMED_OUT)
        if had or end.status is not Status.FINISHED or end.finish_reason not in (None, "stop", "unknown"):
            return end
        counted = any(isinstance(event, Usage) and event.output and not event.estimated for event in events)
        parts = [note for note in end.notes if not (end.raw and repr(end.raw) in note)]
        if counted or parts:
            return End(Status.FAILED, error=ProtocolError("nothing is known"))
        if self.fired is not None:
            return End(Status.TIMED_OUT, error=self.fired)
        return End(Status.FAILED, error=Truncated("nothing in it"))

    def _follow(self, error: ProviderError | None, had: bool) -> float | None:
        """The seconds until the next try, None if this was the last one; and what is learnt from it."""
        budget, now = self.time.budgets[self.leaf.host], self.time.now
        if error is None:
            budget.succeed()
            return None
        due = -inf if self.fired is not None else self._next()[0]
        over = had or self.closed or now >= due
        if self._may_change_key(error) and not over:
            self.allowed += 1
            return 0.0
        if error.retryable:
            budget.fail()
        if over or self.tries > self.allowed or budget.tokens <= 5 or not error.retryable:
            return None
        if error.retry_after is not None:
            wait = error.retry_after if error.retry_after <= 120 else inf
        else:
            wait = self.time.random.uniform(0.0, min(8.0, 0.5 * 2.0 ** (self.tries - 1)))
        return None if now + wait >= due else wait

    def _may_change_key(self, error: ProviderError) -> bool:
        refused = isinstance(error, AuthError)
        if error is self._rest or self.leaf.keys == 1 or not (refused or isinstance(error, RateLimited | QuotaError)):
            return False
        name, now = (self.leaf.host, self.key), self.time.now
        usual = 600.0 if refused else 60.0
        self.time.blocked[name] = now + (usual if error.retry_after is None else max(0.001, error.retry_after))
        (self.time.refused.add if refused else self.time.refused.discard)(name)
        free = any(self.time.blocked.get((self.leaf.host, key), now) <= now for key in range(self.leaf.keys))
        if not free or self.key_changes >= self.leaf.keys - 1:
            return False
        self.key_changes += 1
        return True

    def cancel(self, error: TimedOut | None = None) -> None:
        """Ends the lane now."""
        if self.state == "ended":
            return
        lesson = None
        if self.is_due():
            self.time.fired[self.time.now] += 2  # its own clock would have fired in this very moment
        if self.state == "trying" and self.refusing:
            end = self.reader.close()[-1]
            lesson = end.error
        self._step += 1
        self._end(End(Status.TIMED_OUT if error else Status.CANCELLED, error=error))
        if lesson is not None:
            self.closed = True
            self._follow(lesson, had=False)

    def close(self) -> None:
        """Starts nothing new."""
        self.closed = True
        if self.state in ("waiting", "paused"):
            self.cancel()

    def _end(self, end: End, before: Sequence[Event] = ()) -> None:
        self.state, self.ended = "ended", self.time.now
        self._step += 1
        if self.started == self.ended:
            self.doubt(self)
        if self._place is not None:
            place, self._place = self._place, None
            place.free += 1
            self.time.at(self.time.now, lambda: _give(place))
        self._emit([*before, end])

    def _emit(self, events: Sequence[Event]) -> None:
        now = self.time.now
        self.history += [(now, event) for event in events]
        contents = [event for event in events if _is_content(event)]
        self.answered_texts = self.answered_texts or any(
            type(event) is not Reasoning for event in contents if getattr(event, "text", "x")
        )
        if contents:
            self.content += len(contents)
            self._tokens += max(len(contents), sum(len(getattr(event, "text", "")) for event in events) // 4)
            self.last = now
            if self.whole_at is not None:
                self.whole_at = now
            if self.first is None:
                self.first = self._window = now
            if self.output is None and any(type(event) is not Reasoning for event in contents):
                self.output = now
            self._set_alarm()
        self.told(events)
        self.hear(events)

    # Its clocks

    def _next(self) -> tuple[float, str, float]:
        """The clock that fires next if nothing comes any more."""
        clocks, started = self.timeouts, self.started
        assert started is not None
        found = [(self.until, "deadline", self.until - started), (started + _set(clocks.total), "total", clocks.total)]
        if self.whole_at is not None:
            found.append((self.whole_at + 2.0, "linger", 2.0))
        if self.first is None and not self.waived:
            found.append((started + _set(clocks.first) + self.moved, "first", clocks.first))
        if self.first is not None:
            found.append((self.last + _set(clocks.idle), "idle", clocks.idle))
            if clocks.min_tps:
                found.append((self._window + 5.0, "min_tps", clocks.min_tps))
        return min(found)  # type: ignore[return-value]  # what is None stands behind a time

    def is_due(self, *clocks: str) -> bool:
        """True if its next clock would fire now, and is one of these, if any are named."""
        if self.state not in ("trying", "paused"):
            return False
        at, clock, _ = self._next()
        return at <= self.time.now + TICK and (not clocks or clock in clocks)

    def _set_alarm(self) -> None:
        self._alarm += 1
        mine = self._alarm
        self.time.at(self._next()[0], lambda: self._ring() if mine == self._alarm else None)

    def _ring(self) -> None:
        if self.state not in ("trying", "paused"):
            return
        at, clock, setting = self._next()
        if at > self.time.now:
            self._set_alarm()
            return
        if (clock == "first" and self.patient) or (clock == "deadline" and self.others):
            self.doubt(self)
        if clock == "first" and self.patient and self.alone():
            self.waived = True
            self._set_alarm()
            return
        if clock == "min_tps":
            rate, self._tokens_before, self._window = (self._tokens - self._tokens_before) / 5.0, self._tokens, at
            if rate >= setting:
                self._set_alarm()
                return
        self.fired = TimedOut("", clock=clock, seconds=setting)
        self.time.fired[self.time.now] += 2 if self.others and clock == "deadline" else 1
        if self.state == "trying":
            self._conclude(self._rest_of_answer(self.fired))
        else:
            self._step += 1
            self._end(End(Status.TIMED_OUT, error=self.fired))


TICK = 1e-6
"""Virtual seconds that count as the same moment: what adding floats in another order may change."""


def model_timeouts(leaf: Leaf, call: Timeouts) -> tuple[Timeouts, bool]:
    """The lane's clocks: its own, then the call's, then the usual ones; and True if nobody has set `first`."""
    given = leaf.timeouts.over(call)
    return given.over(DEFAULTS), given.first is None


def _set(clock: float | None) -> float:
    return inf if clock is None else clock


def _is_content(event: Event) -> bool:
    return type(event) in CONTENT and (type(event) is not Reasoning or bool(event.text))


def _give(place: Places) -> None:
    """Gives free places to those who wait, in the order in which they came."""
    while place.free and place.waiting:
        soonest = min(place.waiting, key=lambda each: each[:2])
        place.waiting.remove(soonest)
        if soonest[2].state == "waiting":
            soonest[2].take_place(place)
