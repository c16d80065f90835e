from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from fanout.bench.analysis.metrics import LATENCIES, METRICS, SPEEDS, measure, meets, parse_objectives, stalls, tokens
from fanout.bench.analysis.summary import summarize
from fanout.bench.report import console
from fanout.errors import UsageError
from tests.bench import runs
from tests.bench.answers import answer, failure, timeout

DOCUMENT = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_the_document_has_the_table_of_metrics_word_for_word() -> None:
    rows = [
        f"| `{metric.name}` | {metric.label} | {metric.unit} | {metric.better} | {metric.definition} |"
        for metric in METRICS.values()
    ]
    section = DOCUMENT.partition("## One request\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows


def test_the_document_s_example_is_what_the_command_prints() -> None:
    kinds = [evolve(runs.KINDS[0], name="a"), evolve(runs.KINDS[2], name="b")]
    objectives = parse_objectives("ttft:500 itl:50")
    summary = summarize(list(runs.run(200, kinds)), lanes=["a", "b"], objectives=objectives)
    assert DOCUMENT.partition("```text\n")[2].partition("\n```")[0].splitlines() == console.lines(summary)


def test_every_metric_says_what_it_is_in_a_sentence_and_has_a_name_of_its_own() -> None:
    assert all(metric.definition.endswith(".") for metric in METRICS.values())
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert {metric.unit for metric in METRICS.values() if metric.better == "lower"} == {"s"}
    assert {*LATENCIES, *SPEEDS} == {name for name, metric in METRICS.items() if metric.of}


def test_the_figures_of_a_plain_answer() -> None:
    figures = measure(answer(first=0.2, gap=0.02, pieces=64, first_byte=0.15))
    assert figures["ttfb"] == 0.15
    assert figures["ttft"] == figures["ttfo"] == 0.2
    assert figures["ttst"] == pytest.approx(0.22)
    assert figures["e2e"] == figures["response"] == pytest.approx(1.46)
    assert figures["itl"] == figures["tpot"] == pytest.approx(0.02)
    assert figures["ntpot"] == pytest.approx(1.46 / 64)
    assert figures["tps_user"] == figures["speed"] == pytest.approx(50)
    assert figures["characters"] == figures["bytes"] == pytest.approx(256 / 1.46)
    assert len(figures.gaps) == 63
    assert (figures.tokens, figures.estimated) == (64, False)


def test_four_tokens_a_piece_are_not_taken_for_one() -> None:
    figures = measure(answer(gap=0.08, pieces=16, output=64, sizes=(16,) * 16))
    assert figures["itl"] == pytest.approx(0.02)
    assert figures.gaps[0] == pytest.approx(0.08)
    assert figures["ttst"] == figures["ttft"]


def test_a_first_token_that_comes_alone_before_bundles_is_one_token() -> None:
    figures = measure(answer(gap=0.08, pieces=17, output=65, sizes=(4, *(16,) * 16)))
    assert figures["itl"] == pytest.approx(0.02)
    assert figures["ttst"] == pytest.approx(0.28)


def test_reasoning_is_in_the_first_token_and_not_in_the_first_answer() -> None:
    figures = measure(answer(kinds="r" * 32 + "d" * 32, reasoning=32))
    assert figures["ttft"] == 0.2
    assert figures["ttfo"] == pytest.approx(0.84)
    assert figures["itl"] == pytest.approx(0.02)
    assert figures.reasoning_share == 0.5


def test_hidden_reasoning_does_not_make_the_tokens_look_faster() -> None:
    figures = measure(answer(first=5.0, output=1064, reasoning=1000))
    assert figures["itl"] == figures["tpot"] == pytest.approx(0.02)
    assert figures.tokens == 1064


def test_a_late_finish_chunk_is_not_in_the_end_to_end_time() -> None:
    figures = measure(answer(ended=1.56))
    assert figures["e2e"] == pytest.approx(1.46)
    assert figures["speed"] == pytest.approx(63 / 1.36)


def test_the_wait_before_sending_is_in_the_response_time() -> None:
    figures = measure(answer(sent=10.0, intended=7.0))
    assert figures["e2e"] == pytest.approx(1.46)
    assert figures["response"] == pytest.approx(4.46)


def test_without_a_count_tokens_are_estimated_and_say_so() -> None:
    record = answer(output=None)
    assert tokens(record) == (64, True)
    assert measure(record).estimated


def test_what_was_not_streamed_has_no_first_token() -> None:
    figures = measure(answer(first=2.0, pieces=1, sizes=(256,), output=64, streamed=False))
    assert figures["e2e"] == 2.0
    assert figures["ntpot"] == pytest.approx(2 / 64)
    absent = (
        figures["ttft"],
        figures["ttfo"],
        figures["ttst"],
        figures["itl"],
        figures["tpot"],
        figures["tps_user"],
        figures["speed"],
    )
    assert absent == (None,) * 7
    assert figures.gaps == ()


def test_a_single_token_has_no_time_per_token() -> None:
    figures = measure(answer(pieces=1))
    assert (figures["itl"], figures["tps_user"], figures["ttst"]) == (None, None, None)
    assert figures["ttft"] == 0.2


def test_nothing_came_and_nothing_is_measured() -> None:
    figures = measure(failure())
    assert all(figures[name] is None for name in (*LATENCIES, *SPEEDS))
    assert (figures.tokens, figures.gaps) == (0, ())


def test_a_stall_is_long_beside_the_others_and_long_at_all() -> None:
    assert stalls([0.02] * 9 + [0.2], typical=0.02) == (0, 0)
    assert stalls([0.02] * 9 + [0.3], typical=0.02) == (1, 0.3)
    assert stalls([0.1] * 9 + [0.3], typical=0.1) == (0, 0)


def test_objectives_are_read_in_milliseconds() -> None:
    assert parse_objectives("ttft:500 itl:50") == {"ttft": 0.5, "itl": 0.05}
    assert parse_objectives("e2e:1500.5,tpot:9") == {"e2e": 1.5005, "tpot": 0.009}
    assert parse_objectives("") == {}


@pytest.mark.parametrize(
    "text", ["ttft", "ttft:", "ttft:x", "ttft:-1", "ttft:0", "ttft:nan", "ttft:inf", "speed:9", "weather:3"]
)
def test_another_objective_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_objectives(text)


@pytest.mark.parametrize(
    ("limits", "met"),
    [
        ({}, True),
        ({"ttft": 0.2}, True),
        ({"ttft": 0.19}, False),
        ({"ttft": 0.5, "itl": 0.021}, True),
        ({"ttft": 0.5, "itl": 0.019}, False),
        ({"e2e": 1.4}, False),
    ],
)
def test_an_answer_meets_all_its_objectives_or_misses(limits: dict[str, float], met: bool) -> None:
    assert meets(answer(), limits) is met


def test_a_failed_request_misses_every_objective() -> None:
    assert not meets(failure(), {})
    assert not meets(timeout(times=(0.1,), kinds="d", sizes=(1,)), {"ttft": 1.0})


def test_what_was_not_streamed_shows_its_first_token_at_its_end() -> None:
    record = answer(first=2.0, pieces=1, streamed=False)
    assert meets(record, {"ttft": 2.0})
    assert not meets(record, {"ttft": 1.9})


def test_an_answer_too_short_for_a_time_per_token_does_not_miss_it() -> None:
    assert meets(answer(pieces=1), {"itl": 0.001})


@pytest.mark.parametrize("stalled", [0, 1, 5])
def test_gaps_are_all_of_them(stalled: int) -> None:
    lengths: list[Any] = [0.02] * 50 + [0.22] * stalled
    record = answer(pieces=len(lengths) + 1, times=tuple(accumulate([0.2, *lengths])))
    assert measure(record).gaps == pytest.approx(lengths)
