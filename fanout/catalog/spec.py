"""The grammar of a lane spec: `[name=]provider[/model][?option=value&…]`."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from attrs import define, field, fields_dict, frozen

from fanout.addresses import PROXY_FORM, check_proxy
from fanout.catalog.config import RANGES, LaneTable, distrust
from fanout.errors import UsageError
from fanout.prompt import Options
from fanout.timeouts import Timeouts

_LABEL = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_SEPARATOR = re.compile("[/:]")


@frozen
class Spec:
    """A lane spec taken apart: `text` as errors may show it, `name` all before the options, without the label."""

    text: str
    label: str | None
    name: str
    query: str = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "Spec":
        """Takes a spec apart; its options are read by `Given.add_query`."""
        head, _, query = text.strip().partition("?")
        labelled = _LABEL.fullmatch(head)
        label, name = labelled.groups() if labelled else (None, head)
        return cls(_without_passwords(text), label, name, query)

    @property
    def provider(self) -> str:
        """What stands before the first separator."""
        return _SEPARATOR.split(self.name, maxsplit=1)[0]

    @property
    def model(self) -> str:
        """What stands after the first separator: a model's name may have more of them."""
        return [*_SEPARATOR.split(self.name, maxsplit=1), ""][1]


def _without_passwords(text: str) -> str:
    """Returns the spec without the values that may hold a password: proxies, and addresses with a user in them."""
    head, mark, query = text.partition("?")
    return head + mark + "&".join(map(_without_password, query.split("&")))


def _without_password(pair: str) -> str:
    key, _, value = pair.partition("=")
    told = unquote_plus(value)
    hidden = unquote_plus(key) == "proxy" or ("//" in told and "@" in told)
    return f"{key}=…" if hidden and value else pair


_TIME_FORM = re.compile(r"(\d+\.?\d*|\.\d+)(ms|s|m)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


def duration(text: str) -> float:
    """A time in seconds from 0.8, 0.8s, 800ms or 2m. Raises ValueError."""
    match = _TIME_FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a time; write 0.8, 0.8s, 800ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def clock(text: str) -> float:
    """What a clock is set to: a time, or `off` for ever. Raises ValueError."""
    value = inf if text == "off" else duration(text)
    if not value:
        raise ValueError("a clock of 0 leaves no time at all; write off to switch it off")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError
    return int(text)


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _proxy(text: str) -> str:
    check_proxy(text)
    return text


def _words(text: str) -> tuple[str, ...]:
    return (text,)


Parse = tuple[Callable[[str], Any], str]
_WHOLE: Parse = (int, "a whole number of at most 64 bits")
_NUMBER: Parse = (float, "a number")
_TEXT: Parse = (str, "text")
_SWITCH: Parse = (_switch, "true or false")
_TIME: Parse = (clock, "a time such as 0.8, 800ms or off")

_OPTIONS: dict[str, Parse] = {
    "max_tokens": _WHOLE,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "stop": (_words, "text"),
    "seed": _WHOLE,
    "reasoning": _TEXT,
    "reasoning_tokens": _WHOLE,
}
_CLOCKS: dict[str, Parse] = {
    "connect": _TIME,
    "first": _TIME,
    "idle": _TIME,
    "total": _TIME,
    "timeout": _TIME,
    "min_tps": (float, "tokens per second"),
}
_OWN: dict[str, Parse] = {
    "retries": (_count, RANGES["retries"][1]),
    "concurrency": (_count, RANGES["concurrency"][1]),
    "base_url": _TEXT,
    "key_env": _TEXT,
    "proxy": (_proxy, PROXY_FORM),
    "insecure": _SWITCH,
    "web_search": _SWITCH,
}


USERS_OWN = ("proxy", "insecure")
"""The options that a project's file may not set: where a lane's requests go, and what may be read on the way."""

HIDDEN = ("proxy",)
"""The options whose values no error repeats, because they may hold a password."""


@define
class Given:
    """What specs and tables say of one lane; what is added later goes over what was there.

    `files` says which of `own` a file said that is not known to be the user's: Config.untrusted.
    """

    options: dict[str, Any] = field(factory=dict)
    clocks: dict[str, float] = field(factory=dict)
    own: dict[str, Any] = field(factory=dict)
    body: dict[str, Any] = field(factory=dict)
    files: dict[str, Path] = field(factory=dict)

    def add_query(self, spec: Spec, file: Path | None = None) -> None:
        """Takes the options of a spec. Raises UsageError for one that is unknown or has a wrong value."""
        pairs = parse_qsl(spec.query, keep_blank_values=True)
        self._move(dict(pairs).get("base_url"), keyed="key_env" in dict(pairs))
        if any(key == "stop" for key, _ in pairs):
            self.options["stop"] = ()
        for key, value in pairs:
            try:
                self._add(key, value, file)
            except UsageError as error:
                raise UsageError(f"{spec.text}: {error}") from None

    def _add(self, key: str, value: str, file: Path | None) -> None:
        if not value and key != "key_env":
            raise UsageError(f"{key} has no value; an option is name=value")
        if key in _OPTIONS:
            parsed = _parsed(key, value, _OPTIONS[key])
            self.options[key] = self.options["stop"] + parsed if key == "stop" else parsed
        elif key in _CLOCKS:
            self.clocks["total" if key == "timeout" else key] = _parsed(key, value, _CLOCKS[key])
        elif key in _OWN:
            self._set_own(key, _parsed(key, value, _OWN[key]), file)
        elif key.startswith("body."):
            self.body[key.removeprefix("body.")] = _json_or_text(value)
        else:
            known = [*_OPTIONS, *_CLOCKS, *_OWN]
            raise UsageError(unknown("option", key, known, "body.NAME=JSON goes to the service as it is"))

    def _set_own(self, key: str, value: Any, file: Path | None) -> None:
        if file and key in USERS_OWN:
            raise distrust(f"{file} sets {key}")
        self.own[key] = value
        self.files.pop(key, None)
        if file:
            self.files[key] = file

    def _move(self, base_url: str | None, *, keyed: bool) -> None:
        """Leaves behind what held for the address before: `insecure`, and a key unless a new one comes with it."""
        if base_url and base_url != self.own.get("base_url"):
            self.own.pop("insecure", None)
            if not keyed:
                self.own.pop("key_env", None)
                self.files.pop("key_env", None)

    def add_table(self, table: LaneTable, file: Path | None = None) -> None:
        """Takes what a configuration file says of a lane."""
        # The options in the table's own spec are the same author's words of the same lane.
        keyed = table.key_env is not None or "key_env" in dict(
            parse_qsl(Spec.of(table.spec).query, keep_blank_values=True)
        )
        self._move(table.base_url, keyed=keyed)
        for key in fields_dict(LaneTable):
            value = getattr(table, key)
            if value is None or value in ([], {}):
                continue
            if key == "body":
                self.body.update(value)
            elif key in _OPTIONS:
                self.options[key] = tuple(value) if key == "stop" else value
            elif key in _CLOCKS:
                self.clocks[key] = value
            elif key in _OWN:
                self._set_own(key, value, file)

    def made(self) -> tuple[Options, Timeouts]:
        """The options and clocks that were given."""
        return Options(**self.options, body=self.body), Timeouts(**self.clocks)


def _parsed(key: str, value: str, parse: Parse) -> Any:
    try:
        parsed = parse[0](value)
        fine = key not in RANGES or RANGES[key][0](parsed)
    except (LookupError, ValueError):
        fine = False
    if not fine:
        shown = "" if key in HIDDEN else f", not {value!r}"
        raise UsageError(f"{key} takes {parse[1]}{shown}")
    return parsed


def _json_or_text(value: str) -> Any:
    try:
        return orjson.loads(value)
    except ValueError:
        return value


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str) -> str:
    """The sentence that there is no such thing, with the nearest there is."""
    near = get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"{otherwise}."
    return f"there is no {kind} {name!r}; {hint}"
