import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.records.record import Record, from_line, to_line
from fanout.errors import UsageError
from tests.bench.answers import answer, failure, timeout


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
