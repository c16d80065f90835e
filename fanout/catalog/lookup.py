"""Names to providers: the wires, the table of hosts, the lanes and groups of `fanout.toml`, and plug-ins."""

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, fields_dict, frozen

from fanout.abc import Policy, Provider, Transport
from fanout.addresses import check_base_url, check_secrecy
from fanout.catalog.config import Config, GroupTable
from fanout.catalog.entries import Entry, entries, keys_in_environment
from fanout.catalog.spec import Given, Spec, unknown
from fanout.catalog.trust import is_own, key_variables
from fanout.credentials import Credentials
from fanout.errors import NotFound, ProviderError, UsageError
from fanout.fetch import fetch
from fanout.policies.all import All
from fanout.policies.fallback import Fallback
from fanout.policies.hedge import Hedge
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race
from fanout.prompt import Options
from fanout.providers.unusable import Unusable
from fanout.scrub import scrub
from fanout.secret import Secret
from fanout.timeouts import Timeouts

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
    "developer_role": {"developer": True},
    "random_seed": {"seed": "random_seed"},
    "tool_names_only": {"names": False},
    "short_call_ids": {"short_ids": True},
    "reasoning_back": {"reasoning": "tool turns"},
    "no_stream_options": {"stream_usage": False},
    "timings_per_token": {"timings": True},
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


ANY_SERVER: dict[str, Any] = {"max_tokens": "max_tokens", "developer": False}
"""How a server that speaks chat completions is asked, if it has no quirks: older names are known everywhere."""

POLICIES: dict[str, type[Policy]] = {"race": Race, "hedge": Hedge, "fallback": Fallback, "quorum": Quorum, "all": All}


@frozen
class LaneSpec:
    """One contestant: a provider under a name, with its own clocks, retries and options.

    `timeouts` are this lane's own; `usual` those of its provider, which give way to what the call says. `spares` are
    the same provider with further keys. At most `concurrency` lanes of this name run at once. Its requests go by way
    of `proxy`; `none` is directly, and None leaves it to the environment.
    """

    name: str
    provider: Provider
    timeouts: Timeouts = NOTHING_SET
    usual: Timeouts = NOTHING_SET
    retries: int | None = None
    options: Options = field(factory=Options)
    spares: tuple[Provider, ...] = ()
    concurrency: int | None = None
    proxy: str | None = field(default=None, repr=False)


def providers() -> list[Entry]:
    """Every provider that a lane spec can name, the embedded model first; plug-ins are not among them."""
    return list(entries().values())


def find(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec:
    """The lane that `[name=]provider[/model][?option=value&…]` names; `:` may stand for the first `/`.

    Instead of a provider it may name a lane of the configuration. Raises UsageError for an unknown name or option, or
    where a model is missing, and says what there is.
    """
    return _found(text, config, None)


def _found(text: str, config: Config, file: Path | None) -> LaneSpec:
    """The lane that a spec names; `file` is where the spec stands, if that is not known to be the user's."""
    spec = Spec.of(text)
    given = Given()
    base = _base(spec, config, given, (), file)
    options, timeouts = given.made()
    made, usual = _providers(base, given, config)
    return LaneSpec(
        name=spec.label or spec.name,
        provider=made[0],
        timeouts=timeouts,
        usual=usual,
        retries=given.own.get("retries"),
        options=options,
        spares=tuple(made[1:]),
        concurrency=given.own.get("concurrency"),
        proxy=given.own.get("proxy"),
    )


def resolve(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec | Policy:
    """The lane, or the group of the configuration, of this name. Raises UsageError as `find` does."""
    return _resolved(text, config, (), None)


def _resolved(text: str, config: Config, within: tuple[str, ...], file: Path | None) -> LaneSpec | Policy:
    group = config.groups.get(text)
    if group is None:
        return _found(text, config, file)
    if text in within:
        raise UsageError(f"the group {text!r} contains itself: {' > '.join((*within, text))}")
    file = config.untrusted.get(f"groups.{text}")
    lanes = [_resolved(lane, config, (*within, text), file) for lane in group.lanes]
    return _policy(text, group, lanes)


async def list_models(name: str, transport: Transport, config: Config = NOTHING_CONFIGURED) -> list[str]:
    """The models that the provider `name` offers now, asked over `transport`. Raises ProviderError, UsageError."""
    return await _models(_for_listing(name, config)[0], transport)


async def check_keys(name: str, transport: Transport) -> list[ProviderError | None]:
    """What the provider `name` says to each of its keys in the environment: None if it takes the key.

    Asks for the list of models, which costs nothing. Raises UsageError.
    """
    said: list[ProviderError | None] = []
    for provider in _for_listing(name, NOTHING_CONFIGURED):
        try:
            await _models(provider, transport)
            said.append(None)
        except ProviderError as error:
            said.append(error)
    return said


def _for_listing(name: str, config: Config) -> list[Provider]:
    if name not in entries():
        raise UsageError(unknown("provider", name, entries(), "`fanout providers` lists them all"))
    return _providers(Spec(LISTING, None, name, ""), Given(), config)[0]


async def _models(provider: Provider, transport: Transport) -> list[str]:
    request = provider.models_request()
    if request is None:
        raise NotFound(f"{provider.name} does not list its models")
    try:
        return provider.models(await fetch(transport, request, connect=5.0))
    except ProviderError as error:
        scrub(error, request.headers.values())
        raise


def _base(spec: Spec, config: Config, given: Given, within: tuple[str, ...], file: Path | None) -> Spec:
    """The spec that names a provider, below configured lanes; on the way back `given` takes what each says."""
    table = config.lanes.get(spec.name)
    base = spec
    if table is not None:
        if spec.name in within:
            raise UsageError(f"the lane {spec.name!r} is made of itself: {' > '.join((*within, spec.name))}")
        theirs = config.untrusted.get(f"lanes.{spec.name}")
        base = _base(Spec.of(table.spec), config, given, (*within, spec.name), theirs)
        given.add_table(table, theirs)
    elif spec.name in config.groups:
        raise UsageError(f"{spec.text}: {spec.name!r} is a group; it stands alone, without a label or options")
    elif spec.provider not in entries() and _plug_in("fanout.providers", spec.provider) is None:
        known = [*entries(), *config.lanes, *config.groups]
        raise UsageError(unknown("provider", spec.provider, known, "`fanout providers` lists them all"))
    given.add_query(spec, file)
    return base


def _providers(spec: Spec, given: Given, config: Config) -> tuple[list[Provider], Timeouts]:
    """The provider that a spec names, once for each of its keys, and its usual clocks."""
    entry = entries().get(spec.provider)
    if entry is None:
        plug_in = _plug_in("fanout.providers", spec.provider)
        assert plug_in is not None
        return [plug_in(spec.model or None)], NOTHING_SET
    model = spec.model or entry.default_model
    if not model and not entry.any_model and spec.text is not LISTING:
        raise UsageError(f"{spec.text}: which model? Write {entry.name}/MODEL; `fanout models {entry.name}` lists them")
    base_url = given.own.get("base_url") or entry.url_in_environment or entry.filled()
    check_base_url(base_url)
    try:
        credentials = _credentials(entry, base_url)
    except UsageError as error:  # this lane's misfortune, not that of those beside it
        return [Unusable(entry.name, model or None, base_url, str(error), f"fanout login {entry.name}")], entry.timeouts
    if entry.unofficial and base_url == entry.base_url and not credentials:
        _check_switched_on(entry, config)
    names = key_variables(entry, base_url, given)
    own = is_own(entry, base_url)
    settings: dict[str, Any] = {
        "name": entry.name,
        "model": model or None,
        "base_url": base_url,
        "key_env": names,
        "needs_key": entry.needs_key if own and "key_env" not in given.own else bool(names),
        "credentials": credentials,
        **{key: given.own[key] for key in ("web_search", "insecure") if key in given.own},
    }
    if entry.models_url and own:
        settings["models_url"] = entry.models_url
    if entry.wire == "openai":
        settings.update(ANY_SERVER)
    for quirk in _quirks(entry, base_url):
        settings.update(QUIRKS[quirk])
    if entry.keys == ("OPENAI_API_KEY",) and names:
        settings["organization"] = os.environ.get("OPENAI_ORG_ID")
        settings["project"] = os.environ.get("OPENAI_PROJECT_ID")
    wire = _wire(entry.wire)
    if "devices" in fields_dict(wire):
        settings["devices"] = _devices()
    if "web_search" in given.own and "web_search" not in fields_dict(wire):
        raise UsageError(f"{spec.text}: {entry.name} has no option web_search")
    accepted = {name: value for name, value in settings.items() if name in fields_dict(wire)}
    keys = list(keys_in_environment(names)) if "key" in fields_dict(wire) else []
    if (keys or credentials) and not given.own.get("insecure"):
        secret = f"the key in {' or '.join(names)}" if keys else "the login"
        check_secrecy(base_url, secret, given.own.get("proxy"))
    if not keys:
        return [wire(**accepted)], entry.timeouts
    return [wire(**accepted, key=Secret(key)) for key in keys], entry.timeouts


def _quirks(entry: Entry, base_url: str) -> tuple[str, ...]:
    """How the service speaks its wire. At another address than OpenAI's, `openai` is any server that speaks it."""
    moved = entry.name == "openai" and not (urlsplit(base_url).hostname or "").endswith("api.openai.com")
    return () if moved else entry.quirks


@cache
def _devices() -> dict[str, Any]:
    """What the service has registered us as, by account, for as long as this process lasts."""
    return {}


def _credentials(entry: Entry, base_url: str) -> Credentials | None:
    """The login that is kept, or set in the environment, for a service that people log in to."""
    if not entry.unofficial:
        return None
    from fanout.login import store  # noqa: PLC0415  # few lanes need it

    return store.load(entry.name, base_url)


def _check_switched_on(entry: Entry, config: Config) -> None:
    """Nobody asks an interface that nobody offers by accident. Raises UsageError."""
    named = [*os.environ.get("FANOUT_UNOFFICIAL", "").split(","), *(config.defaults.unofficial or ())]
    if entry.name not in (name.strip() for name in named):
        raise UsageError(
            f"{entry.name} is an unofficial interface ({entry.status}, evidence of {entry.evidence}) and off: "
            f"your own account and the site's terms apply. Switch it on with FANOUT_UNOFFICIAL={entry.name}, or "
            f'with unofficial = ["{entry.name}"] under [defaults] in fanout.toml'
        )


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
        # The kind may be a plug-in's, whose type nobody knows.
        return kind(*lanes, **{key: value for key, value in settings.items() if value is not None})  # type: ignore[no-any-return]
    except TypeError as error:
        raise UsageError(f"groups.{name}: {table.policy}: {str(error).partition(') ')[2] or error}") from None
    except UsageError as error:
        raise UsageError(f"groups.{name}: {error}") from None
