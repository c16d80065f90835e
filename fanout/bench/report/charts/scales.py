"""Axes: the places of values on them, and the values that are written at them."""

from collections.abc import Iterable
from math import ceil, floor, isfinite, log10

from attrs import frozen

WIDE_RANGE = 20
"""Values of which the largest is more than so many times the smallest are shown on a logarithmic axis."""


@frozen
class Scale:
    """An axis from `low` to `high`, where `low < high`, and `low > 0` if it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value, from 0 to 1; one beyond the end, an infinite one too, is at that end."""
        if not value > self.low:
            return 0.0
        if value >= self.high:
            return 1.0
        if self.log:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 10) -> list[float]:
        """Round values from `low` to `high`, about `most` of them."""
        if self.log and (found := self._log_ticks(most)):
            return found
        step = _step((self.high - self.low) / most)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def main_ticks(self, most: int = 5) -> set[float]:
        """The ticks that are written where there is little room."""
        ticks = self.ticks()
        if len(ticks) <= most:
            return set(ticks)
        if self.log and len(decades := [tick for tick in ticks if _is_decade(tick)]) >= 2:
            return set(decades[:: ceil(len(decades) / most)])
        step = ticks[1] - ticks[0]
        rows = ({tick for tick in ticks if round(tick / step) % every == 0} for every in (2, 4, 5, 10))
        return next((row for row in rows if 0 < len(row) <= most), set(ticks[:1]))

    def _log_ticks(self, most: int) -> list[float]:
        """1, 2 and 5 times powers of ten, or only the powers; nothing where that would be less than three."""
        exponents = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
            ticks = [tick for tick in ticks if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]
            if len(ticks) <= most or len(factors) == 1:
                return ticks[:: ceil(len(ticks) / most)] if len(ticks) > 2 else []
        return []


def around(values: Iterable[float], *, log: bool | None = False, zero: bool = False, room: float = 0.04) -> Scale:
    """A scale on which all finite values are, with some room beyond them; from 0 to 1 if there are none.

    `log=None` makes it logarithmic where that shows more; with `zero` a linear one begins at 0.
    """
    finite = [value for value in values if isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if (log is None and low > 0 and high > WIDE_RANGE * low) or log:
        positive = [value for value in finite if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        room = max((high / low) ** room, 1.05)
        return Scale(low / room, high * room, log=True)
    if zero:
        return Scale(min(0.0, low), high * (1 + room) if high > 0 else 1.0)
    margin = (high - low) * room or abs(high) * 0.1 or 1.0
    return Scale(low - margin if low < 0 or low > margin else 0.0, high + margin)


def thin(count: int, most: int) -> list[int]:
    """Indices from 0 to `count - 1`, evenly spread, the first and the last among them; all of them if they are few."""
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not less."""
    power = 10.0 ** floor(log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


def _is_decade(value: float) -> bool:
    exponent = log10(value)
    return abs(exponent - round(exponent)) < 1e-9
