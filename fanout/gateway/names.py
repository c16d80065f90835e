"""The names of models: a lane, a group of fanout.toml, or an expression; and what of a request suits which lane.

openai/gpt-5-mini?temperature=0        a lane, with options that change nothing but the answer
quick                                  a lane or group of fanout.toml
race:a,b                               the first lane that speaks
hedge:a,b@800ms                        the next lane when the one before has been silent for so long
hedge:a,b@p95                          or for longer than in 95 of its last 100 requests
fallback:a,b                           the next lane when the one before has failed
fastest:a,b                            the same, with the lane first that was fastest lately; @p95 hedges too
quorum:a,b,c@2                         the first answer, once so many lanes have one
consensus:a,b,c                        the answer that most lanes give; ->d has a judge decide a tie
best:a,b,c->d                          the answer that the judge d calls the best
fuse:a,b,c->d                          the answer that the judge d writes from those of the lanes
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from math import inf
from typing import Any
from urllib.parse import parse_qsl

from attrs import define, evolve, field, frozen

from fanout import catalog
from fanout.abc import Head, Policy, Provider, Reader, Request
from fanout.catalog.config import ALIASES, Config, GroupTable
from fanout.catalog.spec import Spec
from fanout.errors import InvalidRequest, UsageError
from fanout.gateway.dialects.asked import Asked, Fusion
from fanout.policies.best import Best
from fanout.policies.consensus import Consensus
from fanout.policies.fallback import Fallback
from fanout.policies.fastest import Fastest
from fanout.policies.fuse import Fuse
from fanout.policies.hedge import Hedge
from fanout.policies.quorum import Quorum
from fanout.policies.race import On, Race
from fanout.prompt import Options, Prompt
from fanout.settings import FROM_ONE, PACE, Setting, settings_of
from fanout.settings.timeouts import Timeouts
from fanout.wire.json_text import show

LONGEST = 4096
"""Characters of a model's name."""

MOST_LANES = 32
"""Lanes in one name, or in a list of spare models."""

KEPT = 5.0
"""Seconds for which a plan is kept: keys and logins that are stored meanwhile are used from then on."""

MOST_KEPT = 256
"""Plans that are kept."""

ALLOWED = {*settings_of(Options), *settings_of(Timeouts), *ALIASES, "web_search"} - {"body"}
"""The options of a lane that a client may set. Addresses, keys, proxies and files are the gateway's own business."""

WIRES = {"openai": "chat", "anthropic": "messages", "responses": "responses"}
"""The modules of providers, and the dialects with the same wire."""

_NO_WINNER = "{} gives every lane's answer, and a client takes one: name a lane, or a race"

_ON_TOKEN = ("race", "hedge", "fallback", "fastest")
_JUDGED = ("consensus", "best", "fuse")
_KINDS = (*_ON_TOKEN, "quorum", "all", *_JUDGED)
"""The words before the colon of an expression."""


@define
class Plans:
    """Finds plans in a configuration, and keeps them for KEPT seconds; times are those of any one clock."""

    config: Config
    _streaming: Config = field(init=False)
    _kept: dict[Any, tuple[Policy, float]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._streaming = _streaming(self.config)

    def find(self, asked: Asked, now: float) -> Policy:
        """Returns whom a request is put to, as `find_plan` does."""
        config = self._streaming if asked.stream else self.config
        if asked.fusion is not None:
            return _suited(_find_named(asked, config), asked)
        key = (asked.model, asked.models, asked.stream, asked.fastest)
        plan, since = self._kept.get(key, (None, 0.0))
        if plan is None or now - since > KEPT:
            plan = _find_named(asked, config)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = plan, now
        return _suited(plan, asked)


def find_plan(asked: Asked, config: Config) -> Policy:
    """Returns whom a request is put to. Raises UsageError for a name that there is not, or that a client may not use.

    A stream whose plan says nothing of what wins is won by the first token: nothing could be sent before the end else.
    """
    return Plans(config).find(asked, 0.0)


def _find_named(asked: Asked, config: Config) -> Policy:
    on: On = "first_token" if asked.stream else "finish"
    names = [asked.model, *asked.models]
    if len(names) > MOST_LANES or sum(map(len, names)) > LONGEST:
        raise UsageError(f"a model's name may have {LONGEST} characters and {MOST_LANES} lanes")
    named = _Names(config, on, fastest=asked.fastest)
    if asked.fusion is not None:
        return named.fuse(asked.fusion, asked.model)
    plans = [named.find(name) for name in dict.fromkeys(names)]
    plan = plans[0] if len(plans) == 1 else Fallback(*plans, on=on)
    if isinstance(plan, catalog.LaneSpec):
        plan = Race(plan, on=on)
    if not plan.chooses:
        raise UsageError(_NO_WINNER.format(show(asked.model)))
    return plan


def _suited(plan: Policy, asked: Asked) -> Policy:
    """The plan with the fields that only some wires have a place for; most requests have none.

    A judge who writes the answer has them too; one who only chooses is asked something else.
    """
    if not asked.own and not asked.betas:
        return plan
    suited = copy(plan)
    suited.lanes = tuple(_suit_one(one, asked) for one in plan.lanes)
    if isinstance(suited, Fuse):
        suited.judge = _suit_one(suited.judge, asked)
    return suited


def _suit_one(one: Any, asked: Asked) -> Any:
    return _suited(one, asked) if isinstance(one, Policy) else suit(one, asked)


@frozen
class _Names:
    """Finds plans by name, in a configuration."""

    config: Config
    on: On
    fastest: bool

    def find(self, name: str) -> catalog.LaneSpec | Policy:
        """Returns the lane or plan of a name or expression."""
        kind, colon, rest = name.partition(":")
        if colon and kind in _KINDS:
            return self._expression(kind, rest, name)
        if name not in self.config.groups and "," in name.partition("?")[0]:
            if not self.fastest:
                raise UsageError(f"{show(name)} names several lanes: write race:{name}, or set fastest_response")
            return Race(*self._lanes(name), on=self.on)
        return self._lane(name)

    def _expression(self, kind: str, rest: str, name: str) -> Policy:
        if kind == "all":
            raise UsageError(_NO_WINNER.format(show(name)))
        if kind in _JUDGED:
            return self._judged(kind, rest, name)
        words, at, more = rest.rpartition("@")
        if kind in ("race", "fallback"):
            lanes = self._lanes(rest)
            return Race(*lanes, on=self.on) if kind == "race" else Fallback(*lanes, on=self.on)
        if kind == "fastest":
            after = Setting(PACE).read("after", more) if at else inf
            return Fastest(*self._lanes(words if at else rest), after=after, on=self.on)
        if not at:
            form = "hedge:a,b@800ms" if kind == "hedge" else "quorum:a,b,c@2"
            raise UsageError(f"{show(name)} does not say when; write {form}")
        if kind == "hedge":
            return Hedge(*self._lanes(words), after=Setting(PACE).read("after", more), on=self.on)
        return Quorum(*self._lanes(words), k=Setting(FROM_ONE).read("k", more))

    def _judged(self, kind: str, rest: str, name: str) -> Policy:
        words, arrow, judge = rest.rpartition("->")
        if kind == "consensus":
            lanes = self._lanes(words if arrow else rest)
            return Consensus(*lanes, or_judge=self._lane(judge.strip()) if arrow else None)
        if not arrow or not judge.strip():
            raise UsageError(f"{show(name)} does not say who judges; write {kind}:a,b,c->d")
        kinds: Mapping[str, type[Best | Fuse]] = {"best": Best, "fuse": Fuse}
        return kinds[kind](*self._lanes(words), judge=self._lane(judge.strip()))

    def fuse(self, fusion: Fusion, model: str) -> Policy:
        """Returns the plan of a fusion that a client describes apart from the model's name."""
        if len(fusion.models) > MOST_LANES or sum(map(len, fusion.models)) > LONGEST:
            raise UsageError(f"a fusion may have {MOST_LANES} models, and {LONGEST} characters in their names")
        lanes = [self._lane(name) for name in fusion.models]
        return Fuse(*lanes, judge=self._lane(fusion.judge or model), criteria=fusion.criteria)

    def _lanes(self, text: str) -> list[catalog.LaneSpec | Policy]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise UsageError("an expression needs lanes, such as race:openai/gpt-5-mini,local")
        if len(names) > MOST_LANES:
            raise UsageError(f"a model's name may have {MOST_LANES} lanes")
        return [self._lane(name) for name in names]

    def _lane(self, name: str) -> catalog.LaneSpec | Policy:
        check_spec(name)
        return catalog.resolve(name, self.config)


def check_spec(text: str) -> None:
    """Raises UsageError for a lane spec with an option that a client may not set."""
    for name, _ in parse_qsl(Spec.of(text).query, keep_blank_values=True):
        if name not in ALLOWED:
            raise UsageError(f"a client may not set {show(name, 40)}; the gateway's own fanout.toml may")


def _streaming(config: Config) -> Config:
    """The configuration, in which groups that do not say what wins are won by the first token."""
    return evolve(config, groups={name: _on_token(group) for name, group in config.groups.items()})


def _on_token(group: GroupTable) -> GroupTable:
    return evolve(group, on="first_token") if group.on is None and group.policy in _ON_TOKEN else group


def streams(group: GroupTable) -> str:
    """Returns when a stream from this group begins: with the first token of an answer, or when one has won."""
    return "first_token" if group.policy == "fuse" or _on_token(group).on == "first_token" else "verdict"


def wire_of(provider: Provider) -> str:
    """Returns the dialect that a provider asks in, or its own name for the wire."""
    module = type(provider).__module__.rpartition(".")[2]
    return WIRES.get(module, module)


def lanes_of(plan: Policy) -> Iterator[catalog.LaneSpec]:
    """Yields the lanes of a plan, with those of the plans within it."""
    for lane in plan.lanes:
        if isinstance(lane, Policy):
            yield from lanes_of(lane)
        else:
            yield lane


def suit(lane: catalog.LaneSpec, asked: Asked) -> catalog.LaneSpec:
    """Returns the lane with the fields of a request that only its wire has a place for.

    A lane of another wire is left without those that are advice, and fails for any other.
    """
    if wire_of(lane.provider) == asked.wire:
        lane = evolve(lane, options=evolve(lane.options, body={**lane.options.body, **asked.own}))
        if asked.betas and asked.wire == "messages":
            providers = (_with_betas(provider, asked.betas) for provider in (lane.provider, *lane.spares))
            lane = evolve(lane, provider=next(providers), spares=tuple(providers))
        return lane
    extra = [name for name in asked.own if name not in asked.advice]
    if not extra:
        return lane
    unfit = Unfit(lane.provider.name, lane.provider.model, lane.provider.base_url, ", ".join(extra))
    return evolve(lane, provider=unfit, spares=())


@frozen
class Unfit(Provider):
    """Stands for a service that cannot be asked with these fields, because its wire has no place for them."""

    name: str
    model: str | None
    base_url: str
    fields: str

    def request(self, prompt: Prompt) -> Request:
        """Raises InvalidRequest."""
        raise self._error()

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Raises InvalidRequest: no answer can come to what was not asked."""
        raise self._error()

    def _error(self) -> InvalidRequest:
        return InvalidRequest(f"{self.name} has no place for {self.fields}; ask without")


def _with_betas(provider: Any, betas: Sequence[str]) -> Any:
    return evolve(provider, betas=(*provider.betas, *(beta for beta in betas if beta not in provider.betas)))
