"""The stamp that each event of a read gets."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field
from trio.testing import MockClock

from fanout.abc import Head
from fanout.bench.load.arrivals import Arrivals
from fanout.bench.records.record import Record
from fanout.bench.records.tape import Tape
from fanout.events import Delta, End, Event, Status
from fanout.transports.stamps import Stamp

SSE = Head(200, {"content-type": "text/event-stream; charset=utf-8"})
LINES = Head(200, {"content-type": "application/x-ndjson"})
FIRST, LAST, SEEN = 1.0, 1.5, 2.0
STAMP = Stamp(FIRST, LAST, SEEN)
MERGED = Stamp(LAST, LAST, SEEN)
HEARD = 3.0
"""The time at which the engine tells of events."""


@define(eq=False)
class Lines:
    """An attempt that makes a piece of content of each event which is whole, but of comments; `enough` ends it."""

    separator: bytes = b"\n\n"
    enough: bytes | None = None
    got: list[bytes] = field(factory=list)
    heads: list[Head] = field(factory=list)
    arrivals: Any = None
    rest: bytes = b""

    def head(self, head: Head) -> None:
        self.heads.append(head)

    def data(self, data: bytes) -> bool:
        self.got.append(data)
        *whole, self.rest = (self.rest + data.replace(b"\r", b"")).split(self.separator)
        texts = [text.decode() for text in whole if not text.startswith(b":")]
        if texts:
            self.arrivals.hear([Delta(text) for text in texts], HEARD)
        return self.enough is not None and self.enough in data


def open_arrivals(head: Head = SSE, **attempt: Any) -> tuple[Arrivals, Lines]:
    lines = Lines(**attempt)
    seen: list[float] = []
    lines.arrivals = arrivals = Arrivals(Tape("a", 0, 0.0), lambda _, at: seen.append(at))
    arrivals.pass_to(lines)
    arrivals.note_sent(0.0, None, None)
    arrivals.note_stamp(Stamp(0.5, 0.5, 0.5))
    arrivals.head(head)
    assert seen == [0.5]
    return arrivals, lines


def record(arrivals: Arrivals) -> Record:
    arrivals.hear([End(Status.FINISHED)], 9.0)
    return arrivals.tape.record()


def read(arrivals: Arrivals, data: bytes, stamp: Stamp | None = STAMP) -> bool:
    if stamp is not None:
        arrivals.note_stamp(stamp)
    return arrivals.data(data)


@pytest.mark.parametrize(
    ("data", "stamp", "times", "coalesced"),
    [
        (b"a\n\n", STAMP, [LAST], 0),
        (b"a\n\nb", STAMP, [FIRST], 1),
        (b"a\n\nb", MERGED, [LAST], 0),
        (b"a\n\nb\n\n", STAMP, [FIRST, LAST], 0),
        (b"a\n\nb\n\n", MERGED, [LAST, LAST], 1),
        (b"a\n\nb\n\nc\n\nd\n\n", STAMP, [FIRST, LAST, LAST, LAST], 2),
        (b"a\n\nb\n\nc\n\nd\n\n", MERGED, [LAST] * 4, 3),
        (b"a\n\nb\n\nc", STAMP, [FIRST, LAST], 1),
        (b": ping\n\na\n\n", STAMP, [LAST], 0),
        (b"a\n\n: ping\n\n", STAMP, [FIRST], 0),
        (b": ping\n\na\n\n: ping\n\n", STAMP, [LAST], 1),
        (b"a\r\n\r\nb\r\n\r\n", STAMP, [FIRST, LAST], 0),
        (b"a\n\nb\n\n", Stamp(FIRST, LAST, SEEN, shared=True), [FIRST, LAST], 2),
    ],
)
def test_the_first_event_gets_the_oldest_stamp_and_the_last_the_newest(
    data: bytes, stamp: Stamp, times: list[float], coalesced: int
) -> None:
    arrivals, lines = open_arrivals()
    assert not read(arrivals, data, stamp)
    found = record(arrivals)
    assert b"".join(lines.got) == data
    assert len(lines.got) <= 3
    assert found.times == tuple(times)
    assert (found.kernel, found.coalesced, arrivals.unpeeked) == (len(times), coalesced, 0)
    assert arrivals.lateness == SEEN - min(times)


def test_an_event_that_spans_reads_belongs_to_the_read_that_completes_it() -> None:
    arrivals, _ = open_arrivals()
    for number, data in enumerate((b"on", b"e\n", b"\ntwo\n\nthr", b"ee\n\nfour\n\n"), 10):
        read(arrivals, data, Stamp(number, number + 0.5, number + 1))
    assert record(arrivals).times == (12, 12.5, 13, 13.5)


def test_lines_end_events_where_there_are_no_server_sent_ones() -> None:
    arrivals, _ = open_arrivals(LINES, separator=b"\n")
    read(arrivals, b"a\nb\nc\n")
    assert record(arrivals).times == (FIRST, LAST, LAST)


def test_where_opening_a_connection_counts_the_tape_keeps_its_own_start() -> None:
    for fresh, sent in ((False, 7.5), (True, 7.0)):
        tape = Tape("a", 0, 7.0)
        arrivals = Arrivals(tape, lambda _head, _at: None, fresh)
        arrivals.pass_to(Lines())
        arrivals.note_sent(7.5, 0.3, 0.2)
        assert (tape.sent, arrivals.connect, arrivals.tls) == (sent, 0.3, 0.2)


def test_what_came_after_the_kernel_was_asked_has_our_own_stamp() -> None:
    arrivals, _ = open_arrivals()
    read(arrivals, b"a\n\nb\n\n", Stamp(FIRST, FIRST, SEEN, after=2.25))
    read(arrivals, b"c\n\n", Stamp(FIRST, FIRST, SEEN, after=2.5))
    found = record(arrivals)
    assert found.times == (FIRST, 2.25, 2.5)
    assert (found.kernel, arrivals.unpeeked) == (1, 2)


async def test_a_read_without_a_stamp_has_our_own_and_counts_as_unpeeked(autojump_clock: MockClock) -> None:
    arrivals, _ = open_arrivals()
    read(arrivals, b"a\n\n")
    read(arrivals, b"b\n\n", None)  # the stamp before it must not be used again
    found = record(arrivals)
    assert found.times == (LAST, autojump_clock.current_time())
    assert (found.kernel, found.stamp, arrivals.unpeeked) == (1, "mixed", 1)


def test_stamps_that_are_not_the_kernel_s_are_never_merged() -> None:
    arrivals, _ = open_arrivals()
    read(arrivals, b"a\n\nb\n\nc\n\n", Stamp(SEEN, SEEN, SEEN, kernel=False))
    found = record(arrivals)
    assert (found.times, found.stamp, found.coalesced) == ((SEEN,) * 3, "user", 0)
    assert (arrivals.unpeeked, arrivals.lateness) == (3, None)


def test_who_has_enough_is_told_no_more_of_the_read() -> None:
    for enough, pieces in ((b"a", 1), (b"b", 2), (b"c", 3)):
        arrivals, lines = open_arrivals(enough=enough)
        assert read(arrivals, b"a\n\nb\n\nc\n\n")
        assert len(lines.got) == pieces


def test_the_end_is_stamped_if_bytes_brought_it_and_else_it_is_when_we_noticed() -> None:
    class Ending(Lines):
        def data(self, data: bytes) -> bool:
            self.arrivals.hear([Delta("x"), End(Status.FINISHED)], HEARD)
            return True

    ending = Ending()
    ending.arrivals = arrivals = Arrivals(Tape("a", 0, 0.0), lambda _, __: None)
    arrivals.pass_to(ending)
    arrivals.note_sent(0.0, None, None)
    read(arrivals, b"x\n\n")
    assert arrivals.tape.record().ended == LAST
    other, _ = open_arrivals()
    read(other, b"x\n\n")
    assert record(other).ended == 9.0


def test_content_that_only_the_end_of_the_body_completes_has_the_last_read_s_stamp() -> None:
    arrivals, _ = open_arrivals(LINES)
    read(arrivals, b'{"whole": "document"}')
    arrivals.hear([Delta("document"), End(Status.FINISHED)], 9.0)
    found = arrivals.tape.record()
    assert (found.times, found.ended) == ((LAST,), 9.0)


def test_without_a_transport_that_stamps_the_engine_s_own_times_count_and_nothing_lies_between() -> None:
    class Attempt(Lines):
        def data(self, data: bytes) -> bool:
            events: Sequence[Event] = [Delta("x"), End(Status.FINISHED)]
            self.arrivals.hear(events, HEARD)
            return True

    attempt = Attempt()
    attempt.arrivals = arrivals = Arrivals(Tape("a", 0, 0.0), lambda _, __: None)
    arrivals.pass_to(attempt)
    assert arrivals.data == attempt.data
    assert arrivals.data(b"x\n\n")
    found = arrivals.tape.record()
    assert (found.times, found.stamp, arrivals.unpeeked) == ((HEARD,), "user", 0)
