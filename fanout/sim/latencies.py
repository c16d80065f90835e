"""Lanes whose latencies a file says: quantiles of the time to the first token, the gaps, the length, the failures."""

import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log
from pathlib import Path
from random import Random
from typing import Any

from attrs import field, frozen

from fanout.errors import UsageError
from fanout.settings import duration, explain_unknown
from fanout.sim.wires import WIRES
from fanout.sim.world import Read, Reply

_SETTINGS = ("first", "gap", "pieces", "fails")
_MOST_PIECES = 10_000


@frozen
class Spread:
    """A distribution of seconds by its quantiles, in ascending order of their shares.

    Between two of them, and beyond the last, the logarithm of the time is linear in that of the share of those that are
    longer: pieces of Weibull distributions, which fit latencies with long tails. Half of the lowest is the shortest.
    """

    knots: tuple[tuple[float, float], ...]

    def at(self, share: float) -> float:
        """Returns the quantile of this share, from 0 up to below 1, in seconds."""
        if len(self.knots) == 1 or not self.knots[0][1]:
            return self.knots[0][1]
        points = [(0.0, log(self.knots[0][1] / 2)), *((-log(1 - q), log(t)) for q, t in self.knots)]
        y = -log(1 - share)
        below = max(i for i, (at, _) in enumerate(points[:-1]) if at <= y)
        (y0, t0), (y1, t1) = points[below], points[below + 1]
        return exp(t0 + (t1 - t0) * (y - y0) / (y1 - y0))

    @classmethod
    def of(cls, value: Any) -> "Spread":
        """Reads "400ms", or { p50 = "400ms", p95 = "1.2s" }. Raises ValueError."""
        if not isinstance(value, Mapping):
            return cls(((0.5, _seconds(value)),))
        knots = sorted((_share(name), _seconds(each)) for name, each in value.items())
        if not knots or any(later[1] < earlier[1] or not earlier[1] for earlier, later in pairwise(knots)):
            raise ValueError("quantiles are times above 0, and a higher one is no shorter")
        return cls(tuple(knots))


@frozen
class ScriptedLane:
    """One lane of the file: the time to its first token, between two, how many pieces, and the share that fails."""

    name: str
    first: Spread
    gap: float = 0.02
    pieces: int = 20
    fails: float = 0.0
    _frames: tuple[bytes, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        layout = WIRES["openai"][0]
        frames = tuple(layout([*(("text", "four") for _ in range(self.pieces)), ("finish", ""), ("done", "")]))
        object.__setattr__(self, "_frames", frames)

    def reply(self, random: Random) -> Reply:
        """Draws the course of one request."""
        share, failed = random.random(), random.random() < self.fails
        wait = self.first.at(share)
        if failed:
            return Reply(wait, 503, (("content-type", "application/json"),), whole=False)
        *pieces, finish, done = self._frames
        reads = [Read(wait, pieces[0]), *(Read(self.gap, piece) for piece in pieces[1:])]
        return Reply(0.0, 200, (("content-type", "text/event-stream"),), (*reads, Read(0.0, finish + done)))


def read_lanes(file: Path) -> dict[str, ScriptedLane]:
    """Reads the lanes of a file, in their order. Raises UsageError that says what is wrong, and where."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: no TOML: {error}") from None
    lanes = tables.get("lanes")
    if not isinstance(lanes, dict) or not lanes:
        raise UsageError(f'{file}: there are no lanes; write [lanes.NAME] and below it first = "400ms"')
    return {name: _read_lane(file, name, table) for name, table in lanes.items()}


def _read_lane(file: Path, name: str, table: Any) -> ScriptedLane:
    where = f"{file}: lanes.{name}"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table")
    for setting in table:
        if setting not in _SETTINGS:
            known = f"there are {', '.join(_SETTINGS)}"
            raise UsageError(f"{where}: {explain_unknown('setting', setting, _SETTINGS, known)}")
    if "first" not in table:
        raise UsageError(f'{where}: first is missing: the time to the first token, as "400ms"')
    try:
        first, gap = Spread.of(table["first"]), _seconds(table.get("gap", 0.02))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    pieces, fails = table.get("pieces", 20), table.get("fails", 0.0)
    if type(pieces) is not int or not 1 <= pieces <= _MOST_PIECES:
        raise UsageError(f"{where}: pieces is a whole number from 1 to {_MOST_PIECES}, not {pieces!r:.40}")
    if isinstance(fails, bool) or not isinstance(fails, int | float) or not 0 <= fails <= 1:
        raise UsageError(f"{where}: fails is a share from 0 to 1, not {fails!r:.40}")
    return ScriptedLane(name, first, gap, pieces, float(fails))


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        return duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f'{value!r:.40} is not a time; write 0.8, "0.8s" or "800ms"')
    return float(value)


def _share(name: str) -> float:
    digits = name.removeprefix("p")
    try:
        share = float(f"0.{digits}") if len(digits) > 2 and digits.isdecimal() else float(digits) / 100
    except ValueError:
        share = 1.0
    if not name.startswith("p") or not 0 < share < 1:
        raise ValueError(f"{name!r:.40} is no quantile; write p50, p95, p99 or p999")
    return share


def quantile_of(ordered: Sequence[float], share: float) -> float:
    """Returns the value that this share of the ordered ones does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
