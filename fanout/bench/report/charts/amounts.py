"""Amounts as people read them, with their units and with as many digits as they need."""

from collections.abc import Callable
from math import floor, isfinite, log10

Writer = Callable[[float], str]
"""Writes an amount."""

NONE = "–"  # noqa: RUF001  # a dash, as tables have it
"""The mark in place of an amount that does not exist."""
MINUS = "−"  # noqa: RUF001  # as wide as a plus
TIMES = "×"  # noqa: RUF001  # not a letter

_TIMES = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


def digits(value: float, figures: int = 3) -> str:
    """The number with so many significant figures, never in powers of ten; all figures before the point are kept."""
    if value == 0:
        return "0"
    power = floor(log10(float(f"{abs(value):.{figures - 1}e}")))
    decimals = max(0, figures - 1 - power)
    return f"{value:,.{min(decimals, 6)}f}".replace("-", MINUS)


def short(value: float) -> str:
    """The number without zeros after its decimals, for ticks."""
    text = digits(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float | None, figures: int = 3) -> str:
    """A duration; an infinite one is that of requests of which too many failed."""
    if value is None:
        return NONE
    if not isfinite(value):
        return "∞"
    _, factor, unit = next(row for row in _TIMES if abs(value) < row[0] * 0.9995)
    return f"{digits(value * factor, figures)} {unit}" if value else "0 s"


def seconds_like(largest: float) -> Writer:
    """Writes durations in the one unit that suits the largest, for the ticks of a linear axis."""
    _, factor, unit = next(row for row in _TIMES if abs(largest) < row[0])
    return lambda value: f"{short(value * factor)} {unit}" if value else "0"


def log_seconds(value: float) -> str:
    """A round duration in the unit that suits it, for the ticks of a logarithmic axis."""
    _, factor, unit = next(row for row in _TIMES if abs(value) < row[0] * (1 - 1e-9))
    return f"{short(value * factor)} {unit}" if value else "0"


def with_interval(estimate: float, low: float | None, high: float | None, write: Writer) -> str:
    """An estimate and its interval, with a common unit written once."""
    if (low is None and high is None) or low == high == estimate:
        return write(estimate)
    texts = [write(estimate), *("?" if bound is None else write(bound) for bound in (low, high))]
    units = {text.partition(" ")[2] for text in texts}
    lowest, highest = (text.partition(" ")[0] if len(units) == 1 else text for text in texts[1:])
    return f"{texts[0]} ({lowest} to {highest})"


def between(low: float | None, high: float | None, write: Writer) -> str:
    """An interval by itself, with a common unit written once."""
    if low is None and high is None:
        return NONE
    first, last = ("?" if bound is None else write(bound) for bound in (low, high))
    same = first.partition(" ")[2] == last.partition(" ")[2]
    return f"{first.partition(' ')[0] if same else first} to {last}"


def share(value: float | None) -> str:
    """A share of a whole as a percentage."""
    if value is None:
        return NONE
    if 0 < value < 0.0005:
        return "<0.1 %"
    return f"{short(round(value * 100, 1))} %"


def count(value: float | None) -> str:
    """A number of things, or of things a second."""
    if value is None:
        return NONE
    return digits(value) if isfinite(value) else "∞"


def whole(value: float | None) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:,.0f}"


def several(number: int, noun: str) -> str:
    """A number of things, with their noun: 1 request, 2 requests."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rate(unit: str) -> Writer:
    """Writes amounts of a unit."""
    return lambda value: f"{count(value)} {unit}"


def dollars(value: float | None) -> str:
    """An amount of US dollars."""
    if value is None:
        return NONE
    return f"${digits(value, 3 if abs(value) < 1 else max(3, len(str(int(abs(value)))) + 2))}"


def short_dollars(value: float) -> str:
    """The same without zeros after its decimals, for ticks."""
    return f"${short(value)}"


def with_sign(value: float) -> str:
    """A number with its sign, of two significant figures."""
    text = digits(value, 2)
    return f"+{text}" if value > 0 else text
