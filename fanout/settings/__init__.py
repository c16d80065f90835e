"""Settings: each says once how it is written, what it may be and how to say so; specs, TOML and the command read it."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from math import inf, isfinite
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import Factory, field, fields, frozen

from fanout.errors import UsageError

_TIME_FORM = re.compile(r"(\d+\.?\d*|\.\d+)(ms|s|m)?", re.ASCII)
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}

KEY = "setting"
"""The key of a field's metadata under which its Setting stands."""


@frozen
class Form:
    """The way a value is written, and its range.

    `parse` reads it from text (a lane spec, the command line) and raises ValueError or LookupError; `kinds` are the
    types that stand for it in TOML, called `kind` in errors; `fits` says what lies in its range, `words` how to say so
    and `written` how it is written as text, where that is more.
    """

    words: str
    parse: Callable[[str], Any]
    kinds: tuple[type, ...]
    kind: str
    fits: Callable[[Any], bool] = lambda _: True
    written: str = ""
    metavar: str = "TEXT"

    def from_toml(self, value: Any) -> Any:
        """Returns a value from TOML. Raises ValueError for another type: "5" or true for a number is a mistake."""
        if self.parse is pace and type(value) is str and not value[:1].isdecimal():
            return self.parse(value)  # p95, which has a digit at its end too
        if self.parse in (clock, duration, pace) and type(value) is str and not value.strip()[-1:].isdecimal():
            return self.parse(value)  # "800ms" as everywhere; "5" for 5 is a mistake, as it is of any number
        texts = not isinstance(value, list) or all(isinstance(text, str) for text in value)
        if type(value) not in self.kinds or not texts:
            raise ValueError(f"this should be {self.kind}")
        return float(value) if float in self.kinds else value


@frozen
class Setting:
    """A setting in its form; `usual` is its value where nobody sets it, None if that is not ours to say.

    `also` is another name for it in specs and on the command line, `help` a sentence about it. A setting that is
    `many` adds up where it is repeated. One of the `users` may not be set by a project's file; of one that is `hidden`
    no error repeats the value, which may hold a password; one that is `empty` may be set to nothing.
    """

    form: Form
    help: str = ""
    also: str = ""
    usual: Any = None
    many: bool = False
    users: bool = False
    hidden: bool = False
    empty: bool = False

    def read(self, name: str, text: str) -> Any:
        """Returns the value that a text stands for. Raises UsageError, which says what the setting takes."""
        try:
            value = self.form.parse(text)
            fits = self.form.fits(value)
        except (LookupError, ValueError):
            fits = False
        if not fits:
            raise UsageError(f"{name} takes {self.form.written or self.form.words}{self._show(text)}")
        return (value,) if self.many else value

    def check(self, name: str, value: Any) -> None:
        """Raises UsageError for a value out of its range, or of another type; not-a-number lies in no range."""
        if self.many and isinstance(value, str):  # which would pass for the list of its letters
            raise UsageError(f"{name} takes {self.form.kind}{self._show(value)}")
        try:
            fits = self.form.fits(value)
        except TypeError:
            fits = False
        if not fits:
            raise UsageError(f"{name} takes {self.form.words}{self._show(value)}")

    def _show(self, value: Any) -> str:
        return "" if self.hidden else f", not {value!r}"


def setting(form: Form, *, default: Any = None, factory: Callable[[], Any] | None = None, **about: Any) -> Any:
    """Makes a field that is a Setting; `about` are the Setting's other fields."""
    return field(default=default if factory is None else Factory(factory), metadata={KEY: Setting(form, **about)})


def _read_settings(kind: type) -> Mapping[str, Setting]:
    """Returns the settings among the fields of an attrs class, by name."""
    return MappingProxyType({a.name: a.metadata[KEY] for a in fields(kind) if KEY in a.metadata})


settings_of: Callable[[type], Mapping[str, Setting]] = cache(_read_settings)


def usual_of(kind: type) -> dict[str, Any]:
    """Returns the values that the settings of an attrs class have where nobody sets them."""
    return {name: one.usual for name, one in settings_of(kind).items()}


def check_settings(table: Any) -> None:
    """Raises UsageError for the first setting of an attrs object that is out of its range."""
    for name, one in settings_of(type(table)).items():
        if (value := getattr(table, name)) is not None:
            one.check(name, value)


Kind = TypeVar("Kind", bound=type)


def check_arguments(what: str) -> Callable[[Kind], Kind]:
    """Makes a class raise UsageError, with the nearest right name, for an argument that it does not have."""

    def decorate(kind: Kind) -> Kind:
        make = kind.__init__  # type: ignore[misc]  # of this very class

        @wraps(make)
        def make_checked(self: Any, *args: Any, **given: Any) -> None:
            try:
                make(self, *args, **given)
            except TypeError:
                known = [a.name for a in fields(kind)]
                if set(given) <= set(known):
                    raise
            else:
                return
            check_names(what, given, known, aliases_of(kind))

        kind.__init__ = make_checked  # type: ignore[misc]
        return kind

    return decorate


def aliases_of(kind: type) -> dict[str, str]:
    """Returns the other names that settings of an attrs class have in specs and on the command line, with the names."""
    return {one.also: name for name, one in settings_of(kind).items() if one.also}


def check_names(
    what: str, given: Iterable[str], known: Iterable[str], aliases: Mapping[str, str] | None = None
) -> None:
    """Raises UsageError for the first name that is not among those `known`; `what` says what it should name."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UsageError(explain_unknown(what, name, known, f"there are {', '.join(known)}", aliases))


def explain_unknown(
    what: str,
    name: str,
    known: Iterable[str],
    otherwise: str,
    aliases: Mapping[str, str] | None = None,
    nearness: float = 0.6,
) -> str:
    """Returns the sentence that there is no such thing, with the nearest there is, or else `otherwise`.

    Near is what is alike by `nearness` at least, from 0 to 1 (difflib's ratio).
    """
    from difflib import get_close_matches  # noqa: PLC0415  # mistakes can wait

    near = [(aliases or {})[name]] if name in (aliases or {}) else get_close_matches(name, list(known), 3, nearness)
    hint = f"did you mean {' or '.join(near)}?" if near else f"{otherwise}."
    return f"there is no {what} {name!r}; {hint}"


def duration(text: str) -> float:
    """Returns the seconds of 0.8, 0.8s, 800ms or 2m. Raises ValueError."""
    match = _TIME_FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a time; write 0.8, 0.8s, 800ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def clock(text: str) -> float:
    """Returns the seconds that a clock is set to: a time, or infinity for `off`. Raises ValueError."""
    value = inf if text == "off" else duration(text)
    if not value:
        raise ValueError("a clock of 0 leaves no time at all; write off to switch it off")
    return value


def percentile(text: str) -> float:
    """Returns the share from 0 to 1 that a percentile such as p95 or p99.5 stands for. Raises ValueError."""
    match = _PERCENTILE.fullmatch(text.strip())
    if not match or not 0 < float(match[1]) < 100:
        raise ValueError(f"{text!r} is neither a time nor a percentile; write 0.8, 800ms or p95")
    return float(match[1]) / 100


def pace(text: str) -> float | str:
    """Returns the seconds of a delay, or a percentile as it is written: p95 is learnt. Raises ValueError."""
    if text.strip()[:1] == "p" or not _TIME_FORM.fullmatch(text.strip()):
        percentile(text)
        return text.strip()
    return duration(text)


def _is_pace(value: Any) -> bool:
    return isinstance(pace(value), str) if isinstance(value, str) else value >= 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError
    return int(text)


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _table(text: str) -> Any:
    raise ValueError(text)


def _at_most_64_bits(number: Any) -> bool:
    return type(number) is int and -(2**63) <= number < 2**63


_NUMBERS = (int, float)

TEXT = Form("text", str, (str,), "a text in quotes")
TEXTS = Form("text", str, (list,), "a list of texts in quotes")
SWITCH = Form("true or false", _switch, (bool,), "true or false")
TABLE = Form("a table", _table, (dict,), "a table", written="its parts, as body.NAME=JSON")
WHOLE = Form("a whole number of at most 64 bits", int, (int,), "a whole number", _at_most_64_bits, metavar="N")
COUNT = Form("a whole number from 0 on", _count, (int,), "a whole number", lambda n: n >= 0, metavar="N")
FROM_ONE = Form("a whole number from 1 on", _count, (int,), "a whole number", lambda n: n >= 1, metavar="N")
LENGTH = Form(
    "a whole number from 0 on, of at most 64 bits",
    _count,
    (int,),
    "a whole number",
    lambda n: _at_most_64_bits(n) and n >= 0,
    metavar="N",
)
NUMBER = Form("a number", float, _NUMBERS, "a number", isfinite, metavar="NUMBER")
RATE = Form("a rate from 0 on", float, _NUMBERS, "a number", lambda rate: 0 <= rate < inf, metavar="RATE")
CLOCK = Form(
    "a time above 0",
    clock,
    _NUMBERS,
    "a number",
    lambda seconds: seconds > 0,
    "a time such as 0.8, 800ms or off",
    "SECONDS",
)
DELAY = Form("a time from 0 on", duration, _NUMBERS, "a number", lambda seconds: seconds >= 0, metavar="SECONDS")
PACE = Form(
    "a time from 0 on, or a percentile such as p95",
    pace,
    _NUMBERS,
    'a number, or a percentile such as "p95"',
    _is_pace,
    metavar="SECONDS|p95",
)
ROTATION = Form("first or round_robin", str, (str,), "a text in quotes", lambda word: word in ("first", "round_robin"))
