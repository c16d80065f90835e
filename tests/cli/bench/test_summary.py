"""The summary of a run that is made again."""

import time
from typing import Any

import pytest

from fanout.bench import run
from fanout.bench.analysis.summary import Summary, summarize
from fanout.cli.bench import summary as bench_summary
from fanout.cli.bench.summary import sum_up_with_notice
from tests.bench.summaries import records


@pytest.mark.parametrize(
    ("takes", "quiet", "said"), [(0.3, False, "summing up 100 requests\n"), (0.3, True, ""), (0.0, False, "")]
)
def test_what_takes_long_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], takes: float, quiet: bool, said: str
) -> None:
    def slow(*given: Any, **more: Any) -> Summary:
        time.sleep(takes)
        return summarize(*given, **more)

    monkeypatch.setattr(bench_summary, "PATIENCE", 0.1 if takes else 60)
    monkeypatch.setattr(run, "summarize", slow)
    monkeypatch.setenv("NO_COLOR", "1")
    assert list(sum_up_with_notice(records("a", 0.2), {}, quiet=quiet).lanes) == ["a"]
    assert capsys.readouterr().err == said
