"""The differences between two runs, from the JSON of their summaries."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fanout.bench.analysis.metrics import METRICS, SECONDS
from fanout.bench.report.console import Cells, align, seconds
from fanout.errors import UsageError
from fanout.formats.summary import one_line

COMPARED = ("ttft", "response", "e2e", "itl", "tps_user")
"""The metrics that are compared."""

NOISE = "within noise"

CAUTION = "the runs were at different times: what else changed in between is part of the difference"


def list_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lists what changed, lane by lane, with cautions below. Raises UsageError if no lane is in both runs."""
    try:
        rows, unlike = _rows(old, new), list(_unlike(old, new))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"one of the two is no summary of fanout bench ({type(error).__name__}: {error})") from None
    if len(rows) == 1:
        if common := [name for _, before, after in _levels(old, new) for name, *_ in _lanes(before, after)]:
            known = ", ".join(dict.fromkeys(common))
            raise UsageError(f"no figure of {known} is known in both runs: one of them has too few requests, or failed")
        names = [", ".join(side.get("lanes") or {}) or "none" for side in (old, new)]
        raise UsageError(f"the runs have no lane in common: {names[0]} and {names[1]}")
    return [*align(rows), CAUTION, *unlike]


def _rows(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cells]:
    rows: list[Cells] = [("lane", "metric", "old p50", "new p50", "change", "")]
    metrics = [
        name for name in COMPARED if name != ("e2e" if old.get("open_loop") and new.get("open_loop") else "response")
    ]
    for level, before, after in _levels(old, new):
        for name, was, now in _lanes(before, after):
            label = name if level is None else f"{name} at {level:g}"
            rows += [row for metric in metrics if (row := _row(label, metric, was, now))] + _failures(label, was, now)
    return rows


def _levels(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[float | None, Any, Any]]:
    before = {level["level"]: level["lanes"] for level in old.get("levels") or []}
    after = {level["level"]: level["lanes"] for level in new.get("levels") or []}
    common = [level for level in before if level in after]
    if not common:
        yield None, old.get("lanes") or {}, new.get("lanes") or {}
    for level in common:
        yield level, before[level], after[level]


def _lanes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The lanes of the same name; or the only lanes, whatever their names."""
    if len(before) == len(after) == 1 and not set(before) & set(after):
        (was, left), (now, right) = *before.items(), *after.items()
        yield f"{was} -> {now}", left, right
    for name in before:
        if name in after:
            yield name, before[name], after[name]


def _row(label: str, metric: str, was: Any, now: Any) -> Cells | None:
    try:
        old, new = float(was[metric]["p50"]), float(now[metric]["p50"])
        bounds = was[metric]["intervals"]["p50"], now[metric]["intervals"]["p50"]
    except (KeyError, TypeError, ValueError):
        return None
    if not old:
        return None
    clear = _apart(*bounds)
    in_seconds = METRICS[metric].unit == SECONDS
    shown = (seconds(old), seconds(new)) if in_seconds else (f"{old:.1f}", f"{new:.1f}")
    return (
        one_line(label, 40),
        METRICS[metric].short,
        *shown,
        f"{100 * (new / old - 1):+.1f} %",
        "" if clear else NOISE,
    )


def _failures(label: str, was: Any, now: Any) -> list[Cells]:
    """A row with the shares of requests that failed, if there are such."""
    try:
        old, new = was["failure_share"], now["failure_share"]
        shares = 100 * old["estimate"], 100 * new["estimate"]
        clear = _apart((old["low"], old["high"]), (new["low"], new["high"]))
    except (KeyError, TypeError):
        return []
    if not any(shares):
        return []
    change = f"{shares[1] - shares[0]:+.1f} points"
    return [(one_line(label, 40), "failed", *(f"{share:.1f} %" for share in shares), change, "" if clear else NOISE)]


def _apart(first: Sequence[float | None], second: Sequence[float | None]) -> bool:
    """True if the intervals have nothing in common: then the difference is clear."""
    (low, high), (least, most) = first, second
    if None in (low, high, least, most):
        return False
    return bool(high < least or most < low)  # type: ignore[operator]  # none is None


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about what the two runs were asked for differently."""
    before, after = old.get("about") or {}, new.get("about") or {}
    for key, words in {
        "fingerprint": "the prompts differ",
        "max_tokens": "the bounds of the answers (--max-tokens) differ",
        "load": "the loads differ",
        "cache": "the states of the caches (--cache) differ",
        "fresh_connections": "only one opened a connection for each request (--fresh-connections)",
        "ignore_eos": "only one had answers of the full length (--ignore-eos)",
    }.items():
        if (before.get(key) or None) != (after.get(key) or None):
            yield f"not alike: {words}"
