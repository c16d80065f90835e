"""A record grows event by event."""

from typing import Any

import pytest

from fanout.bench.records import tape as records_tape
from fanout.bench.records.record import Record, from_line, to_line
from fanout.bench.records.tape import LETTERS, Tape
from fanout.errors import RateLimited, TimedOut
from fanout.events import CONTENT, Delta, End, File, Reasoning, Replace, Started, Status, ToolCall, Usage


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


def test_of_millions_of_pieces_no_more_are_kept_than_an_answer_has_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_tape, "MOST_PIECES", 3)
    made = Tape("a", 0, sent=0.0)
    for number in range(10):
        made.add(Delta("ä"), number / 10, kernel=True)
    made.add(Replace("ä" * 12), 1.0)
    made.add(End(Status.FINISHED), 2.0)
    record = made.record()
    assert (record.times, record.kinds, record.sizes, record.merged) == ((0.0, 0.1, 1.0), "ddd", (1, 1, 10), 8)
    assert (record.size, record.kernel, record.stamp) == (24, 3, "kernel")
    assert from_line(to_line(record)) == record


def test_a_record_of_a_flood_has_a_bounded_line_and_many_rewrites_take_linear_time() -> None:
    made = Tape("a", 0, sent=0.0)
    for number in range(300_000):
        made.add(Delta("x") if number % 2 else Replace("y"), number / 1000)
    made.add(End(Status.FINISHED), 400.0)
    assert len(to_line(made.record())) < 3 << 20


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "its answer was empty"),
        ([Reasoning("Hm")], "its answer was empty: all that came was reasoning"),
    ],
)
def test_an_answer_with_nothing_in_it_is_a_failure(events: list[Any], why: str) -> None:
    record = tape(*((100.1, event) for event in events), (100.2, End(Status.FINISHED, finish_reason="stop")))
    assert (record.status, record.error, record.message) == (Status.FAILED, "refused", why)


def test_an_answer_whose_tokens_all_went_into_reasoning_says_so() -> None:
    end = End(Status.FINISHED, finish_reason="length")
    hidden = tape((100.1, Usage(output=9, reasoning=9)), (100.2, end))
    assert hidden.message == "its answer was empty: max_tokens went into reasoning"
    assert tape((100.1, ToolCall(0, "1", "look")), (100.2, end)).finished
