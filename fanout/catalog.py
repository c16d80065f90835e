"""Names to providers: the built-in wires, the table of hosts, and the lane specs that name them."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from math import isnan
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from attrs import field, frozen

from fanout.abc import Provider, Transport
from fanout.attempt import fetch
from fanout.clocks import Timeouts
from fanout.errors import NotFound, UsageError
from fanout.prompt import Options
from fanout.providers.openai import OpenAI
from fanout.secret import Secret

LOCAL_MODEL = "smollm2"
"""The embedded model's name in a lane spec."""

DEFAULT_LANES = (
    "calm=local?temperature=0.2&top_p=0.9&seed=2&max_tokens=256",
    "even=local?temperature=0.5&body.min_p=0.1&seed=3&max_tokens=256",
    "lively=local?temperature=1.3&body.min_p=0.15&seed=6&max_tokens=256",
)
"""What is raced when nobody names a lane: one embedded model under three options, so that the race is a real one."""


NOTHING_SET = Timeouts()


@frozen
class LaneSpec:
    """One contestant: a provider under a name, with its own clocks, retries and options.

    `timeouts` are this lane's own; `usual` those of its provider, which give way to what the call says.
    """

    name: str
    provider: Provider
    timeouts: Timeouts = NOTHING_SET
    usual: Timeouts = NOTHING_SET
    retries: int | None = None
    options: Options = field(factory=Options)


@frozen
class Entry:
    """A provider that lane specs can name; `keys` are environment variables, any of which holds the key."""

    name: str
    base_url: str
    keys: tuple[str, ...] = ()
    needs_key: bool = True
    max_tokens: str = "max_tokens"
    base_url_env: str | None = None
    timeouts: Timeouts = NOTHING_SET
    default_model: str | None = None
    note: str = ""

    @property
    def key_present(self) -> bool:
        """Whether one of its variables is set."""
        return any(os.environ.get(name) for name in self.keys)


@cache
def _entries() -> Mapping[str, Entry]:
    local = Entry(
        name="local",
        base_url="local://smollm2/v1",
        needs_key=False,
        timeouts=Timeouts(first=120),
        default_model=LOCAL_MODEL,
        note="the embedded model, run on this machine: no key, no network",
    )
    table = tomllib.loads(files("fanout.providers").joinpath("hosts.toml").read_text("utf-8"))
    hosts = [Entry(name=name, **{**row, "keys": tuple(row.get("keys", ()))}) for name, row in table.items()]
    return {entry.name: entry for entry in (local, *hosts)}


def providers() -> list[Entry]:
    """Every provider that a lane spec can name, the embedded model first."""
    return list(_entries().values())


def find(spec: str) -> LaneSpec:
    """The lane that `[name=]provider[/model][?option=value&…]` names; `:` may stand for the first `/`.

    Raises UsageError for an unknown provider or option, or where a model is missing, and names what there is.
    """
    head, _, query = spec.strip().partition("?")
    labelled = _LABEL.fullmatch(head)
    label, name = labelled.groups() if labelled else (None, head)
    provider_name, model = [*_SEPARATOR.split(name, maxsplit=1), ""][:2]
    entry = _entries().get(provider_name)
    if entry is None:
        raise UsageError(_unknown("provider", provider_name, _entries(), "`fanout providers` lists them all"))
    model = model or entry.default_model or ""
    if not model:
        raise UsageError(
            f"{spec}: which model? Write {provider_name}/MODEL; `fanout models {provider_name}` lists them"
        )
    given = _Given(spec)
    for key, value in parse_qsl(query, keep_blank_values=True):
        given.add(key, value)
    return LaneSpec(
        name=label or name,
        provider=_provider(entry, model, given.wires),
        timeouts=Timeouts(**given.clocks),
        usual=entry.timeouts,
        retries=given.retries,
        options=Options(**given.options, body=given.body),
    )


async def list_models(name: str, transport: Transport) -> list[str]:
    """The models that the provider `name` offers now, asked over `transport`. Raises ProviderError, UsageError."""
    entry = _entries().get(name)
    if entry is None:
        raise UsageError(_unknown("provider", name, _entries(), "`fanout providers` lists them all"))
    provider = _provider(entry, entry.default_model, {})
    request = provider.models_request()
    if request is None:
        raise NotFound(f"{name} does not list its models")
    return provider.models(await fetch(transport, request, connect=5.0))


_LABEL = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_SEPARATOR = re.compile("[/:]")


def _seconds(text: str) -> float:
    value = float(text.removesuffix("s"))
    if value < 0 or isnan(value):
        raise ValueError
    return value


def _words(text: str) -> tuple[str, ...]:
    return (text,)


_CLOCKS = {"connect": "connect", "first": "first", "idle": "idle", "timeout": "total", "total": "total"}
_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "max_tokens": (int, "a whole number"),
    "temperature": (float, "a number"),
    "top_p": (float, "a number"),
    "seed": (int, "a whole number"),
    "stop": (_words, "text"),
    "reasoning": (str, "text"),
}
_WIRES = ("base_url", "key_env")


class _Given:
    """The options of one lane spec, sorted by what they set."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.options: dict[str, Any] = {}
        self.clocks: dict[str, float] = {}
        self.wires: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        self.retries: int | None = None

    def add(self, key: str, value: str) -> None:
        """Takes one `key=value`."""
        if not value and key != "key_env":
            raise UsageError(f"{self.spec}: {key} has no value; an option is name=value")
        if key in _OPTIONS:
            parse, form = _OPTIONS[key]
            parsed = self._parsed(key, value, parse, form)
            self.options[key] = self.options.get(key, ()) + parsed if key == "stop" else parsed
        elif key in _CLOCKS:
            self.clocks[_CLOCKS[key]] = self._parsed(key, value, _seconds, "seconds")
        elif key == "min_tps":
            self.clocks[key] = self._parsed(key, value, _seconds, "tokens per second")
        elif key == "retries":
            self.retries = self._parsed(key, value, int, "a whole number")
        elif key in _WIRES:
            self.wires[key] = value
        elif key.startswith("body."):
            self.body[key.removeprefix("body.")] = _json_or_text(value)
        else:
            known = [*_OPTIONS, *_CLOCKS, "min_tps", "retries", *_WIRES]
            raise UsageError(
                f"{self.spec}: {_unknown('option', key, known, 'body.NAME=JSON goes to the service as it is')}"
            )

    def _parsed(self, key: str, value: str, parse: Callable[[str], Any], form: str) -> Any:
        try:
            return parse(value)
        except ValueError:
            raise UsageError(f"{self.spec}: {key} takes {form}, not {value!r}") from None


def _json_or_text(value: str) -> Any:
    try:
        return orjson.loads(value)
    except ValueError:
        return value


def _unknown(kind: str, name: str, known: Any, otherwise: str) -> str:
    near = get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"{otherwise}."
    return f"there is no {kind} {name!r}; {hint}"


def _provider(entry: Entry, model: str | None, wires: Mapping[str, str]) -> Provider:
    env_url = os.environ.get(entry.base_url_env) if entry.base_url_env else None
    base_url = wires.get("base_url") or env_url or entry.base_url
    _check_url(base_url)
    key_env = wires.get("key_env")
    names = entry.keys if key_env is None else tuple(filter(None, (key_env,)))
    key = next((value for name in names if (value := os.environ.get(name))), None)
    return OpenAI(
        name=entry.name,
        model=model,
        base_url=base_url,
        key=Secret(key) if key else None,
        key_env=names,
        needs_key=entry.needs_key if key_env is None else bool(key_env),
        max_tokens=entry.max_tokens,
    )


def _check_url(url: str) -> None:
    """A base URL is http or https, without credentials in it; plain http goes only to this machine."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise UsageError("a base URL carries no user or password; put the key into a variable and name it by key_env")
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme not in ("http", "https", "local") or not parts.netloc:
        raise UsageError(f"base_url must be an http or https address, not {url!r}")
    if parts.scheme == "http" and not loopback:
        raise UsageError(f"base_url {url!r} would send the key and the prompt in clear; use https")
