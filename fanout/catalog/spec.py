"""The grammar of a lane spec: `[name=]provider[/model][?option=value&…]`."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus

import orjson
from attrs import define, field, frozen

from fanout.catalog.config import ALIASES, LANE_SETTINGS, LaneTable, distrust
from fanout.errors import UsageError
from fanout.prompt import Options
from fanout.settings import explain_unknown, settings_of
from fanout.settings.timeouts import Timeouts

_LABEL = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_SEPARATOR = re.compile("[/:]")
_MANY = {name for name, one in LANE_SETTINGS.items() if one.many}

NOTHING_SET = Timeouts()
NO_OPTIONS = Options()
"""Those of all lanes that say nothing of them: a thousand need but one."""


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
        """The text before the first separator."""
        return _SEPARATOR.split(self.name, maxsplit=1)[0]

    @property
    def model(self) -> str:
        """The text after the first separator: a model's name may have more of them."""
        return [*_SEPARATOR.split(self.name, maxsplit=1), ""][1]


def add_options(spec: str, options: Sequence[tuple[str, str]]) -> str:
    """Returns the spec with these options too; those that it sets itself stay as they are."""
    own = {pair.partition("=")[0] for pair in spec.partition("?")[2].split("&")}
    added = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in options if key not in own)
    return f"{spec}{'&' if '?' in spec else '?'}{added}" if added else spec


def _without_passwords(text: str) -> str:
    """Returns the spec without the values that may hold a password: proxies, and all that looks like user and host."""
    head, mark, query = text.partition("?")
    if "//" in head and "@" in head:  # an address in place of a provider
        head = "…"
    return head + mark + _hide_passwords(query)


@lru_cache(128)  # many lanes of a call have the same options
def _hide_passwords(query: str) -> str:
    return "&".join(map(_without_password, query.split("&")))


def _without_password(pair: str) -> str:
    key, _, value = pair.partition("=")
    told = unquote_plus(value)
    one = LANE_SETTINGS.get(unquote_plus(key))
    hidden = (one and one.hidden) or ("@" in told and (":" in told or key == "base_url"))
    return f"{key}=…" if hidden and value else pair


@define
class Given:
    """The settings that specs and tables give a lane, by the names of LANE_SETTINGS; later ones go over earlier ones.

    `files` says which of it a file said that is not known to be the user's: Config.untrusted. `names` are the lanes of
    the configuration that it was taken from.
    """

    values: dict[str, Any] = field(factory=dict, repr=False)
    files: dict[str, Path] = field(factory=dict)
    names: list[str] = field(factory=list)

    def get(self, name: str) -> Any:
        """Returns what a setting was given, or None."""
        return self.values.get(name)

    def add_query(self, spec: Spec, file: Path | None = None) -> None:
        """Takes the options of a spec. Raises UsageError for one that is unknown or has a wrong value."""
        pairs = _pairs(spec.query)
        _check_commas(spec)
        names = {name for name, _ in pairs}
        self._move(dict(pairs).get("base_url"), keyed="key_env" in names)
        for name in names & _MANY:
            self.values.pop(name, None)
        for name, text in pairs:
            try:
                self._add(name, text, file)
            except UsageError as error:
                raise UsageError(f"{spec.text}: {error}") from None

    def add_table(self, table: LaneTable, file: Path | None = None) -> None:
        """Takes what a configuration file says of a lane."""
        # The options in the table's own spec are the same author's words of the same lane.
        keyed = "key_env" in {*table.given, *dict(_pairs(Spec.of(table.spec).query))}
        self._move(table.given.get("base_url"), keyed=keyed)
        for name, value in table.given.items():
            if name == "body":
                self._add_to_body(value)
            elif value != []:
                self._set(name, tuple(value) if name in _MANY else value, file)

    def options(self) -> Options:
        """Returns the options of the prompt that were given."""
        given = {name: self.values[name] for name in settings_of(Options) if name in self.values}
        return Options(**given) if given else NO_OPTIONS

    def timeouts(self) -> Timeouts:
        """Returns the clocks that were given."""
        given = {name: self.values[name] for name in settings_of(Timeouts) if name in self.values}
        return Timeouts(**given) if given else NOTHING_SET

    def _add(self, name: str, text: str, file: Path | None) -> None:
        one = LANE_SETTINGS.get(name)
        if not text and not (one and one.empty):
            raise UsageError(f"{name} has no value; an option is name=value")
        if one:
            value = one.read(name, text)
            self._set(name, (*self.values.get(name, ()), *value) if one.many else value, file)
        elif name.startswith("body."):
            self._add_to_body({name.removeprefix("body."): _json_or_text(text)})
        else:
            known = [*LANE_SETTINGS, *ALIASES]
            raise UsageError(explain_unknown("option", name, known, "body.NAME=JSON goes to the service as it is"))

    def _set(self, name: str, value: Any, file: Path | None) -> None:
        if file and LANE_SETTINGS[name].users:
            raise distrust(f"{file} sets {name}")
        self.values[name] = value
        self.files.pop(name, None)
        if file:
            self.files[name] = file

    def _add_to_body(self, parts: Mapping[str, Any]) -> None:
        self.values["body"] = {**self.values.get("body", {}), **parts}

    def _move(self, base_url: str | None, *, keyed: bool) -> None:
        """Leaves behind what held for the address before: `insecure`, and a key unless a new one comes with it."""
        if base_url and base_url != self.get("base_url"):
            self.values.pop("insecure", None)
            if not keyed:
                self.values.pop("key_env", None)
                self.files.pop("key_env", None)


@lru_cache(128)  # as above
def _pairs(query: str) -> tuple[tuple[str, str], ...]:
    """Returns the options in a spec, by their names as settings."""
    return tuple((ALIASES.get(name, name), text) for name, text in parse_qsl(query, keep_blank_values=True))


def _check_commas(spec: Spec) -> None:
    """Raises UsageError for a comma in an address: mostly another lane stands behind it, which would be lost."""
    for pair in spec.query.split("&") if "," in spec.query else ():
        name, _, value = pair.partition("=")
        if name == "base_url" and "," in value:
            raise UsageError(
                f"{spec.text}: there is a comma in the base_url; a lane after it is PROVIDER/MODEL or a lane of its "
                "own, and a comma that belongs to the address is written %2C"
            )


def _json_or_text(value: str) -> Any:
    try:
        return orjson.loads(value)
    except ValueError:
        return value
