"""A lane on watch: an alarm is set for the next of its clocks, and what the lane does is cut off when one fires."""

import logging
from collections.abc import Sequence
from math import inf

import trio

from fanout.abc import Alone, not_alone
from fanout.answers import Fold
from fanout.engine.alarms import Alarms
from fanout.engine.clocks import Clocks
from fanout.engine.lessons import Lessons
from fanout.errors import TimedOut
from fanout.events import End, Event, Status
from fanout.settings.timeouts import Timeouts

WAITED = "; as the only lane left it was waited for"
"""The end of the note on a lane that is waited for beyond `first`; before it stands what has not come."""

_log = logging.getLogger("fanout")


class Watch:
    """One lane's clocks and their alarm, from the lane's start to its End, over all its tries.

    `scope` holds what is watched; `fired` is the error of the clock that has fired, at which `scope` was cancelled.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        alarms: Alarms | None = None,
        *,
        patient: bool = False,
        lessons: Lessons | None = None,
    ) -> None:
        """`patient` says that nobody has set `first`: then a lane that is `alone` goes on all the same, with a note."""
        self.timeouts = timeouts
        self._patient = patient
        self.lessons = lessons
        self.alone: Alone = not_alone
        self.notes: list[str] = []
        self.alarms = alarms
        self.scope = trio.CancelScope()
        self.fired: TimedOut | None = None
        self._clocks = Clocks(timeouts, 0.0)
        self._alarm_at = inf
        self._unsure = False

    @property
    def connect(self) -> float:
        """The seconds that a connection may take."""
        return inf if self.timeouts.connect is None else self.timeouts.connect

    def find_due(self) -> float:
        """Returns the Trio time at which the next clock fires if nothing more arrives; past once one has fired.

        A clock that is due but has not rung is our lateness: it may be asked for before its alarm has its turn.
        """
        if self.fired is not None:
            return -inf
        self._clocks.pardon(trio.current_time())
        return self._clocks.next_alarm()[0]

    @property
    def limit(self) -> tuple[float, str]:
        """The Trio time at which the lane's time as a whole is over, and the clock that says so."""
        return self._clocks.limit

    def start(self, until: float, size: int = 0) -> float:
        """Starts the clocks now, which is returned; `until` (a Trio time) is the deadline of all lanes together.

        `size` is that of the prompt, in characters.
        """
        now = trio.current_time()
        if self.lessons is not None:
            self.lessons.size = size
            self.lessons.begin(now)
        self._begin(Clocks(self.timeouts, now, until, patient=self._patient))
        return now

    def pause(self) -> None:
        """Stops all clocks but the deadline: to wait for a person is not to wait for the service."""
        self._begin(Clocks(_NO_TIMEOUTS, trio.current_time(), self._clocks.until))

    def resume(self) -> float:
        """Starts the clocks anew, with the deadline as it was."""
        return self.start(self._clocks.until, self.lessons.size if self.lessons else 0)

    def content(self, at: float, contents: int, events: Sequence[Event]) -> None:
        """Takes note of content: so many pieces of it among `events`, which arrived at `at`."""
        if self.lessons is not None and self.lessons.listens:
            self.lessons.content(at, events)
        if self._clocks.content(at, self._tokens(contents, events) if self.timeouts.min_tps else contents):
            self._set_alarm()

    def repeat(self) -> None:
        """Takes note that another try begins: those before it have failed, and teach nothing."""
        if self.lessons is not None:
            self.lessons.begin(trio.current_time())

    def end(self, end: End, fold: Fold) -> None:
        """Takes note of the lane's End, and of the tokens of a whole answer."""
        if self.lessons is not None:
            tokens = fold.tokens if end.status is Status.FINISHED else 0
            self.lessons.end(end, trio.current_time(), tokens)

    def begin(self) -> None:
        """Takes note that an answer begins, before any content."""
        self._clocks.begin(trio.current_time())

    def complete(self) -> None:
        """Takes note that the answer is complete, though more may come, with its last content now or before."""
        if self._clocks.complete(trio.current_time()):
            self._set_alarm()

    def _begin(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Sets the alarm earlier. Most content moves it later, which is looked at only when it rings."""
        at = self._clocks.next_alarm()[0]
        if at < self._alarm_at and self.alarms is not None:
            self._alarm_at = at
            self.alarms.set(at, self._ring)

    def _ring(self, at: float) -> bool:
        """Judges the lane, if a clock has fired: the second time, when what has arrived has been read."""
        if at != self._alarm_at:  # set for something that an earlier alarm has taken the place of
            return False
        now = trio.current_time()
        self._unsure = not self._unsure and self._clocks.next_alarm()[0] <= now
        if self._unsure:
            self._clocks.pardon(now)
            return True
        self._alarm_at = inf
        self.fired = self._clocks.find_fired(now)
        if self.fired is not None and self.fired.clock == "first" and self._patient and self._is_waived(self.fired):
            self._clocks.waived, self.fired = True, None
        if self.fired is None:
            self._set_alarm()
        else:
            self.scope.cancel()
        return False

    def _is_waived(self, late: TimedOut) -> bool:
        if not self.alone():
            return False
        self.notes.append(f"{late.message}{WAITED}")
        _log.info("%s; as the only lane left it is waited for", late.message)
        return True

    def _tokens(self, contents: int, events: Sequence[Event]) -> int:
        """About how many tokens arrived: one piece may hold several, of four characters each."""
        return max(contents, sum(len(getattr(event, "text", "")) for event in events) // 4)


class Watched:
    """A lane on watch: what its group may know of its clocks, and what it says to them."""

    _watch: Watch

    @property
    def alone(self) -> Alone:
        """Tells whether no other lane could give the answer; the lane's group sets it."""
        return self._watch.alone

    @alone.setter
    def alone(self, alone: Alone) -> None:
        """Sets it."""
        self._watch.alone = alone

    @property
    def due(self) -> float:
        """The Trio time until which the lane may take, and an `accept` that is asked about its answer."""
        return self._watch.limit[0]

    @property
    def clock(self) -> str:
        """The clock that says so: total, or the deadline of all lanes together."""
        return self._watch.limit[1]

    def count_most(self, tokens: int, limit: int | None) -> int | None:
        """Returns the tokens for which its service may bill, if it was cut off after so many; None if unknown."""
        return None if self._watch.lessons is None else self._watch.lessons.count_most(tokens, limit)

    def overtake(self) -> None:
        """Takes note that the next lane starts because this one is late."""
        if self._watch.lessons is not None:
            self._watch.lessons.overtaken = True

    @property
    def expired(self) -> bool:
        """True once one of its clocks has fired, at which it ends."""
        return self._watch.fired is not None


def format_age(started: float | None, elapsed: float | None) -> str:
    """Returns ", 1.3 s": the time that it took, or takes since `started` (a Trio time). For reprs: never fails."""
    try:
        elapsed = trio.current_time() - started if elapsed is None and started is not None else elapsed
    except RuntimeError:  # outside Trio
        return ""
    return "" if elapsed is None else f", {elapsed:.1f} s"


_NO_TIMEOUTS = Timeouts()
