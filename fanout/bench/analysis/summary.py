"""A run summed up: all that the console, the JSON file and the report show."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf, isfinite
from typing import Any

from attrs import fields, frozen, has

from fanout.bench.analysis import doubts
from fanout.bench.analysis.figures import Figure, Trust
from fanout.bench.analysis.lane import ErrorCount, LaneSummary, ServerTiming, main_metric, sum_up_lane
from fanout.bench.analysis.metrics import Measurements, measure_all, sending_order
from fanout.bench.analysis.statistics import QUANTILES, RESAMPLES, Interval, survival_quantile
from fanout.bench.analysis.verdict import Comparison, compare
from fanout.bench.analysis.whatif import WhatIf, alternatives, recommend
from fanout.bench.records.record import Record
from fanout.errors import UsageError
from fanout.events import Status

__all__ = [
    "VERSION",
    "Comparison",
    "ErrorCount",
    "Figure",
    "LaneSummary",
    "Level",
    "ServerTiming",
    "Summary",
    "Trust",
    "summarize",
    "to_json",
]

VERSION = 1
"""The version of the JSON. Fields may be added without changing it."""

Percentiles = Mapping[str, Interval]

_NESTED = ("name", "figures", "errors")
"""Fields of a lane that have another shape in JSON."""


@frozen
class Level:
    """The lanes at one level of load and the comparisons between them, those of the main metric first."""

    level: float | None
    lanes: Mapping[str, LaneSummary]
    comparisons: tuple[Comparison, ...]


@frozen
class Summary:
    """A run. `levels` has one item, or one for each level of a sweep, the lightest first.

    `baseline` is the lane that all differences are against, if there is one. With `fresh_connections` every time holds
    that of opening a connection. `races` are percentiles of ttft and e2e, by lane, from records of races (Kaplan and
    Meier): never pooled with the rest. `what_if` and `recommended` are of the first level. `warnings` are sentences.
    """

    levels: tuple[Level, ...]
    objectives: Mapping[str, float]
    open_loop: bool
    races: Mapping[str, Mapping[str, Percentiles]]
    what_if: tuple[WhatIf, ...]
    recommended: WhatIf | None
    warnings: tuple[str, ...]
    baseline: str | None = None
    fresh_connections: bool = False
    version: int = VERSION

    @property
    def lanes(self) -> Mapping[str, LaneSummary]:
        """The lanes at the first level: the only one, or the lightest of a sweep."""
        return self.levels[0].lanes

    def takes_turns(self, level: float | None) -> bool:
        """True if the lanes were asked one after the other at this level: then each also waited for the others."""
        return not self.open_loop and level == 1 and len(self.lanes) > 1

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons at the first level; the first ones are of the run's main metric, the time to first token."""
        return self.levels[0].comparisons


def summarize(
    records: Sequence[Record],
    *,
    lanes: Sequence[str] = (),
    objectives: Mapping[str, float] | None = None,
    seed: int = 0,
    looks: int = 1,
    what_if: bool = True,
    resamples: int = RESAMPLES,
    baseline: str | None = None,
    fresh_connections: bool = False,
    ignore_eos: bool = False,
) -> Summary:
    """Sums up a run's records, in any order. Raises UsageError where there is none.

    `lanes` is the order to show and to hedge them in, else that of their first requests. `objectives` are limits in
    seconds by metric. `looks` is how often a stop rule looked at the figures: verdicts get that much stricter. Fewer
    `resamples` are quicker and make p-values and intervals of differences coarser. `baseline` is the lane that all
    others are compared with. `fresh_connections` and `ignore_eos` say how the records were made.
    """
    if not records:
        raise UsageError("there is nothing to sum up: no request was recorded")
    names = list(dict.fromkeys([*lanes, *(r.lane for r in sorted(records, key=sending_order))]))
    if baseline is not None and baseline not in names:
        raise UsageError(f"the baseline {baseline!r} is none of the lanes: {', '.join(names)}")
    limits = dict(objectives or {})
    own = [record for record in records if not record.race]
    loads = sorted({record.level for record in own}, key=lambda level: -inf if level is None else level) or [None]
    compared = partial(compare, seed=seed, looks=looks, resamples=resamples, baseline=baseline)
    levels = [_level(own, load, names, limits, seed, compared) for load in loads]
    first = [record for record in own if record.level == loads[0]]
    several = what_if and len(names) > 1
    return Summary(
        levels=tuple(levels),
        objectives=limits,
        open_loop=any(record.intended is not None for record in own),
        races=_races(records, names),
        what_if=alternatives(first, names) if several else (),
        recommended=recommend(first, names) if several else None,
        warnings=(
            *doubts.of_method(own, fresh_connections=fresh_connections, ignore_eos=ignore_eos),
            *_warnings(own, levels, looks),
        ),
        baseline=baseline,
        fresh_connections=fresh_connections,
    )


def _level(
    records: Sequence[Record],
    level: float | None,
    names: Sequence[str],
    limits: Mapping[str, float],
    seed: int,
    compared: Callable[[Mapping[str, Measurements], Sequence[str]], list[Comparison]],
) -> Level:
    own: dict[str, list[Record]] = {name: [] for name in names}
    for record in records:
        if record.level == level:
            own[record.lane].append(record)
    pairs = {name: measure_all(of_lane) for name, of_lane in own.items()}
    main = {main_metric(of_lane) for of_lane in pairs.values() if of_lane}
    end = "response" if any(record.intended is not None for record in records) else "e2e"
    metrics = ["ttft", end, "itl"] if main == {"ttft"} else [end]
    return Level(
        level=level,
        lanes={name: sum_up_lane(name, own[name], pairs[name], limits, seed) for name in names if own[name]},
        comparisons=tuple(compared(pairs, metrics)),
    )


def _races(records: Iterable[Record], names: Sequence[str]) -> dict[str, dict[str, Percentiles]]:
    """Percentiles by lane from records of races; a lane that was cancelled would have taken longer."""
    own: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.race and not record.warmup:
            own[record.lane].append(record)
    return {
        name: {
            metric: {
                at: survival_quantile([_survival_time(r, metric) for r in own[name]], q) for at, q in QUANTILES.items()
            }
            for metric in ("ttft", "e2e")
        }
        for name in names
        if own[name]
    }


def _survival_time(record: Record, metric: str) -> tuple[float, bool]:
    """A time, and True if the event happened then; False if it is only known to happen later."""
    if record.times and (metric == "ttft" or record.finished):
        return record.times[0 if metric == "ttft" else -1], True
    return (inf if record.status is Status.FAILED else record.ended), False


def _warnings(records: Sequence[Record], levels: Sequence[Level], looks: int) -> Iterable[str]:
    yield from doubts.of_order(records)
    for level in levels:
        at = f"at {level.level:g}, " if len(levels) > 1 and level.level is not None else ""
        for lane in level.lanes.values():
            yield from (at + doubt for doubt in doubts.of_lane(lane))
        yield from (at + doubt for doubt in doubts.of_lanes(level.lanes))
    if looks > 1:
        yield f"the run was stopped by its figures, which were looked at {looks} times: verdicts are that much stricter"


def to_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON holds it: docs/metrics.md documents it. Nothing in it is infinite or NaN."""
    levels = [_level_json(level) for level in summary.levels]
    return {
        "version": summary.version,
        "open_loop": summary.open_loop,
        "fresh_connections": summary.fresh_connections,
        "baseline": summary.baseline,
        "objectives": dict(summary.objectives),
        "lanes": levels[0]["lanes"],
        "comparisons": levels[0]["comparisons"],
        "levels": levels if len(levels) > 1 else [],
        "races": _plain(summary.races),
        "what_if": [_what_if_json(what) for what in summary.what_if],
        "recommended": None if summary.recommended is None else _what_if_json(summary.recommended),
        "warnings": list(summary.warnings),
    }


def _level_json(level: Level) -> dict[str, Any]:
    return {
        "level": level.level,
        "lanes": {name: _lane_json(lane) for name, lane in level.lanes.items()},
        "comparisons": [_plain(comparison) for comparison in level.comparisons],
    }


def _lane_json(lane: LaneSummary) -> dict[str, Any]:
    names = [field.name for field in fields(LaneSummary) if field.name not in _NESTED]
    value = {name: _plain(getattr(lane, name)) for name in names}
    return value | {
        "errors": {errors.kind: {"count": errors.count, "sample": errors.sample} for errors in lane.errors},
        "trusted": lane.trust.trusted,
        **{metric: _figure_json(figure) for metric, figure in lane.figures.items()},
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    known = {at: found for at, found in figure.all.items() if found.estimate is not None}
    return {
        "mean": figure.mean,
        **{at: _plain(found.estimate) for at, found in figure.all.items()},
        "intervals": {at: [_plain(found.low), _plain(found.high)] for at, found in known.items()},
        "finished": {at: found.estimate for at, found in figure.finished.items()},
        "beyond": dict(figure.beyond),
        "needs": {at: found.needs for at, found in figure.all.items() if found.estimate is None},
        "n": figure.n,
        "trusted": figure.trusted,
    }


def _what_if_json(what: WhatIf) -> dict[str, Any]:
    policy = what.policy
    after = policy.pace if policy.name == "hedge" else None
    told = {"policy": policy.name, "lanes": list(policy.lanes), "after": after, "on": policy.on}
    return {**told, **{name: value for name, value in _plain(what).items() if name != "policy"}}


def _plain(value: Any) -> Any:
    """The value as JSON has it: what is not finite becomes null."""
    if has(type(value)):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(type(value))}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
