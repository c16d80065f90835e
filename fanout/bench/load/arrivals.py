"""The times at which the pieces of one answer arrived: a transport's stamps of a read, given to the events in it.

A stamp tells when the oldest and when the newest byte of a read arrived. All events count, also those without content:
the first gets the oldest stamp, the last the newest, and those between the newest too, which may be too late. Where the
kernel has merged what waited, only the newest is known, which then is too late for all but the last. An event that
spans reads belongs to the read that completes it. So a read is passed on in three parts at most, each with its stamp.
"""

import re
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from fanout.abc import Head, Receiver
from fanout.bench.records.tape import Tape
from fanout.bench.records.timings import TIMING_MARKS
from fanout.events import End, Event, is_content
from fanout.transports.stamps import Stamp

_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")
_LINE = re.compile(rb"\n")
_TAIL = 3  # bytes of a read that may belong to a blank line which ends in the next


@define(eq=False)
class Arrivals:
    """A receiver between a transport and an attempt, which also hears the attempt's events.

    With `fresh` the time to open a connection counts: the tape keeps the start that it has. `see` gets the head and the
    Trio time of its first byte. Transports that do not stamp pay nothing: `data` is the attempt's own until the first
    stamp. `unpeeked` counts pieces without a stamp of the kernel, of a transport that stamps; `lateness` is the most
    seconds by which our own stamps were later than the kernel's. `last_words` is the last read that holds timings of
    the service itself.
    """

    tape: Tape
    see: Callable[[Head, float], None]
    fresh: bool = False
    receiver: Receiver = field(init=False)
    data: Callable[[bytes], bool] = field(init=False)
    connect: float | None = field(default=None, init=False)
    tls: float | None = field(default=None, init=False)
    last_words: bytes = field(default=b"", init=False)
    unpeeked: int = field(default=0, init=False)
    lateness: float | None = field(default=None, init=False)
    _stamp: Stamp | None = field(default=None, init=False)
    _seen: float = field(default=0.0, init=False)
    _at: float | None = field(default=None, init=False)
    _kernel: bool = field(default=False, init=False)
    _coalesced: bool = field(default=False, init=False)
    _reading: bool = field(default=False, init=False)
    _ends: re.Pattern[bytes] = field(default=_BLANK_LINE, init=False)
    _tail: bytes = field(default=b"", init=False)

    def pass_to(self, receiver: Receiver) -> None:
        """Passes on to `receiver` from now on: each try of an attempt is another."""
        self.receiver = receiver
        self.data = receiver.data

    def note_sent(self, at: float, connect: float | None, tls: float | None, /) -> None:
        """Takes the time at which the request goes out: see StampedReceiver."""
        self.data = self._read
        self.connect, self.tls = connect, tls
        if not self.fresh:
            self.tape.sent = at

    def note_stamp(self, stamp: Stamp, /) -> None:
        """Takes the stamp of the bytes that come next: see StampedReceiver."""
        self._stamp = stamp

    def head(self, head: Head, /) -> None:
        """Takes the head of the response."""
        if "event-stream" not in head.headers.get("content-type", ""):
            self._ends = _LINE
        self.see(head, trio.current_time() if self._stamp is None else self._stamp.first)
        self.receiver.head(head)

    def hear(self, events: Sequence[Event], at: float) -> None:
        """Takes the events of the bytes that were just passed on; or the attempt's end, which has no stamp."""
        for event in events:
            if self._at is None or (type(event) is End and not self._reading):
                self.tape.add(event, at)
                continue
            self.tape.add(event, self._at, kernel=self._kernel, coalesced=self._coalesced)
            if not is_content(event):
                continue
            if self._kernel:
                self.lateness = max(self._seen - self._at, self.lateness or 0.0)
            else:
                self.unpeeked += 1

    def _read(self, data: bytes) -> bool:
        """Takes one read of a transport that stamps."""
        stamp, self._stamp = self._stamp, None
        if stamp is None:
            now = trio.current_time()
            stamp = Stamp(now, now, now, kernel=False)
        self._seen = stamp.seen
        if TIMING_MARKS[0] in data or TIMING_MARKS[1] in data:
            self.last_words = data
        self._reading = True
        try:
            return self._pass_on(data, stamp)
        finally:
            self._reading = False

    def _pass_on(self, data: bytes, stamp: Stamp) -> bool:
        ends = self._ends_in(data)
        whole = not ends or ends[-1] == len(data)  # a read without an event end can only be completed by the body's end
        merged = stamp.first == stamp.last
        if len(ends) < 2:
            self._mark(stamp, stamp.last if whole else stamp.first, exact=whole or merged, newest=whole)
            return self.receiver.data(data)
        self._mark(stamp, stamp.first, exact=not merged)
        if self.receiver.data(data[: ends[0]]):
            return True
        if len(ends) > 2:
            self._mark(stamp, stamp.last, exact=False)
            if self.receiver.data(data[ends[0] : ends[-2]]):
                return True
        self._mark(stamp, stamp.last, exact=whole, newest=True)
        return self.receiver.data(data[ends[-2] :])

    def _mark(self, stamp: Stamp, at: float, *, exact: bool, newest: bool = False) -> None:
        """Sets the stamp of the events that are heard next; the `newest` may have come after the kernel was asked."""
        late = newest and stamp.after is not None
        self._at = stamp.after if late else at
        self._kernel = stamp.kernel and not late
        self._coalesced = self._kernel and (stamp.shared or not exact)

    def _ends_in(self, data: bytes) -> list[int]:
        """The offsets in the bytes at which events end."""
        if not self._tail and data.find(b"\n\n") == len(data) - 2 and self._ends is _BLANK_LINE:
            return [len(data)]
        before = len(self._tail)
        seen = self._tail + data
        ends = [match.end() - before for match in self._ends.finditer(seen) if match.end() > before]
        self._tail = b"" if ends and ends[-1] == len(data) else seen[-_TAIL:]
        return ends
