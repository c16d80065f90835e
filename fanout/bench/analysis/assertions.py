"""Conditions that a run must meet, as people write them: `p95(ttft) < 800ms`, `failures <= 1%`."""

import re
from collections.abc import Callable, Collection
from math import isinf
from operator import ge, gt, le, lt
from typing import Any

from attrs import frozen

from fanout.bench.analysis.metrics import METRICS, SECONDS
from fanout.bench.analysis.statistics import LEAST_REQUESTS_WITH_GAPS, QUANTILES, least_sample
from fanout.bench.analysis.summary import LaneSummary, Summary
from fanout.errors import UsageError

STATISTICS = ("mean", "p50", "p90", "p95", "p99")

_FORM = re.compile(r"(?:(\w+)\((\w+)(?:,\s*([^)]+))?\)|(\w+))\s*(<=|>=|<|>)\s*(\d+\.?\d*|\.\d+)\s*(ms|s|%|)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_UNITS = {"ms": 0.001, "s": 1.0, "%": 0.01, "": 1.0}
_WHOLE = {
    "failures": lambda lane: lane.failure_share.estimate,
    "goodput": lambda lane: lane.goodput,
    "rate": lambda lane: lane.rate,
    "tps_total": lambda lane: lane.tps_total,
    "cost": lambda lane: lane.cost,
}
"""Figures of a whole lane."""


@frozen
class Assertion:
    """A condition for one lane or for all: `statistic` of a metric (None: a figure of the whole lane) and `limit`."""

    text: str
    statistic: str | None
    metric: str
    lane: str | None
    operator: str
    limit: float

    @classmethod
    def of(cls, text: str) -> "Assertion":
        """Reads a condition. Raises UsageError for anything else."""
        match = _FORM.fullmatch(text.strip())
        if not match:
            raise UsageError(f"--assert {text!r}: write it like 'p95(ttft) < 800ms' or 'failures <= 1%'")
        statistic, metric, lane, whole, operator, limit, unit = match.groups()
        if whole:
            if whole not in _WHOLE:
                raise UsageError(f"--assert {text!r}: a condition is for {', '.join(_WHOLE)} or STATISTIC(METRIC)")
        elif statistic not in STATISTICS:
            raise UsageError(f"--assert {text!r}: a statistic is one of {', '.join(STATISTICS)}")
        elif metric not in METRICS:
            known = sorted(METRICS, key=lambda name: METRICS[name].better == "higher")
            raise UsageError(f"--assert {text!r}: a metric is one of {', '.join(known)}")
        elif (METRICS[metric].unit == SECONDS) != (unit in ("ms", "s")):
            needs = "ms or s after its number" if METRICS[metric].unit == SECONDS else "no unit: it is per second"
            raise UsageError(f"--assert {text!r}: {metric} takes {needs}")
        return cls(text.strip(), statistic, metric or whole, lane, operator, float(limit) * _UNITS[unit])

    def check(self, lanes: Collection[str]) -> None:
        """Raises UsageError if it is for a lane that is not among those that will be measured."""
        if self.lane is not None and self.lane not in lanes:
            raise UsageError(f"--assert {self.text!r}: there is no lane {self.lane!r}, but {', '.join(lanes)}")

    @property
    def requests(self) -> int:
        """The requests of a lane that its figure needs at least to be known."""
        if self.metric == "gap":
            return LEAST_REQUESTS_WITH_GAPS
        q = QUANTILES.get(self.statistic or "")
        return least_sample(q) if q else 1

    def failures(self, summary: Summary) -> list[str]:
        """A sentence for every lane and level that does not meet it. A figure that is not known does not."""
        told = []
        found = False
        for level in summary.levels:
            at = f" at {level.level:g}" if len(summary.levels) > 1 and level.level is not None else ""
            for lane in level.lanes.values():
                if self.lane not in (None, lane.name):
                    continue
                found = True
                value, why = self._value(lane)
                if value is None:
                    told.append(f"{self.text}: not known for {lane.name}{at}{why}")
                elif not _COMPARE[self.operator](value, self.limit):
                    told.append(f"{self.text}: it is {self._format(value)} for {lane.name}{at}")
        return told if found else [f"{self.text}: not known for {self.lane or 'any lane'}: it was asked nothing"]

    def _value(self, lane: LaneSummary) -> tuple[float | None, str]:
        if self.statistic is None:
            return _WHOLE[self.metric](lane), ""
        figure = lane.figures.get(self.metric)
        if figure is None:
            return None, ""
        if self.statistic == "mean":
            return figure.mean, ""
        interval = figure.all[self.statistic]
        return interval.estimate, f": {interval.n} requests, {self.statistic} needs {interval.needs}"

    def _format(self, value: float) -> str:
        if isinf(value):
            return "endless"  # so many did not finish
        if self.metric in METRICS and METRICS[self.metric].unit == SECONDS:
            return f"{value * 1000:.4g} ms"
        return f"{100 * value:.3g} %" if self.metric == "failures" else f"{value:.4g}"
