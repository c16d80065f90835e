"""The summary as text."""

import re

import pytest

from fanout.bench.analysis.summary import summarize
from fanout.bench.report.console import CLOSED, lines, markdown, seconds
from tests.bench.summaries import failed, records, summary


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("inf"), "never"),
        (0.0000123, "12.3 µs"),
        (0.0004, "400 µs"),
        (0.0215, "21.5 ms"),
        (0.2154, "215 ms"),
        (0.99949, "999 ms"),
        (1.2345, "1.23 s"),
        (123.4, "123 s"),
    ],
)
def test_times_are_written_for_people(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_a_table_has_a_row_a_lane_and_sentences_below() -> None:
    told = lines(summary(records("fast", 0.2), records("slow", 0.3)))
    head, fast, slow = told[:3]
    assert head.split()[:4] == ["lane", "done", "failed", "TTFT"]
    assert fast.startswith("fast   100       0")
    assert "220 ms" in fast
    assert slow.startswith("slow   100       0")
    assert any("less time to first token" in line for line in told[3:])
    assert any(CLOSED in line for line in told)
    assert sum(CLOSED in line for line in told) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_what_is_left_out_is_said(width: int) -> None:
    made = summary(records("fast", 0.2), records("a-lane-with-a-name", 0.3), failed("a", 2, message="no room " * 20))
    whole = lines(made)[0].split("  ")
    told = lines(made, width)
    if width >= 60:  # a name, two counts and three times need so much
        assert max(map(len, told)) <= width
    missing = [head for head in whole if head and head not in told[0]]
    said = " ".join(" ".join(told).split())
    assert all(head in said for head in missing)
    assert bool(missing) == ("a wider window, --json and report.html have it" in said)
    assert all(head in told[0] for head in ("lane", "failed", "TTFT p50"))


def test_a_percentile_has_a_column_if_any_lane_has_enough_requests_for_it() -> None:
    few = lines(summary(records("a", 0.2, 40)))
    assert not set(few[0].split()) & {"p95", "p99"}
    assert "p95 needs 72 requests a lane, p99 368" in few
    mixed = lines(summary(records("a", 0.2, 40), records("b", 0.2, 80)))
    assert "p95" in mixed[0].split() and "p99" not in mixed[0].split()
    assert "needs 72" in mixed[1]
    assert "p99 needs 368 requests a lane" in mixed
    assert not any("requests a lane" in line for line in lines(summary(records("a", 0.2, 400))))


def test_columns_that_are_empty_are_left_out_of_a_document_too() -> None:
    made = summary(records("a", 0.2, level=1.0), records("b", 0.2, level=1.0))
    head, marks, row = markdown(made, "Title").splitlines()[2:5]
    assert "all tok/s" not in head
    assert head.count("|") == marks.count("|") == row.count("|")


def test_failures_are_listed_by_kind_with_a_sample_that_is_safe_to_print() -> None:
    told = lines(summary(records("a", 0.2, 90), failed("a", 10, message="no \x1b[31mroom\nhere", first=90)))
    (line,) = [line for line in told if "rate_limit" in line and line.startswith("  a:")]
    assert line == "  a: 10 x rate_limit: no room here"


def test_names_and_sentences_with_names_are_safe_to_print() -> None:
    evil = "a\x1b]0;owned\x07\x1b[31m\nb"
    made = summary(records(evil, 0.2, 90), failed(evil, 10, message="\x1b[2J", first=90), records("slow", 0.3))
    told = lines(made)
    assert not any(set(line) & set("\x1b\x07\n") for line in told)
    assert any(": a b failed 10 % of its requests" in line for line in told[3:])


MARKS = "<img src=x onerror=alert(1)> ![](http://e/x) [a](http://e) **b** `c` www.e.com"


def test_a_document_holds_nothing_live_of_what_services_and_lanes_say() -> None:
    made = summary(records(MARKS, 0.2, 90), failed(MARKS, 10, message=MARKS, first=90), records("|slow", 0.3))
    text = markdown(made, f"fanout bench: {MARKS}")
    assert text.count("\\<img src\\=x") + text.count("\\<img src=x") > 4
    for live in ("<img", "![", "[a]", "**", "`c`", "www.e", "http://", "| |slow"):
        assert not re.search(rf"(?<!\\){re.escape(live)}", text), live


def test_an_open_loop_shows_the_response_time() -> None:
    told = lines(summary(records("a", 0.2, intended=0.0)))
    assert "response p50" in told[0]
    assert not any(CLOSED in line for line in told)


def test_objectives_bring_the_goodput() -> None:
    made = summary(records("a", 0.2), objectives={"ttft": 0.21})
    head, row = lines(made)[:2]
    assert head.endswith("goodput")
    assert row.endswith("/s")


def test_a_sweep_has_a_table_a_level() -> None:
    told = lines(summary(records("a", 0.2, level=1.0), records("a", 0.4, level=8.0)))
    assert told.index("1 stream a lane") < told.index("8 streams a lane")
    assert sum(line.startswith("lane ") for line in told) == 2


def test_lanes_that_take_turns_have_no_total_speed() -> None:
    alone, turns = (lines(summary(*groups))[0] for groups in (
        [records("a", 0.2, level=1.0)],
        [records("a", 0.2, level=1.0), records("b", 0.2, level=1.0)],
    ))  # fmt: skip
    assert "all tok/s" in alone
    assert "all tok/s" not in turns


def test_what_is_so_for_every_lane_and_level_is_said_once() -> None:
    made = summary(*(records(lane, 0.2, level=level) for lane in "ab" for level in (1.0, 8.0)))
    doubts = [line for line in lines(made) if "not to be trusted" in line]
    assert len(doubts) == 1
    assert doubts[0].startswith("all lanes: ")
    alone = [line for line in lines(summary(records("a", 0.2))) if "not to be trusted" in line]
    assert alone[0].startswith("a: ")


def test_verdicts_that_say_nothing_are_left_out_but_for_the_main_one() -> None:
    told = lines(summary(records("a", 0.2), records("b", 0.2)))
    assert [line for line in told if line.startswith("no difference")] == [
        line for line in told if line.startswith("no difference in time to first token")
    ]
    assert any(line.startswith("no difference in time to first token") for line in told)


def test_a_baseline_has_a_column_with_the_change_from_it() -> None:
    made = summarize(
        [*records("base", 0.2), *records("slow", 0.3), *records("same", 0.2), *records("few", 0.2, n=3)],
        lanes=["base", "slow", "same", "few"], baseline="base", what_if=False,
    )  # fmt: skip
    head, *rows = lines(made)[:5]
    assert "difference" in head
    found = [re.split(" {2,}", row)[3] for row in rows]
    assert found == ["baseline", "+50 %", "none", "no verdict"]
    assert any(line.startswith("slow takes 50 % more time to first token than base") for line in lines(made))
    assert not any("between slow and same" in line or "than same" in line for line in lines(made))


def test_connections_that_count_have_columns() -> None:
    group = records("a", 0.2, connect=0.012, tls=0.034)
    plain = summarize(group, what_if=False)
    fresh = summarize(group, what_if=False, fresh_connections=True)
    assert "connect" not in lines(plain)[0]
    assert re.search("connect p50 +TLS p50", lines(fresh)[0])
    assert re.search(r"12 ms +34 ms", lines(fresh)[1])
    assert "TLS" not in lines(summarize(records("a", 0.2, connect=0.01), what_if=False, fresh_connections=True))[0]


def test_where_nothing_finished_there_is_no_interval() -> None:
    _, row = lines(summary(failed("a", 40)))[:2]
    assert row.split()[:4] == ["a", "0", "40", "never"]
    assert "never-never" not in row


def test_markdown_has_the_same_table() -> None:
    text = markdown(summary(records("a|b", 0.2), failed("a|b", 1, first=100)), "Title")
    assert text.startswith("# Title\n\n| lane | done |")
    assert "| a\\|b | 100 | 1 |" in text
    assert r"* a\|b: 1 x rate\_limit: slow down" in text
