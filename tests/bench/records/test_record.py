from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.records.record import Record, from_line, to_line
from fanout.bench.records.tape import LETTERS, Tape
from fanout.errors import RateLimited, TimedOut, UsageError
from fanout.events import CONTENT, Delta, End, File, Reasoning, Replace, Started, Status, ToolCall, Usage
from tests.bench.answers import answer, failure, timeout


def tape(*events: tuple[float, Any], **more: Any) -> Record:
    made = Tape("a", 3, sent=100.0, origin=90.0)
    for at, event in events:
        made.add(event, at)
    return made.record(**more)


def test_times_of_a_record_count_from_its_start_and_its_start_from_the_run_s() -> None:
    record = tape((100.2, Delta("Hi")), (100.3, Delta(" there")), (100.5, End(Status.FINISHED)), place=1)
    assert (record.sent, record.block, record.place) == (10.0, 3, 1)
    assert record.times == pytest.approx((0.2, 0.3))
    assert record.ended == pytest.approx(0.5)
    assert (record.kinds, record.sizes, record.size) == ("dd", (2, 6), 8)


def test_only_content_is_a_piece() -> None:
    record = tape((100.1, Started()), (100.2, Delta("x")), (100.3, Usage(output=7)), (100.4, End(Status.FINISHED)))
    assert len(record.times) == 1
    assert record.output == 7


def test_every_kind_of_content_has_a_letter() -> None:
    assert set(LETTERS) == CONTENT
    assert len(set(LETTERS.values())) == len(LETTERS)


def test_sizes_are_characters_and_the_size_is_bytes() -> None:
    record = tape((100.1, Reasoning("aé")), (100.2, Delta("日本")), (100.3, End(Status.FINISHED)))
    assert record.sizes == (2, 2)
    assert record.size == 3 + 6


def test_a_rewritten_text_counts_for_what_is_new_in_it() -> None:
    record = tape(
        (100.1, Reasoning("thinking")), (100.2, Delta("日")), (100.3, Replace("月曜")), (100.4, End(Status.FINISHED))
    )
    assert record.sizes == (8, 1, 1)
    assert record.size == 8 + 3 + 3


def test_a_text_rewritten_shorter_has_no_size() -> None:
    record = tape((100.1, Delta("long")), (100.2, Replace("s")), (100.3, End(Status.FINISHED)))
    assert record.sizes == (4, 0)


def test_calls_of_tools_count_by_name_and_arguments_and_files_by_nothing() -> None:
    record = tape((100.1, ToolCall(0, name="f", arguments="{}")), (100.2, File(url="x")), (100.3, End(Status.FINISHED)))
    assert record.sizes == (3, 0)
    assert record.kinds == "tf"


def test_an_error_is_kept_with_its_kind_status_and_message() -> None:
    record = tape((100.1, End(Status.FAILED, error=RateLimited("slow down", status=429))))
    assert (record.error, record.http_status, record.message) == ("rate_limit", 429, "slow down")
    assert not record.finished


def test_a_timeout_is_kept_with_its_clock_and_limit() -> None:
    record = tape((105.0, End(Status.TIMED_OUT, error=TimedOut("late", clock="first", seconds=5.0))))
    assert (record.clock, record.limit) == ("first", 5.0)


@pytest.mark.parametrize("count", [-1, 2**53, 10**30])
def test_counts_that_no_service_can_mean_are_not_kept(count: int) -> None:
    usage = Usage(input=count, output=count, reasoning=count, cached=count)
    record = tape((100.1, usage), (100.2, End(Status.FINISHED)))
    assert (record.input, record.output, record.reasoning, record.cached) == (None, None, None, None)
    assert from_line(to_line(record)) == record


def test_an_estimated_count_is_not_kept_as_the_service_s() -> None:
    record = tape((100.1, Usage(output=9, estimated=True)), (100.2, End(Status.FINISHED)))
    assert record.output is None


def test_stamps_are_counted_by_their_source() -> None:
    made = Tape("a", 0, sent=0.0)
    made.add(Delta("x"), 0.1, kernel=True)
    made.add(Delta("y"), 0.2, kernel=True, coalesced=True)
    made.add(End(Status.FINISHED), 0.3)
    record = made.record()
    assert (record.kernel, record.coalesced, record.stamp) == (2, 1, "kernel")


@pytest.mark.parametrize(("kernel", "stamp"), [(0, "user"), (1, "mixed"), (2, "kernel")])
def test_a_record_s_stamp_is_the_kernel_s_only_if_all_are(kernel: int, stamp: str) -> None:
    assert answer(pieces=2, kernel=kernel).stamp == stamp


RECORDS = [
    answer(),
    answer(server={"prompt": 0.1}, level=8.0, race=True, warmup=True, cost=0.001, prompt_cost=0.0004, intended=1.5),
    failure(http_status=500),
    timeout(),
    answer(pieces=0),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_line_gives_back_its_record_to_the_microsecond(record: Record) -> None:
    read = from_line(to_line(record))
    assert read.times == pytest.approx(record.times, abs=6e-7)
    assert read == from_line(to_line(read))
    assert to_line(read) == to_line(record)


@given(st.lists(st.floats(0, 1e5), max_size=9), st.text(max_size=9), st.floats(0, 1e9))
def test_any_times_and_messages_survive(times: list[float], message: str, sent: float) -> None:
    times.sort()
    pieces = len(times)
    record = answer(pieces=pieces, times=tuple(times), message=message, sent=sent)
    read = from_line(to_line(record))
    assert read.times == pytest.approx(times, abs=1e-6)
    assert (read.message, read.sent) == (message, sent)


def test_what_has_its_default_is_not_written() -> None:
    assert set(orjson.loads(to_line(failure()))) == {
        "version", "lane", "block", "status", "sent", "ended", "error", "message",
    }  # fmt: skip


def test_a_line_is_one_line() -> None:
    assert to_line(failure(message="a\nb\r\u2028c")).splitlines(keepends=True)[0].endswith(b"}\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"version": 2}',
        b'{"version": 1}',
        to_line(answer()).replace(b'"dddd', b'"ddd'),
    ],
)
def test_another_line_is_refused_in_words(line: bytes) -> None:
    with pytest.raises(UsageError):
        from_line(line)


def test_a_field_of_a_later_program_does_not_disturb() -> None:
    line = to_line(failure()).replace(b'"version":1', b'"version":1,"weather":"fine"')
    assert from_line(line) == failure()
