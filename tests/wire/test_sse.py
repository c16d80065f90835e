from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.errors import TooLarge
from fanout.wire.sse import STRAY_CAP, ServerSentEvent, ServerSentEvents
from tests.conformance.cases import cut_at_sizes
from tests.cpu import seconds_of


def messages(*chunks: bytes, framing: ServerSentEvents | None = None) -> list[ServerSentEvent]:
    framing = framing or ServerSentEvents()
    return [message for chunk in chunks for message in framing.feed(chunk)] + framing.close()


def data(*chunks: bytes) -> list[str]:
    return [message.data for message in messages(*chunks)]


def test_whole_events_of_one_data_line_become_messages() -> None:
    assert messages(b"data: a\n\ndata: b\n\n") == [
        ServerSentEvent("message", "a", ""),
        ServerSentEvent("message", "b", ""),
    ]


def test_the_three_line_ends_may_be_mixed() -> None:
    assert data(b"data: a\rdata: b\ndata: c\r\n\ndata: d\n\r\n") == ["a\nb\nc", "d"]


def test_a_cr_dispatches_at_once_and_the_lf_after_it_is_swallowed() -> None:
    framing = ServerSentEvents()
    assert [message.data for message in framing.feed(b"data: now\r\r")] == ["now"]
    assert framing.feed(b"\n") == []
    assert [message.data for message in framing.feed(b"data: x\n\n")] == ["x"]


def test_only_one_lf_is_swallowed_after_a_cr() -> None:
    framing = ServerSentEvents()
    framing.feed(b"data: x\r")
    assert framing.feed(b"") == []
    assert [message.data for message in framing.feed(b"\n\n")] == ["x"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_nothing_but_cr_and_lf_ends_a_line(separator: str) -> None:
    assert data(f"data: a{separator}b\n\n".encode()) == [f"a{separator}b"]


def test_one_leading_bom_is_stripped_even_byte_by_byte() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"
    assert data(stream) == data(*cut_at_sizes(stream, repeat(1))) == ["a"]


def test_a_second_bom_makes_an_unknown_field() -> None:
    framing = ServerSentEvents()
    assert messages(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", framing=framing) == []
    assert framing.stray == [b"\xef\xbb\xbfdata: a"]


def test_bad_bytes_become_replacement_characters_and_swallow_no_line_end() -> None:
    assert data(b"data: a\xff\xe6\xbc\n\ndata: \xc0\xaf\xed\xa0\x80\n\n") == ["a\ufffd\ufffd", "\ufffd" * 5]


def test_exactly_one_space_is_removed_after_the_colon() -> None:
    assert data(b"data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n") == ["a", "a", " a", "\ta"]


def test_data_without_a_value_is_dispatched_empty() -> None:
    assert data(b"data\n\ndata:\n\ndata: \n\n") == ["", "", ""]


def test_an_event_without_data_is_dropped_with_its_type() -> None:
    assert messages(b"event: ping\n\n", b"data: x\n\n") == [ServerSentEvent("message", "x", "")]


def test_the_event_type_goes_with_its_event_only() -> None:
    assert messages(b"event: tick\ndata: 1\n\n", b"data: 2\n\n") == [
        ServerSentEvent("tick", "1", ""),
        ServerSentEvent("message", "2", ""),
    ]


def test_the_id_stays_until_it_is_changed() -> None:
    framing = ServerSentEvents()
    found = messages(
        b"id: 5\ndata: a\n\n", b"data: b\n\n", b"id: 6\0\ndata: c\n\n", b"id\ndata: d\n\n", framing=framing
    )
    assert [message.id for message in found] == ["5", "5", "5", ""]
    assert framing.last_id == ""


def test_an_id_alone_counts_from_the_next_event_on() -> None:
    assert messages(b"id: 7\n\ndata: a\n\n") == [ServerSentEvent("message", "a", "7")]


def test_an_id_without_its_blank_line_does_not_become_the_last_id() -> None:
    framing = ServerSentEvents()
    messages(b"id: 5\n", framing=framing)
    assert framing.last_id == ""


def test_comments_are_counted() -> None:
    framing = ServerSentEvents()
    assert messages(b": one\n\n:\ndata: a\n:two\n\n", framing=framing) == [ServerSentEvent("message", "a", "")]
    assert framing.comments == 3


@pytest.mark.parametrize("value", ["12x", "-5", "+7", "1_000", " 9", "", "\u0663", "9" * 16, "9" * 5000])
def test_a_retry_that_is_no_sensible_number_is_ignored(value: str) -> None:
    framing = ServerSentEvents()
    messages(f"retry: 1500\nretry: {value}\n\n".encode(), framing=framing)
    assert framing.retry == 1500


def test_an_unfinished_event_is_no_message_but_pending() -> None:
    framing = ServerSentEvents()
    assert messages(b"event: error\ndata: [DO", b"NE]", framing=framing) == []
    assert framing.pending == ServerSentEvent("error", "[DONE]", "")


def test_nothing_is_pending_after_a_whole_event() -> None:
    framing = ServerSentEvents()
    messages(b"data: a\n\n", framing=framing)
    assert framing.pending is None


def test_lines_with_unknown_fields_are_kept_whole_and_within_bounds() -> None:
    framing = ServerSentEvents()
    messages(b"error: {}\nDATA: no\n data: no\n\n" + b"x" * STRAY_CAP + b"\n", b"last", framing=framing)
    assert framing.stray == [b"error: {}", b"DATA: no", b" data: no", b"last"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_over_the_cap_is_too_large_however_it_is_cut(size: int) -> None:
    stream = b"data: a\n\ndata: " + b"b" * 20 + b"\n\ndata: c\n\n"
    framing = ServerSentEvents(max_line=20)
    assert [message.data for message in messages(*cut_at_sizes(stream, repeat(size)), framing=framing)] == ["a"]
    assert isinstance(framing.error, TooLarge)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_an_event_over_the_cap_is_too_large_however_it_is_cut(size: int) -> None:
    stream = b"data: 123456789\n\ndata: 12345\ndata: 12345\n\ndata: c\n\n"
    framing = ServerSentEvents(max_event=10)
    assert [m.data for m in messages(*cut_at_sizes(stream, repeat(size)), framing=framing)] == ["123456789"]
    assert isinstance(framing.error, TooLarge)


def test_a_line_that_never_ends_is_stopped_at_the_cap() -> None:
    framing = ServerSentEvents(max_line=1000)
    for _ in range(11):
        framing.feed(b"x" * 100)
    assert isinstance(framing.error, TooLarge)
    assert framing.feed(b"data: late\n\n") == framing.close() == []


@given(
    st.lists(
        st.sampled_from(
            [
                b"data",
                b": ",
                b":",
                b"\n",
                b"\r",
                b"\r\n",
                b"id",
                b"event",
                b"\xef\xbb\xbf",
                b"x",
                b"\n\n",
                b"data: y\n\n",
                b"\xe6\xbc",
            ]
        )
    ),
    st.data(),
)
@settings(deadline=None, max_examples=300)
def test_the_result_does_not_depend_on_the_cut(parts: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, pieces, single = ServerSentEvents(), ServerSentEvents(), ServerSentEvents()
    expected = messages(stream, framing=whole)
    assert messages(*chunks, framing=pieces) == messages(*cut_at_sizes(stream, repeat(1)), framing=single) == expected
    for other in (pieces, single):
        assert (other.stray, other.comments, other.last_id, other.pending) == (
            whole.stray,
            whole.comments,
            whole.last_id,
            whole.pending,
        )


@pytest.mark.parametrize("line", [b"a" * 64, b"data: a\n", b"data: a\n\n", b"\r"])
def test_the_time_is_linear(line: bytes) -> None:
    def read(chunks: list[bytes]) -> None:
        framing = ServerSentEvents(max_line=1 << 30, max_event=1 << 30)
        for chunk in chunks:
            framing.feed(chunk)
        framing.close()

    def cost(size: int) -> float:
        chunks = cut_at_sizes((b"data: " + line * (size // len(line))), repeat(64))
        return min(seconds_of(lambda: read(chunks)) for _ in range(3))

    small, large = cost(1 << 17), cost(1 << 19)
    assert large < 10 * max(small, 0.002)
