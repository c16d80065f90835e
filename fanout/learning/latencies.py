"""The latencies of services, learnt from the last requests, and the delay after which one of them is late.

Windows are counted in requests, not in seconds: a person or an agent sends one every few seconds, so that a window of
half a minute never holds the twenty points that a quantile needs. A long prompt takes longer to its first token than a
short one, and with one delay for all of them only the long ones would be hedged: what is kept is the ratio to what
could be expected of a prompt of that size.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, exp, inf, log
from typing import Any, NamedTuple

from attrs import define, field

WINDOW = 400
"""Requests that a quantile is of: of 200 to 1,000 all serve alike."""

LEAST = 20
"""Requests below which nothing is said."""

STEP = 0.05
"""The weight of the newest request in the mean of its size of prompts."""

SHORTEST = 0.001
"""Seconds that anything takes at least: below is no service, and its logarithm would rule the mean."""

MOST = 256
"""Series that are remembered; the one that was used least lately is forgotten first."""


class Key(NamedTuple):
    """A service, as far as its speed and its health are concerned."""

    provider: str
    base_url: str
    model: str | None


class Measure(NamedTuple):
    """A latency that a policy may wait for.

    `whole` is the longest silence of a whole answer, otherwise the time to its first word; `thoughts` says that a
    thought is a word too.
    """

    whole: bool = False
    thoughts: bool = True

    def __str__(self) -> str:
        return f"{'silence' if self.whole else 'first'}{'' if self.thoughts else ', output'}"


FIRST = Measure()
"""The time to the first content of any kind, which is learnt of every lane."""

MEASURES = {
    str(one): one for one in (Measure(whole, thoughts) for whole in (False, True) for thoughts in (True, False))
}


@define
class Series:
    """The latencies of one service by one measure.

    `expected` has, by the power of two of the prompt's characters, the running mean of the seconds' logarithm and of
    how many requests it is. `ratios` are the last requests' seconds through what was expected of each. `fresh` are
    those of this process, as sizes and seconds.
    """

    expected: dict[int, tuple[float, int]] = field(factory=dict)
    ratios: deque[float] = field(factory=lambda: deque(maxlen=WINDOW))
    fresh: deque[tuple[int, float]] = field(factory=lambda: deque(maxlen=WINDOW))
    _ordered: list[float] | None = field(default=None, init=False)

    def saw(self, size: int, seconds: float) -> None:
        """Takes a request with a prompt of `size` characters, which took so many seconds."""
        seconds = max(SHORTEST, seconds)
        power = size.bit_length()
        before = self._expect(power)
        mean, count = self.expected.get(power, (log(seconds), 0))
        step = max(STEP, 1 / (count + 1))
        self.expected[power] = (mean + step * (log(seconds) - mean), min(count + 1, WINDOW))
        self.ratios.append(seconds / (seconds if before is None else before))
        self.fresh.append((size, seconds))
        self._ordered = None

    def quantile(self, size: int, q: float) -> float | None:
        """Returns the seconds within which the share `q` of such requests was done; None below LEAST of them."""
        expected = self._expect(size.bit_length())
        if expected is None or len(self.ratios) < LEAST:
            return None
        if self._ordered is None:
            self._ordered = sorted(self.ratios)
        # Of n + 1 requests, the next one among them, the share 1 - q is to be later (Weibull's plotting position).
        rank = min(len(self._ordered), max(1, ceil(q * (len(self._ordered) + 1))))
        return expected * self._ordered[rank - 1]

    def _expect(self, power: int) -> float | None:
        """Returns the seconds that a prompt of this power of two should take: as the nearest one that there was."""
        if not self.expected:
            return None
        nearest = power if power in self.expected else min(self.expected, key=lambda known: abs(known - power))
        return exp(self.expected[nearest][0])


@define
class Latencies:
    """The latencies of all services, each by its measures."""

    _series: dict[tuple[Key, Measure], Series] = field(factory=dict)

    def saw(self, key: Key, size: int, seconds: float, measure: Measure = FIRST) -> None:
        """Takes a request to a service, with a prompt of `size` characters, that took so many seconds."""
        series = self._series.pop((key, measure), None) or Series()
        self._series[key, measure] = series
        series.saw(size, seconds)
        if len(self._series) > MOST:
            self.forget_oldest()

    def delay(self, key: Key, size: int, q: float, measure: Measure = FIRST) -> float | None:
        """Returns the seconds after which such a request is later than the share `q` of them; None below LEAST."""
        series = self._series.get((key, measure))
        return None if series is None else series.quantile(size, q)

    def median(self, key: Key, size: int) -> float:
        """Returns the usual seconds to the first content; infinity for a service that is not known yet."""
        found = self.delay(key, size, 0.5)
        return inf if found is None else found

    def count(self, key: Key, measure: Measure = FIRST) -> int:
        """Returns the number of requests that are remembered of a service."""
        series = self._series.get((key, measure))
        return 0 if series is None else len(series.ratios)

    def forget_oldest(self) -> bool:
        """Forgets the series that was used least lately. Returns False if there is none."""
        return bool(self._series) and self._series.pop(next(iter(self._series))) is not None

    @property
    def fresh(self) -> Mapping[tuple[Key, Measure], Sequence[tuple[int, float]]]:
        """The sizes and seconds that this process has learnt, for each service and measure."""
        return {name: [*series.fresh] for name, series in self._series.items() if series.fresh}

    def add_fresh(self, other: "Latencies") -> None:
        """Takes what `other` has learnt itself, after what is known here: two processes lose only the oldest points."""
        for (key, measure), points in other.fresh.items():
            for size, seconds in points:
                self.saw(key, size, seconds, measure)

    def to_json(self, window: int = WINDOW) -> list[dict[str, Any]]:
        """Returns plain data, which `from_json` takes, with at most `window` points each; the last used comes last."""
        return [
            {
                **key._asdict(),
                "measure": str(measure),
                "expected": {str(power): [round(mean, 4), n] for power, (mean, n) in series.expected.items()},
                "ratios": [float(f"{ratio:.3g}") for ratio in [*series.ratios][-window:]],
            }
            for (key, measure), series in self._series.items()
        ]

    @classmethod
    def from_json(cls, data: Any) -> "Latencies":
        """Returns the latencies that `to_json` gave. What is not of that form is left out."""
        made = cls()
        for row in data if isinstance(data, list) else ():
            try:
                key, measure, series = _read(row)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                continue
            if len(made._series) < MOST:
                made._series[key, measure] = series
        return made


def _read(row: Mapping[str, Any]) -> tuple[Key, Measure, Series]:
    provider, base_url, model = row["provider"], row["base_url"], row["model"]
    if not (isinstance(provider, str) and isinstance(base_url, str) and isinstance(model, str | None)):
        raise TypeError
    series = Series(dict(_read_expected(row["expected"])))
    ratios = [float(ratio) for ratio in row["ratios"][-WINDOW:]]
    if not series.expected or not all(0 < ratio < inf for ratio in ratios):
        raise ValueError
    series.ratios.extend(ratios)
    return Key(provider, base_url, model), MEASURES[row["measure"]], series


def _read_expected(table: Mapping[str, Any]) -> Iterator[tuple[int, tuple[float, int]]]:
    for power, (mean, count) in table.items():
        if not -20 < mean < 20 or not 0 <= int(power) <= 64 or count < 1:  # a microsecond is -14, a day 11
            raise ValueError
        yield int(power), (float(mean), int(count))
