"""A plan's lanes, ready to run: names looked up, settings checked and laid over each other, a group a policy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import trio
from attrs import define, evolve, field, fields_dict, frozen

from fanout import catalog
from fanout.abc import Hearing, OnLose, Policy, Provider, Transport
from fanout.catalog.config import Config
from fanout.catalog.spec import NO_OPTIONS
from fanout.catalog.trust import is_elsewhere
from fanout.connections import Connections, find_key
from fanout.engine.alarms import Alarms
from fanout.engine.attempt import Attempt
from fanout.engine.channel import Channel
from fanout.engine.group import Group
from fanout.engine.judging import Again
from fanout.engine.keys import Keys
from fanout.engine.lessons import Lessons
from fanout.engine.reask import ReaskingGroup
from fanout.engine.seats import Compound
from fanout.engine.staged import Staged
from fanout.errors import ConfigurationError, UsageError
from fanout.events import Reasoning
from fanout.learning.gates import Gate, Rivals
from fanout.learning.latencies import FIRST, Measure
from fanout.learning.pacing import Fixed, Pacer
from fanout.policies.race import JUDGED_WHOLE, Race
from fanout.prompt import Options
from fanout.prompt.history import History
from fanout.settings import COUNT, Setting, check_settings, explain_unknown
from fanout.settings.timeouts import DEFAULTS, Timeouts

if TYPE_CHECKING:
    from fanout.schema import Repair, Schema

JUDGE = "judge"
"""The name of a judge's lane."""

MAKE = 64
"""Lanes that are made between two looks at the sockets, which takes some milliseconds."""

Plan = Policy | Provider | catalog.LaneSpec | str
"""Anything that can stand as a lane: a spec, a provider, or another plan."""


class CallSettings(TypedDict, total=False):
    """The settings of `race`, `gather`, `ask`, `open_fanout` and `stream`.

    `transport` is one that is open, or a name: curl or httpx. `timeouts` are the clocks of all lanes, in seconds;
    `retries` says how often a lane is tried again, `on_lose` whether losers are cut off (`cancel`) or run on (`keep`).
    `deadline` bounds all lanes together, in seconds. `options` go over those of the prompt, and a lane's own over them:
    `options=Options(temperature=0)`. `system` is a system prompt, `conversation` that of an earlier run, to go on from,
    lane by lane. `config` is what `fanout.toml` says unless one is given. `schema` is what answers must be, and
    `repair`, `early`, `reask` and `strict_tools` say how they are judged: fanout.schema.Form tells all of them.
    """

    transport: Transport | str | None
    timeouts: Timeouts | None
    retries: int | None
    on_lose: OnLose
    deadline: float
    options: Options | None
    system: str | None
    conversation: History | None
    config: Config | None
    schema: Any
    repair: "Repair | None"
    early: bool
    reask: int
    strict_tools: bool


_FORM = ("schema", "repair", "early", "reask", "strict_tools")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "timeouts": (Timeouts, "Timeouts(first=10, total=60), in seconds"),
    "retries": (int, COUNT.words),
    "deadline": (int | float, "a number of seconds, math.inf for none"),
    "options": (Options, "Options(temperature=0, max_tokens=100)"),
    "system": (str, "a text"),
    "conversation": (History, "the conversation of an earlier run: a History"),
    "config": (Config, "what fanout.catalog.config.load returns"),
}
"""The types of a call's settings, and how to say them; None is the value of those that are not set."""


def check_call(given: CallSettings) -> None:
    """Raises UsageError for a setting that there is not, and for a value of another type or out of its range."""
    check_call_names(given, [*CallSettings.__annotations__])
    for name, value in given.items():
        kind, words = _KINDS.get(name, (object, ""))
        if not isinstance(value, kind) and (value is not None or name == "deadline"):
            raise UsageError(f"{name} takes {words}, not {value!r:.80}")
    if (timeouts := given.get("timeouts")) is not None:
        check_settings(timeouts)
    if (retries := given.get("retries")) is not None:
        Setting(COUNT).check("retries", retries)


def find_schema(given: CallSettings) -> "Schema | None":
    """Returns the schema among a call's settings, if there is one. Raises UsageError."""
    if given.keys().isdisjoint(_FORM):
        return None
    from fanout.schema import Schema  # noqa: PLC0415  # few calls have one

    form: Any = {name: value for name, value in given.items() if name in _FORM}
    return Schema.of(form)


def check_call_names(given: Mapping[str, object], known: Sequence[str]) -> None:
    """Raises UsageError for the first name that is none of a call's settings, and says where it belongs."""
    clocks = {name: f"timeouts=Timeouts({name}=…)" for name in fields_dict(Timeouts)}
    options = {name: f"options=Options({name}=…)" for name in fields_dict(Options)}
    for name in given:
        if name not in known:
            near = [*known, *clocks, *options]
            raise UsageError(
                explain_unknown("setting", name, near, f"there are {', '.join(known)}", {**clocks, **options})
            )


@frozen
class Settings:
    """The settings of all lanes of a call: its own, and below them the configuration's."""

    timeouts: Timeouts
    retries: int | None
    on_lose: OnLose
    config: Config
    history: History | None = None
    schema: "Schema | None" = None

    @classmethod
    def of(
        cls,
        timeouts: Timeouts | None,
        retries: int | None,
        on_lose: OnLose,
        config: Config,
        history: History | None = None,
        schema: "Schema | None" = None,
    ) -> "Settings":
        """The call's settings over the configuration's."""
        if on_lose not in ("cancel", "keep"):
            raise UsageError(f"on_lose must be cancel or keep, not {on_lose!r}")
        d = config.defaults
        clocks = (timeouts or Timeouts()).over(d.timeouts)
        return cls(clocks, d.retries if retries is None else retries, on_lose, config, history, schema)


@define
class Builder:
    """Makes the groups and attempts of one plan; `names` are those given so far, `counts` how often each was wanted.

    `judges` says that the lanes which are made now are judges: all have that name, and none goes on from before.
    """

    connections: Connections
    settings: Settings
    channel: Channel | None
    alarms: Alarms | None = None
    names: set[str] = field(factory=set)
    counts: dict[str, int] = field(factory=dict)
    judges: bool = False
    _measures: tuple[Measure, ...] = field(default=(FIRST,), init=False)
    """The first content, and what the groups around a lane wait by, the outermost first."""
    _rivals: Rivals = field(factory=Rivals, init=False)
    _enough: int = field(default=MAKE, init=False)
    _specs: dict[str, catalog.LaneSpec] = field(factory=dict, init=False)  # of lanes that may be asked again
    _found: dict[str, catalog.LaneSpec] = field(factory=dict, init=False)
    _clocks: dict[tuple[Timeouts, Timeouts], tuple[Timeouts, bool]] = field(factory=dict, init=False)

    async def build(self, plan: Plan | Sequence[Plan]) -> Group | Staged:
        """Makes the plan a group, a portion of lanes at a time where there are many. Raises UsageError."""
        if isinstance(plan, str):
            found = self._find(plan)
            plan = found if isinstance(found, Policy) else Race(found)
        policy = plan if isinstance(plan, Policy) else Race(*as_lanes(plan))
        return await self._group(policy, self.settings.schema, outermost=True)

    async def _group(self, policy: Policy, around: "Schema | None", *, outermost: bool = False) -> Group | Staged:
        """Makes a group. Its schema is the policy's own, or else that of the plan around it or of the call."""
        if not policy.lanes:
            raise UsageError("a plan needs at least one lane")
        schema = policy.schema or around
        if schema is not None and not policy.waits:
            raise UsageError(JUDGED_WHOLE.format("first_token"))
        lanes: list[Attempt | Compound] = []
        measure = Measure(policy.on == "finish", Reasoning in policy.speech)
        before = self._measures
        if policy.percentile is not None and measure not in before:
            self._measures = (*before, measure)
        for lane in policy.lanes:
            if len(self.names) >= self._enough:
                await trio.lowlevel.checkpoint()
                self._enough = len(self.names) + MAKE
            lanes.append(await self._lane(lane, policy, schema))
        self._measures = before
        if (hearing := policy.open_hearing()) is not None:
            return await self._staged(policy, lanes, hearing, schema)
        name, on_lose = type(policy).__name__.lower(), self.settings.on_lose
        pacer = self._pacer(policy, measure, lanes)
        if schema is not None and schema.reask and (policy.schema is not None or outermost):
            again = self._make_again(policy)
            return ReaskingGroup(name, policy, lanes, on_lose, schema, again, pacer)
        return Group(name, policy, lanes, on_lose, schema, pacer)

    def _pacer(self, policy: Policy, measure: Measure, lanes: Sequence[Attempt | Compound]) -> Pacer:
        """Makes the pacer of a group; a group within it is known by its first lane."""
        if policy.percentile is None and policy.explore is None:
            return Fixed(policy.pace)
        first = [lane if isinstance(lane, Attempt) else next(lane.attempts())[0] for lane in lanes]
        keys = [find_key(attempt.provider) for attempt in first]
        return self.connections.pacer(policy, measure, keys, [self._count_before(attempt.name) for attempt in first])

    async def _staged(
        self, policy: Policy, lanes: Sequence[Attempt | Compound], hearing: Hearing, schema: "Schema | None"
    ) -> Staged:
        """Makes a plan with judges: their lanes come after the others. What one writes must fit the schema too."""
        if schema is not None and schema.reask:
            self._make_again(policy)
        within, self.judges = self.judges, True
        on_lose, history = self.settings.on_lose, self.settings.history
        judges = []
        for index, judge in enumerate(hearing.plans):
            form = schema if index == hearing.writer else None
            below = [await self._lane(lane, judge, form) for lane in judge.lanes]
            judges.append(Group(JUDGE, judge, below, on_lose, form))
        self.judges = within
        turns = history.usual if history and not within else None
        return Staged(policy, lanes, hearing, judges, on_lose, turns, schema)

    def _make_again(self, policy: Policy) -> Again:
        """Returns what makes the lane that is asked again. Raises UsageError where that could not win."""
        if not isinstance(policy, Race):
            raise UsageError(
                f"reask is for race, hedge and fallback, and {type(policy).__name__} needs more than one lane"
            )
        return lambda attempt: self.attempt(self._specs[attempt.name])

    async def _lane(self, lane: Any, policy: Policy, schema: "Schema | None") -> Attempt | Compound:
        if isinstance(lane, str):
            lane = self._find(lane)
        elif isinstance(lane, catalog.LaneSpec):  # made by hand; what text said is checked already
            check_settings(lane.options)
            check_settings(lane.timeouts)
        if isinstance(lane, Policy):
            return await self._group(lane, schema)
        if isinstance(lane, Provider):
            _check_provider(lane)
            lane = catalog.LaneSpec(f"{lane.name}/{lane.model}" if lane.model else lane.name, lane)
        if not isinstance(lane, catalog.LaneSpec):
            raise UsageError(f"a lane is a spec like 'openai/gpt-5-mini', a provider or a plan, not {lane!r}")
        if schema is None:
            return self.attempt(lane, policy.retries)
        lane = evolve(lane, options=lane.options.over(Options(schema=schema.document)))
        attempt = self.attempt(lane, policy.retries)
        self._specs[attempt.name] = lane
        return attempt

    def _find(self, text: str) -> catalog.LaneSpec | Policy:
        """Looks a lane up, once for all that are the same: a provider serves many lanes, a policy but one group."""
        if (known := self._found.get(text)) is not None:
            return known
        try:
            found = catalog.resolve(text, self.settings.config)
            if isinstance(found, catalog.LaneSpec):
                _check_provider(found.provider)
        except ConfigurationError as error:
            found = catalog.make_unusable(text, error)
        if isinstance(found, catalog.LaneSpec):
            self._found[text] = found
        return found

    def _find_clocks(self, lane: catalog.LaneSpec) -> tuple[Timeouts, bool]:
        """Returns a lane's clocks, and True if nobody has set `first`; once for all lanes that say the same of them."""
        kind = lane.timeouts, lane.usual
        if (known := self._clocks.get(kind)) is None:
            call = self.settings.timeouts
            patient = lane.timeouts.over(call).first is None
            known = self._clocks[kind] = lane.timeouts.over(call.over(lane.usual)).over(DEFAULTS), patient
        return known

    def attempt(self, lane: catalog.LaneSpec, retries: int = 0) -> Attempt:
        """Makes one lane, which is tried again `retries` times unless the lane or the call says otherwise.

        A lane's own settings go before the call's, these before the provider's.
        """
        tries = (lane.retries, self.settings.retries, retries)
        name = self._unique(JUDGE if self.judges else lane.name)
        history = None if self.judges else self.settings.history
        lessons, gate = self._learn_of(lane)
        clocks, patient = self._find_clocks(lane)
        return Attempt(
            name,
            lane.provider,
            self.connections.by_proxy_of(lane),
            timeouts=clocks,
            retries=next(number for number in tries if number is not None),
            options=None if lane.options is NO_OPTIONS else lane.options,
            budget=self.connections.budget(lane.provider),
            keys=Keys(
                (lane.provider, *lane.spares),
                self.connections.known,
                self.connections.login_for(lane.provider),
                lane.keys == "round_robin",
            ),
            limiter=self.connections.limiter(lane.name, lane.concurrency),
            server_limiter=self.connections.server_limiter(lane),
            lessons=lessons,
            gate=gate,
            channel=self.channel,
            alarms=self.alarms,
            observer=self.connections.observer,
            patient=patient,
            elsewhere=is_elsewhere(lane.provider.name, lane.provider.base_url),
            turns=history.turns(name) if history else None,
        )

    def _learn_of(self, lane: catalog.LaneSpec) -> tuple[Lessons | None, Gate | None]:
        """Makes what a lane teaches with, and the gate to its service."""
        memory = self.connections.memory
        if memory is None:
            return None, None
        key = find_key(lane.provider)
        account = None if lane.spares else " or ".join(getattr(lane.provider, "key_env", ())) or "key"
        lessons = Lessons(key, memory.latencies, self._measures, memory.lengths, lane.on_cancel)
        return lessons, Gate(memory.circuits, key, account, self._rivals)

    def _count_before(self, name: str) -> int:
        """Counts the characters of the conversation that a lane goes on from."""
        turns = self.settings.history.turns(name) if self.settings.history else None
        return sum(len(message.text) for message in turns.messages) if turns else 0

    def _unique(self, name: str) -> str:
        """The name, or `name#2` and so on for the second of that name."""
        unique = name
        while unique in self.names:
            self.counts[name] = number = self.counts.get(name, 1) + 1
            unique = f"{name}#{number}"
        self.names.add(unique)
        return unique


def _check_provider(provider: Provider) -> None:
    """Raises ConfigurationError for one, a plug-in's perhaps, that cannot even say what it is."""
    kind = type(provider).__name__
    try:
        texts = {"name": provider.name, "model": provider.model or "", "base_url": provider.base_url}
        _ = provider.maker
    except Exception as error:
        raise ConfigurationError(f"the provider {kind} cannot be used: {type(error).__name__}: {error}") from error
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"the provider {kind} cannot be used: its {name} is no text but {value!r:.80}")


def as_lanes(lanes: Plan | Sequence[Plan]) -> Sequence[Plan]:
    """Several lanes, also where there is only one."""
    if isinstance(lanes, str) or not isinstance(lanes, Sequence):
        return (lanes,)
    return lanes
