"""Names to providers: the wires, the table of hosts, the lanes and groups of `fanout.toml`, and plug-ins."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from attrs import field, fields_dict, frozen

from fanout.abc import Policy, Provider, Transport
from fanout.attempt import fetch
from fanout.clocks import Timeouts
from fanout.config import Config, GroupTable
from fanout.errors import NotFound, ProviderError, UsageError
from fanout.policies.all import All
from fanout.policies.fallback import Fallback
from fanout.policies.hedge import Hedge
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race
from fanout.prompt import Options
from fanout.scrub import scrub
from fanout.secret import Secret
from fanout.spec import Given, Spec, unknown

LOCAL_MODEL = "smollm2"
"""The embedded model's name in a lane spec."""

DEFAULT_LANES = (
    "calm=local?temperature=0.2&top_p=0.9&seed=2&max_tokens=256",
    "even=local?temperature=0.5&body.min_p=0.1&seed=3&max_tokens=256",
    "lively=local?temperature=1.3&body.min_p=0.15&seed=6&max_tokens=256",
)
"""What is raced when nobody names a lane: one embedded model under three options, so that the race is a real one."""

LISTING = "the list of models"
"""In place of a spec's text: it needs no model."""

NOTHING_SET = Timeouts()
NOTHING_CONFIGURED = Config()

QUIRKS: dict[str, dict[str, Any]] = {
    # What a request must heed:
    "max_completion_tokens": {"max_tokens": "max_completion_tokens"},
    "no_stream_options": {"stream_usage": False},
    "api_key_header": {"key_header": "api-key"},
    # What an answer may contain; the reader takes all of these from anybody:
    "comments": {},
    "cumulative_message": {},
    "error_event": {},
    "error_field": {},
    "error_flat": {},
    "error_string": {},
    "error_with_finish": {},
    "finish_eos": {},
    "list_content": {},
    "no_done": {},
    "reasoning": {},
    "reasoning_content": {},
    "reasoning_details": {},
    "usage_in_choice": {},
    "usage_in_x_groq": {},
    "usage_repeated": {},
}
"""The ways in which services differ from OpenAI's chat completions, and the settings of the provider that they need."""

_VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")

POLICIES: dict[str, type[Policy]] = {"race": Race, "hedge": Hedge, "fallback": Fallback, "quorum": Quorum, "all": All}


@frozen
class LaneSpec:
    """One contestant: a provider under a name, with its own clocks, retries and options.

    `timeouts` are this lane's own; `usual` those of its provider, which give way to what the call says. `spares` are
    the same provider with further keys. At most `concurrency` lanes of this name run at once.
    """

    name: str
    provider: Provider
    timeouts: Timeouts = NOTHING_SET
    usual: Timeouts = NOTHING_SET
    retries: int | None = None
    options: Options = field(factory=Options)
    spares: tuple[Provider, ...] = ()
    concurrency: int | None = None


@frozen
class Entry:
    """A provider that lane specs can name; `keys` are environment variables, any of which holds the key.

    `wire` is the module of `fanout.providers` whose language it speaks, `quirks` how it speaks it, by names of QUIRKS.
    For `{VARIABLE}` in `base_url` stands what the environment says. `models_url` is where its models are listed, if
    that is in no usual place.
    """

    name: str
    base_url: str
    wire: str = "openai"
    keys: tuple[str, ...] = ()
    needs_key: bool = True
    quirks: tuple[str, ...] = ()
    base_url_env: str | None = None
    models_url: str | None = None
    timeouts: Timeouts = NOTHING_SET
    default_model: str | None = None
    note: str = ""

    @property
    def key_present(self) -> bool:
        """Whether one of its variables is set, and those in its address too."""
        return not self.unset and any(True for _ in keys_in_environment(self.keys))

    @property
    def unset(self) -> list[str]:
        """The variables in its address that are not set."""
        return [name for name in _VARIABLE.findall(self.base_url) if not os.environ.get(name)]


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
    lists = ("keys", "quirks")
    hosts = [
        Entry(name=name, **{**row, **{key: tuple(row.get(key, ())) for key in lists}}) for name, row in table.items()
    ]
    return {entry.name: entry for entry in (local, *hosts)}


def providers() -> list[Entry]:
    """Every provider that a lane spec can name, the embedded model first; plug-ins are not among them."""
    return list(_entries().values())


def keys_in_environment(names: tuple[str, ...]) -> Iterator[str]:
    """The keys of the first of these variables that is set: itself, NAME_2 and so on, each perhaps a comma list."""
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        values = [os.environ.get(name, "")]
        while more := os.environ.get(next(numbered)):
            values.append(more)
        keys = [key.strip() for value in values for key in value.split(",") if key.strip()]
        if keys:
            yield from keys
            return


def find(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec:
    """The lane that `[name=]provider[/model][?option=value&…]` names; `:` may stand for the first `/`.

    Instead of a provider it may name a lane of the configuration. Raises UsageError for an unknown name or option, or
    where a model is missing, and says what there is.
    """
    spec = Spec.of(text)
    given = Given()
    base = _base(spec, config, given, ())
    options, timeouts = given.made()
    made, usual = _providers(base, given)
    return LaneSpec(
        name=spec.label or spec.name,
        provider=made[0],
        timeouts=timeouts,
        usual=usual,
        retries=given.own.get("retries"),
        options=options,
        spares=tuple(made[1:]),
        concurrency=given.own.get("concurrency"),
    )


def resolve(text: str, config: Config = NOTHING_CONFIGURED, within: tuple[str, ...] = ()) -> LaneSpec | Policy:
    """The lane, or the group of the configuration, of this name. Raises UsageError as `find` does."""
    group = config.groups.get(text)
    if group is None:
        return find(text, config)
    if text in within:
        raise UsageError(f"the group {text!r} contains itself: {' > '.join((*within, text))}")
    lanes = [resolve(lane, config, (*within, text)) for lane in group.lanes]
    return _policy(text, group, lanes)


async def list_models(name: str, transport: Transport) -> list[str]:
    """The models that the provider `name` offers now, asked over `transport`. Raises ProviderError, UsageError."""
    return await _models(_for_listing(name)[0], transport)


async def check_keys(name: str, transport: Transport) -> list[ProviderError | None]:
    """What the provider `name` says to each of its keys in the environment: None if it takes the key.

    Asks for the list of models, which costs nothing. Raises UsageError.
    """
    said: list[ProviderError | None] = []
    for provider in _for_listing(name):
        try:
            await _models(provider, transport)
            said.append(None)
        except ProviderError as error:
            said.append(error)
    return said


def _for_listing(name: str) -> list[Provider]:
    if name not in _entries():
        raise UsageError(unknown("provider", name, _entries(), "`fanout providers` lists them all"))
    return _providers(Spec(LISTING, None, name, ""), Given())[0]


async def _models(provider: Provider, transport: Transport) -> list[str]:
    request = provider.models_request()
    if request is None:
        raise NotFound(f"{provider.name} does not list its models")
    try:
        return provider.models(await fetch(transport, request, connect=5.0))
    except ProviderError as error:
        scrub(error, request.headers.values())
        raise


def _base(spec: Spec, config: Config, given: Given, within: tuple[str, ...]) -> Spec:
    """The spec that names a provider, below configured lanes; on the way back `given` takes what each says."""
    table = config.lanes.get(spec.name)
    base = spec
    if table is not None:
        if spec.name in within:
            raise UsageError(f"the lane {spec.name!r} is made of itself: {' > '.join((*within, spec.name))}")
        base = _base(Spec.of(table.spec), config, given, (*within, spec.name))
        given.add_table(table)
    elif spec.name in config.groups:
        raise UsageError(f"{spec.text}: {spec.name!r} is a group; it stands alone, without a label or options")
    elif spec.provider not in _entries() and _plug_in("fanout.providers", spec.provider) is None:
        known = [*_entries(), *config.lanes, *config.groups]
        raise UsageError(unknown("provider", spec.provider, known, "`fanout providers` lists them all"))
    given.add_query(spec)
    return base


def _providers(spec: Spec, given: Given) -> tuple[list[Provider], Timeouts]:
    """The provider that a spec names, once for each of its keys, and its usual clocks."""
    entry = _entries().get(spec.provider)
    if entry is None:
        plug_in = _plug_in("fanout.providers", spec.provider)
        assert plug_in is not None
        return [plug_in(spec.model or None)], NOTHING_SET
    model = spec.model or entry.default_model
    if not model and spec.text is not LISTING:
        raise UsageError(f"{spec.text}: which model? Write {entry.name}/MODEL; `fanout models {entry.name}` lists them")
    base_url = given.own.get("base_url") or _url_in_environment(entry) or _filled(entry)
    _check_url(base_url)
    key_env = given.own.get("key_env")
    names = entry.keys if key_env is None else tuple(filter(None, (key_env,)))
    settings: dict[str, Any] = {
        "name": entry.name,
        "model": model or None,
        "base_url": base_url,
        "key_env": names,
        "needs_key": entry.needs_key if key_env is None else bool(key_env),
    }
    if entry.models_url:
        settings["models_url"] = entry.models_url
    if entry.wire == "openai":
        settings["max_tokens"] = "max_tokens"
    for quirk in entry.quirks:
        settings.update(QUIRKS[quirk])
    if entry.keys == ("OPENAI_API_KEY",):
        settings["organization"] = os.environ.get("OPENAI_ORG_ID")
        settings["project"] = os.environ.get("OPENAI_PROJECT_ID")
    wire = _wire(entry.wire)
    accepted = {name: value for name, value in settings.items() if name in fields_dict(wire)}
    keys = list(keys_in_environment(names)) if "key" in fields_dict(wire) else []
    if not keys:
        return [wire(**accepted)], entry.timeouts
    return [wire(**accepted, key=Secret(key)) for key in keys], entry.timeouts


def _url_in_environment(entry: Entry) -> str | None:
    """The address in the provider's usual variable; Ollama's may lack the scheme."""
    url = os.environ.get(entry.base_url_env) if entry.base_url_env else None
    return f"http://{url}" if url and "://" not in url else url


def _filled(entry: Entry) -> str:
    """The provider's address, with the environment's words for the variables in it."""
    if unset := entry.unset:
        raise UsageError(f"{entry.name}: where is it? Set {' and '.join(unset)}, or give the lane a base_url")
    return _VARIABLE.sub(lambda variable: os.environ[variable[1]].rstrip("/"), entry.base_url)


def _wire(name: str) -> Any:
    """The provider class that speaks a wire, which its module names first: the only one with its name in it."""
    module = import_module(f"fanout.providers.{name}")
    return next(getattr(module, found) for found in vars(module) if found.lower() == name)


def _plug_in(group: str, name: str) -> Callable[..., Any] | None:
    """What an installed package registered under this name, loaded; scanned only when no built-in has it."""
    found: list[EntryPoint] = list(entry_points(group=group, name=name))
    return found[0].load() if found else None


def _policy(name: str, table: GroupTable, lanes: list[LaneSpec | Policy]) -> Policy:
    kind: Any = POLICIES.get(table.policy) or _plug_in("fanout.policies", table.policy)
    if kind is None:
        near = unknown("policy", table.policy, POLICIES, f"there are {', '.join(POLICIES)}")
        raise UsageError(f"groups.{name}.policy: {near}")
    settings = {key: getattr(table, key) for key in ("on", "after", "k", "deadline", "on_lose")}
    try:
        return kind(*lanes, **{key: value for key, value in settings.items() if value is not None})  # type: ignore[no-any-return]
    except TypeError as error:
        raise UsageError(f"groups.{name}: {table.policy}: {str(error).partition(') ')[2] or error}") from None
    except UsageError as error:
        raise UsageError(f"groups.{name}: {error}") from None


def _check_url(url: str) -> None:
    """A base URL is http or https, without credentials in it; plain http goes only to this machine."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"base_url {url!r}: {error}") from None
    if parts.username or parts.password:
        raise UsageError("a base URL carries no user or password; put the key into a variable and name it by key_env")
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme not in ("http", "https", "local") or not parts.netloc:
        raise UsageError(f"base_url must be an http or https address, not {url!r}")
    if parts.scheme == "http" and not loopback:
        raise UsageError(f"base_url {url!r} would send the key and the prompt in clear; use https")
