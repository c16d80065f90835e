"""Names to providers: the wires, the table of hosts, the lanes and groups of `fanout.toml`, and plug-ins."""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve, field, fields_dict, frozen

from fanout.abc import Access, Policy, Provider
from fanout.addresses import check_base_url, check_secrecy
from fanout.addresses.proxy import Proxy, as_proxy
from fanout.catalog.config import DEFAULTS, Config, GroupTable
from fanout.catalog.entries import LOCAL_MODEL, Entry, entries
from fanout.catalog.families import find_lanes
from fanout.catalog.keys import find_keys
from fanout.catalog.spec import NO_OPTIONS, NOTHING_SET, Given, Spec
from fanout.catalog.trust import is_elsewhere, is_own, key_variables
from fanout.credentials import Credentials, command
from fanout.credentials.secret import Secret
from fanout.errors import ConfigurationError, LoginRequired, Misconfigured, UsageError
from fanout.prompt import Options
from fanout.settings import explain_unknown
from fanout.settings.timeouts import Timeouts

DEFAULT_LANES = (
    "calm=local?temperature=0.2&top_p=0.9&seed=2&max_tokens=256",
    "even=local?temperature=0.5&body.min_p=0.1&seed=3&max_tokens=256",
    "lively=local?temperature=1.3&body.min_p=0.15&seed=6&max_tokens=256",
)
"""The lanes where there are no others: one embedded model under three options, so that a race is a real one."""

_LABEL = re.compile(r"\s*[\w.-]+=")
_SEPARATOR = re.compile("[/:]")
_NAME = re.compile(r"[\w.-]+")

LISTING = "the list of models"
"""In place of a spec's text: it needs no model."""

DEEPEST = 50
"""Lanes and groups that a lane or group may be made of, one within the other."""

MOST_LANES = 5000
"""Lanes and groups that a group may come to, with all that its groups contain."""

NOTHING_CONFIGURED = Config()

FOR_PROVIDERS = ("web_search", "insecure")
"""The settings of a lane that go to its provider, if it knows them."""

POLICIES = {
    "race": "Race",
    "hedge": "Hedge",
    "fallback": "Fallback",
    "fastest": "Fastest",
    "quorum": "Quorum",
    "consensus": "Consensus",
    "best": "Best",
    "fuse": "Fuse",
    "all": "All",
}
"""The policies of fanout.toml, and their classes' names; each stands in the module of `fanout.policies` of its name."""


@frozen
class LaneSpec:
    """One contestant: a provider under a name, with its own clocks, retries and options.

    `timeouts` are this lane's own; `usual` those of its provider, which give way to what the call says. `spares` are
    the same provider with further keys, of which each is used in its turn if `keys` is round_robin, and else the first
    that the service takes. At most `concurrency` lanes of this name run at once, and of all lanes of its server at most
    `server_concurrency`. `on_cancel` says what becomes of an answer that is cut off: it stops, it runs on and is billed
    whole, or that is unknown. Its requests go by way of `proxy`; None leaves it to the environment.
    """

    name: str
    provider: Provider
    timeouts: Timeouts = NOTHING_SET
    usual: Timeouts = NOTHING_SET
    retries: int | None = None
    options: Options = NO_OPTIONS
    spares: tuple[Provider, ...] = ()
    concurrency: int | None = None
    server_concurrency: int | None = None
    keys: str | None = None
    on_cancel: str = "unknown"
    proxy: Proxy | None = field(default=None, converter=as_proxy)


def providers() -> list[Entry]:
    """Every provider that a lane spec can name, the embedded model first; plug-ins are not among them."""
    return list(entries().values())


def find(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec:
    """The lane that `[name=]provider[/model][?option=value&…]` names; `:` may stand for the first `/`.

    Instead of a provider it may name a lane of the configuration. Raises UsageError for an unknown name or option, or
    where a model is missing, and says what there is.
    """
    return _find(text, config, None)


def _find(text: str, config: Config, file: Path | None) -> LaneSpec:
    """The lane that a spec names; `file` is where the spec stands, if that is not known to be the user's."""
    spec = Spec.of(text)
    _check_one(text, spec, config)
    given = Given()
    base = _find_base(spec, config, given, (), file)
    made, usual = _make_providers(base, given, config)
    for name in given.names:
        config.check_uncontested("lanes", name)
    return LaneSpec(
        name=spec.label or spec.name,
        provider=made[0],
        timeouts=given.timeouts(),
        usual=usual,
        retries=given.get("retries"),
        options=given.options(),
        spares=tuple(made[1:]),
        concurrency=given.get("concurrency"),
        server_concurrency=given.get("server_concurrency"),
        keys=given.get("keys"),
        on_cancel=entries()[base.provider].on_cancel if base.provider in entries() else "unknown",
        proxy=None if base.provider == "local" else given.get("proxy"),  # the embedded model has no network
    )


def _check_one(text: str, spec: Spec, config: Config) -> None:
    """Raises UsageError for several lanes in one text, as the command takes them: the second would be lost.

    Among the options a comma may be part of a text, and only what begins as a lane that there is opens one.
    """
    if spec.name in config.lanes:
        return
    queried = False
    for number, piece in enumerate(text.split(",")):
        name = (_LABEL.sub("", piece) if number else piece).partition("?")[0].strip()
        provider, *model = _SEPARATOR.split(name, maxsplit=1)
        known = provider in entries() if model else name in config.lanes or name in config.groups or name in entries()
        if number and (known or (model and not queried and _NAME.fullmatch(provider))):
            raise UsageError(f"{spec.text}: a comma opens another lane here; give a list of lanes, one text each")
        queried = queried or "?" in piece


def resolve(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec | Policy:
    """The lane, or the group of the configuration, of this name. Raises UsageError as `find` does."""
    return _resolve(text, config, (), None, count())


def _resolve(
    text: str, config: Config, within: tuple[str, ...], file: Path | None, made: Iterator[int]
) -> LaneSpec | Policy:
    config.check_unbroken("groups", text)
    group = config.groups.get(text)
    if next(made) > MOST_LANES:
        raise UsageError(f"the group {within[0]!r} comes to more than {MOST_LANES} lanes and groups")
    if group is None:
        return _find(text, config, file)
    if text in within:
        raise UsageError(f"the group {text!r} contains itself: {' > '.join((*within, text))}")
    config.check_uncontested("groups", text)
    if len(within) >= DEEPEST:
        raise UsageError(f"the group {within[0]!r} contains more than {DEEPEST} groups, one within the other")
    file = config.untrusted.get(f"groups.{text}")
    members = [_resolve_member(lane, config, (*within, text), file, made) for lane in group.members]
    judge = members.pop() if group.judge else None
    try:
        return _make_policy(text, group, members, judge)
    except UsageError as error:
        raise ConfigurationError(str(error)) from None


def _resolve_member(
    text: str, config: Config, within: tuple[str, ...], file: Path | None, made: Iterator[int]
) -> LaneSpec | Policy:
    """A lane of a group: what the file says wrongly of it ends it alone."""
    try:
        return _resolve(text, config, within, file, made)
    except ConfigurationError as error:
        return make_unusable(text, error)


def find_default_lanes(config: Config = NOTHING_CONFIGURED) -> list[str]:
    """Returns the specs where nobody names any: the configuration's, else the usual models of services with a key.

    Without a key, those of the embedded model.
    """
    keyed = (
        f"{entry.name}/{entry.default_model}"
        for entry in entries().values()
        if entry.default_model and entry.keys and entry.key_present and not _is_moved(entry)
    )
    return [*(config.defaults.lanes or keyed)] or [*DEFAULT_LANES]


def _is_moved(entry: Entry) -> bool:
    """True if the environment gives the provider another address, where its usual model may be unknown."""
    return is_elsewhere(entry.name, entry.url_in_environment or "")


def check_default_lane(text: str, config: Config) -> None:
    """Raises UsageError for a default lane that cannot be, or by which a project's file sends a key where it may not.

    What the environment or a table says wrongly is the misfortune of that lane alone, when it runs.
    """
    try:
        _resolve(text, config, (), config.untrusted.get(DEFAULTS), count())
    except ConfigurationError:
        return
    except UsageError as error:
        raise UsageError(f"{DEFAULTS} in fanout.toml: {error}") from None


def make_unusable(text: str, error: ConfigurationError) -> LaneSpec:
    """Makes the lane of a spec that cannot be used: it asks nobody, and fails with this error."""
    from fanout.chats.unusable import Unusable  # noqa: PLC0415  # few plans need it

    spec = Spec.of(text)
    return LaneSpec(spec.label or spec.name, Unusable(spec.provider, spec.model, "", Misconfigured(str(error))))


def find_for_listing(name: str, config: Config = NOTHING_CONFIGURED) -> list[Provider]:
    """Returns the provider `name` without a model, once for each of its keys. Raises UsageError."""
    if name not in entries() and _load_plug_in("fanout.providers", name) is None:
        raise UsageError(explain_unknown("provider", name, entries(), "`fanout providers` lists them all"))
    return _make_providers(Spec(LISTING, None, name, ""), Given(), config)[0]


def find_listed(text: str, config: Config = NOTHING_CONFIGURED) -> LaneSpec:
    """Returns the lane whose service's models are to be listed: a provider's name, or any lane. Raises UsageError."""
    if text in config.groups:
        lanes = ", ".join(config.groups[text].lanes)
        raise UsageError(f"{text} is a group; ask for the models of one of its lanes: {lanes}")
    known = {*entries(), *config.lanes}
    if text in config.lanes or re.search("[/:=?]", text):
        return find(text, config)
    if text not in known and _load_plug_in("fanout.providers", text) is None:
        form = "`fanout providers` lists what there is"
        raise UsageError(explain_unknown("provider or lane", text, known, form))
    return LaneSpec(text, find_for_listing(text, config)[0])


def _find_base(spec: Spec, config: Config, given: Given, within: tuple[str, ...], file: Path | None) -> Spec:
    """The spec that names a provider, below configured lanes; on the way back `given` takes what each says."""
    config.check_unbroken("lanes", spec.name)
    table = config.lanes.get(spec.name)
    base = spec
    if table is not None:
        if spec.name in within:
            raise UsageError(f"the lane {spec.name!r} is made of itself: {' > '.join((*within, spec.name))}")
        given.names.append(spec.name)
        if len(within) >= DEEPEST:
            raise UsageError(f"the lane {within[0]!r} is made of more than {DEEPEST} lanes, one of the other")
        theirs = config.untrusted.get(f"lanes.{spec.name}")
        try:
            base = _find_base(Spec.of(table.spec), config, given, (*within, spec.name), theirs)
            given.add_table(table, theirs)
        except ConfigurationError:
            raise
        except UsageError as error:
            raise ConfigurationError(f"lanes.{spec.name}: {error}") from None
    elif spec.name in config.groups:
        raise UsageError(f"{spec.text}: {spec.name!r} is a group; it stands alone, without a label or options")
    elif spec.provider not in entries() and _load_plug_in("fanout.providers", spec.provider) is None:
        raise UsageError(_explain_unknown(spec, config))
    given.add_query(spec, file)
    return base


def _explain_unknown(spec: Spec, config: Config) -> str:
    known = [*entries(), *config.lanes, *config.groups]
    if lanes := find_lanes(spec.name):
        return f"which provider? {spec.name} is a model's name; write {' or '.join(lanes)}"
    if spec.model:
        return explain_unknown("provider", spec.provider, known, "`fanout providers` lists them all")
    # Mostly a model without its provider, whose name is like nothing here: only what is very near is meant, and of
    # what has a digit or a hyphen as models have, not even that.
    form = "a lane is PROVIDER/MODEL, such as openai/gpt-5-mini, or a name in fanout.toml"
    return explain_unknown(
        "provider, lane or group",
        spec.provider,
        known,
        form,
        nearness=0.9 if re.search(r"[\d-]", spec.provider) else 0.75,
    )


def _make_providers(spec: Spec, given: Given, config: Config) -> tuple[list[Provider], Timeouts]:
    """The provider that a spec names, once for each of its keys, and its usual clocks."""
    entry = entries().get(spec.provider)
    if entry is None:
        plug_in = _load_plug_in("fanout.providers", spec.provider)
        assert plug_in is not None
        return [plug_in(spec.model or None)], NOTHING_SET
    elsewhere = is_elsewhere(entry.name, given.get("base_url") or "")
    # Whoever speaks a provider's wire at another address need not know its usual model.
    model = spec.model or (None if entry.keys and elsewhere else entry.default_model)
    if entry.default_model == LOCAL_MODEL != model and not elsewhere:
        raise UsageError(f"{spec.text}: the embedded model is `local`, or local/{LOCAL_MODEL}; there is no other")
    if not model and not entry.any_model and spec.text is not LISTING:
        raise UsageError(f"{spec.text}: which model? Write {entry.name}/MODEL; `fanout models {entry.name}` lists them")
    base_url = given.get("base_url") or entry.url_in_environment or entry.fill_in()
    if given.get("base_url"):
        check_base_url(base_url)
    else:
        _blame_environment(entry, partial(check_base_url, base_url))
    try:
        credentials = _load_login(entry, base_url)
    except UsageError as error:  # this lane's misfortune, not that of those beside it
        typed = command("login", entry.name, base_url, entry.base_url)
        from fanout.chats.unusable import Unusable  # noqa: PLC0415  # few lanes need it

        needed = LoginRequired(str(error), command=typed)
        return [Unusable(entry.name, model or None, base_url, needed)], entry.timeouts
    if entry.unofficial and base_url == entry.base_url and not credentials:
        _check_switched_on(entry, config)
    names = key_variables(entry, base_url, given)
    own = is_own(entry, base_url)
    wire = _load_wire(f"fanout.{'chats' if entry.unofficial else 'providers'}.{entry.wire}")
    if "web_search" in given.values and not wire.takes("web_search"):
        raise UsageError(f"{spec.text}: {entry.name} has no option web_search")
    access = Access(
        entry.name,
        model or None,
        base_url,
        key_env=names,
        needs_key=entry.needs_key if own and given.get("key_env") is None else bool(names),
        credentials=credentials,
        models_url=entry.models_url if own else None,
        quirks=entry.quirks,
        given={name: given.values[name] for name in FOR_PROVIDERS if name in given.values},
    )
    found = find_keys(names) if wire.takes("key") else None
    keys = found.keys if found else ()
    if (keys or credentials) and not given.get("insecure"):
        secret = f"the key in {' or '.join(names)}" if keys else "the login"
        proxy = as_proxy(given.get("proxy"))
        check = partial(check_secrecy, base_url, secret, proxy.host if proxy else None)
        if given.get("base_url") or proxy:
            check()
        else:
            _blame_environment(entry, check)
    if not keys:
        return [wire.from_access(access)], entry.timeouts
    return [wire.from_access(evolve(access, key=Secret(key))) for key in keys], entry.timeouts


def _blame_environment(entry: Entry, check: Callable[[], None]) -> None:
    """Makes what `check` raises of an address in the environment that lane's misfortune. Raises ConfigurationError."""
    try:
        check()
    except UsageError as error:
        raise ConfigurationError(f"{entry.base_url_env or entry.name}: {error}") from None


def _load_login(entry: Entry, base_url: str) -> Credentials | None:
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


@cache
def _load_wire(name: str) -> type[Provider]:
    """Returns the class that speaks the wire of a module: it alone has the module's name."""
    module = import_module(name)
    own = name.rpartition(".")[2]
    wire: type[Provider] = next(getattr(module, found) for found in vars(module) if found.lower() == own)
    return wire


def _load_plug_in(group: str, name: str) -> Callable[..., Any] | None:
    """Loads the plug-in that an installed package registered under this name, if any; built-in names go before."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # takes longer than a lane's whole lookup

    found = list(entry_points(group=group, name=name))
    return found[0].load() if found else None


SETTINGS = sorted(set(fields_dict(GroupTable)) - {"policy", "lanes", "judge", "schema", "place"})
"""The settings of a group that its policy takes under the same names."""


def _make_policy(
    name: str, table: GroupTable, lanes: list[LaneSpec | Policy], judge: LaneSpec | Policy | None = None
) -> Policy:
    kind: Any
    if own := POLICIES.get(table.policy):
        kind = getattr(import_module(f"fanout.policies.{table.policy}"), own)
    else:
        kind = _load_plug_in("fanout.policies", table.policy)
    if kind is None:
        near = explain_unknown("policy", table.policy, POLICIES, f"there are {', '.join(POLICIES)}")
        raise UsageError(f"groups.{name}.policy: {near}")
    settings = {key: getattr(table, key) for key in SETTINGS}
    settings["or_judge" if table.policy == "consensus" else "judge"] = judge
    if table.schema is not None:
        from fanout.schema.forms import read_given  # noqa: PLC0415  # few groups have one

        try:
            settings["schema"] = read_given(table.schema, table.place)
        except UsageError as error:
            raise UsageError(f"groups.{name}.schema: {error}") from None
    try:
        # The kind may be a plug-in's, whose type nobody knows.
        return kind(*lanes, **{key: value for key, value in settings.items() if value is not None})  # type: ignore[no-any-return]
    except TypeError as error:
        raise UsageError(f"groups.{name}: {table.policy}: {str(error).partition(') ')[2] or error}") from None
    except UsageError as error:
        raise UsageError(f"groups.{name}: {error}") from None
