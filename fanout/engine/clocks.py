"""The clocks of one lane, and the next of them to fire. Pure: the time is given."""

from math import inf

from attrs import define, field

from fanout.errors import TimedOut
from fanout.settings.timeouts import Leniency, Timeouts, forgive

RATE_WINDOW = 5.0
"""Seconds over which `min_tps` is measured, again and again from the first content on."""

LINGER = 2.0
"""Seconds, from its last content on, that a complete answer waits for its usage and the end of its stream."""

Alarm = tuple[float, str, float]
"""The time at which a clock fires (on the caller's clock), its name, and what it was set to."""


@define
class Clocks:
    """Knows what has been heard of one lane, and so when its next clock fires. Reads no clock itself."""

    timeouts: Timeouts
    started: float
    until: float = inf
    first_at: float | None = None
    last_at: float = 0.0
    complete_at: float | None = None
    tokens: int = 0
    late: float = 0.0
    patient: bool = False
    """True if nobody has set `first`: then it judges the service, and not the thinking."""
    moved: bool = False
    waived: bool = False
    _leniency: Leniency = field(factory=Leniency)
    _window_at: float = 0.0
    _window_tokens: int = 0

    def content(self, at: float, tokens: int) -> bool:
        """Takes note of content: `tokens` of it. True for the first, which may bring the next alarm forward.

        After a finish reason, too, content may come: the wait for the end of the stream begins anew with it.
        """
        self.last_at = at
        self.tokens += tokens
        if self.complete_at is not None:
            self.complete_at = at
        if self.first_at is not None:
            return False
        self.first_at = self._window_at = at
        return True

    def begin(self, at: float) -> None:
        """Takes note that an answer begins, of which no content has come: `first`, if patient, counts from here."""
        if self.patient and not self.moved and self.first_at is None:
            self.moved = True
            self.late += at - self.started

    def complete(self, at: float) -> bool:
        """Takes note of the service's word that its answer is complete. True if the wait for the stream's end begins.

        A finish reason before any content starts none: what it finishes is still to come.
        """
        if self.first_at is None or self.complete_at is not None:
            return False
        self.complete_at = at
        return True

    @property
    def limit(self) -> tuple[float, str]:
        """The time at which the lane's time as a whole is over, and the clock that says so."""
        total = inf if self.timeouts.total is None else self.started + self.timeouts.total
        return min((self.until, "deadline"), (total, "total"))

    def next_alarm(self) -> Alarm:
        """Returns the alarm that comes first if nothing more arrives."""
        return min(self._alarms())

    def _alarms(self) -> list[Alarm]:
        t = self.timeouts
        alarms = [(self.until, "deadline", self.until - self.started)]
        if t.total is not None:
            alarms.append((self.started + t.total, "total", t.total))
        if self.complete_at is not None:
            alarms.append((self.complete_at + LINGER, "linger", LINGER))
        if self.first_at is None:
            if t.first is not None and not self.waived:
                alarms.append((self.started + t.first + self.late, "first", t.first))
            return alarms
        if t.idle is not None:
            alarms.append((self.last_at + t.idle, "idle", t.idle))
        if t.min_tps:
            alarms.append((self._window_at + RATE_WINDOW, "min_tps", t.min_tps))
        return alarms

    def pardon(self, now: float) -> None:
        """Gives the service more time for its clocks that ring late: we were not there, nor perhaps was the service.

        A request may not have been sent before, and who stopped us may have stopped the service too. `total` and the
        deadline are promised to the caller, and stay.
        """
        late = [alarm for alarm in self._alarms() if alarm[0] <= now and alarm[1] not in ("deadline", "total")]
        if not late or not self._leniency.pardon(now - min(late)[0], inf):
            return
        for at, clock, setting in late:
            more = forgive(now - at, setting)
            match clock:
                case "first":
                    self.late += now - at + more
                case "idle":
                    self.last_at = now + more - setting
                case "linger":
                    self.complete_at = now + more - setting
                case "min_tps":
                    self._window_at, self._window_tokens = now, self.tokens

    def find_fired(self, now: float) -> TimedOut | None:
        """Returns the error of the clock that has fired by `now`, or None if none has."""
        at, clock, setting = self.next_alarm()
        if at > now:
            return None
        if clock == "min_tps":
            rate = (self.tokens - self._window_tokens) / RATE_WINDOW
            self._window_at, self._window_tokens = now, self.tokens  # also what came long after `at` is counted now
            if rate >= setting:
                return self.find_fired(now)
        return TimedOut(_WORDS[clock].format(setting), clock=clock, seconds=setting)


_WORDS = {
    "deadline": "the deadline of all lanes together passed",
    "total": "not finished within {:g} s",
    "linger": "the stream did not end within {:g} s after the answer",
    "first": "no content within {:g} s",
    "idle": "no content for {:g} s",
    "min_tps": "slower than {:g} tokens per second",
}
