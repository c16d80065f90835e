"""The public calls: race, gather, ask, open_fanout; and what a service offers: fetch_file, list_models, check_keys."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from math import inf
from typing import Any, Unpack

import trio
from attrs import evolve

from fanout import catalog
from fanout.abc import Accept, Login, Observer, Policy, Provider, Transport
from fanout.answers import Answer, Run, Spent, Wasted
from fanout.answers.certain import Certain
from fanout.answers.prices import cost
from fanout.catalog.config import Config, load
from fanout.connections import KEEPER, Connections, open_memory
from fanout.engine.alarms import open_alarms
from fanout.engine.channel import Channel
from fanout.engine.costs import look_up_prices, price
from fanout.engine.group import Group
from fanout.engine.observer import tell
from fanout.engine.staged import Staged
from fanout.engine.turns import collect_turns
from fanout.engine.watch import format_age
from fanout.errors import AllLanesFailed, ProviderError, UsageError
from fanout.errors.unwrapped import unwrapping
from fanout.events import File, Tagged
from fanout.plan import Builder, CallSettings, Plan, Settings, as_lanes, check_call, check_call_names, find_schema
from fanout.policies.all import All
from fanout.policies.race import On, Race, has_answer
from fanout.prompt import Message, Options, Prompt
from fanout.settings import check_settings
from fanout.transports.download import download
from fanout.transports.fetch import fetch_models

Asked = str | Sequence[Message | Mapping[str, Any]] | Prompt
"""A prompt as callers have it: a string, a list of OpenAI message dicts, or a Prompt."""


@asynccontextmanager
async def open_transport(
    name: str | None = None, *, login: Login | None = None, remember: bool = False
) -> AsyncGenerator[Connections]:
    """Opens connections for several calls: they are kept alive, and the embedded model keeps running, until the end.

    `name` is curl or httpx; without it, curl carries the requests wherever it runs. `login` gets credentials for
    services that people log in to; usually those that `fanout login` has stored. What the calls learn of services holds
    until the end; `remember` begins with what earlier runs have learnt, and keeps it for later ones, as the command
    does. Raises UsageError.
    """
    _check_loop("open_transport")
    from fanout.local.server import LocalModel  # noqa: PLC0415  # many runs need no embedded model
    from fanout.transports.choice import choose_transport  # noqa: PLC0415  # tests and users bring their own

    async with open_memory(kept=remember) as memory, choose_transport(name) as http, LocalModel.open(http) as transport:
        yield Connections(transport, login=login, memory=memory, home=trio.lowlevel.current_trio_token())


class Fanout:
    """A running fan-out: iterate over it for the Tagged events of all lanes, until all have ended."""

    def __init__(self, group: Group | Staged, channel: Channel | None = None) -> None:
        self._group = group
        self._channel = channel or Channel(trio.current_time())
        self.started = self._channel.zero
        """The Trio time at which the prompt was put, from which every `at` counts."""

    def __repr__(self) -> str:
        state = "over" if self._group.over else "runs"
        ended_at = self._group.ended_at
        age = format_age(self.started, None if ended_at is None else ended_at - self.started)
        return f"<Fanout {', '.join(self.lanes)} {state}{age}>"

    @property
    def lanes(self) -> list[str]:
        """The names of all lanes, in the order of the plan."""
        return [attempt.name for attempt, _ in self._group.attempts()]

    @property
    def winner(self) -> Answer | None:
        """The answer that the plan chose, if it has."""
        if (chosen := self._group.chosen) is None:
            return None
        answer = chosen.answer
        return evolve(answer, cost=cost(answer)) if self._group.over else answer

    @property
    def settled(self) -> Answer | None:
        """The answer so far of the only lane that has not lost: the winner's, from the verdict on; else None."""
        attempt = self._group.settled
        return None if attempt is None else attempt.answer

    @property
    def run(self) -> Run:
        """The run so far; complete, and with its cost, once the iteration has ended."""
        answers: dict[str, Answer] = {}
        keeps: list[Answer] = []
        beside: list[Answer] = []
        lost: list[Answer] = []
        overhead = {attempt.name for attempt in self._group.overhead()}
        for attempt, seat, kept in self._group.places():
            answer = seat.answer
            if self._group.over:
                answer = price(attempt, answer)
            answers[answer.lane] = answer
            if kept:
                keeps.append(answer)
            elif answer.status and answer.lane in overhead:
                beside.append(answer)
            elif answer.status:
                lost.append(answer)
        shown = winner.lane if (winner := self.winner) else None
        ended_at = self._group.ended_at
        hearings = list(self._group.hearings())
        return Run(
            answers=tuple(answers.values()),
            winner=answers[shown] if shown else None,
            conversation=collect_turns(self._group, answers, shown) if self._group.over else None,
            wasted=Wasted.of(lost, keeps),
            elapsed=(trio.current_time() if ended_at is None else ended_at) - self.started,
            kept=tuple(keeps),
            overhead=Spent.of(beside),
            votes=self._group.votes,
            verdicts=tuple(verdict for hearing in hearings for verdict in hearing.verdicts),
            analysis=next((hearing.analysis for hearing in hearings if hearing.analysis is not None), None),
        )

    @property
    def failure(self) -> AllLanesFailed | None:
        """Every lane's error, if the fan-out is over and gave no answer."""
        group = self._group
        answered = group.winner is not None if group.chooses else any(kept for _, kept in group.attempts())
        if not group.over or answered:
            return None
        errors = list(self._group.errors())
        return AllLanesFailed("no lane gave an answer", errors) if errors else None

    def cancel(self, lane: str | None = None) -> None:
        """Ends one lane, which to its policy is a failure; without a name all of them, and starts no other."""
        if lane is None:
            self._group.cancel()
            return
        for attempt, _ in self._group.attempts():
            if attempt.name == lane:
                attempt.cancel()

    def __aiter__(self) -> "Fanout":
        return self

    async def __anext__(self) -> Tagged:
        return await self._channel.__anext__()

    async def take(self) -> Sequence[Tagged]:
        """Waits for events, and takes all that are there. Raises StopAsyncIteration after the last."""
        return await self._channel.take()


@asynccontextmanager
async def open_fanout(
    prompt: Asked, plan: Plan | Sequence[Plan], **settings: Unpack[CallSettings]
) -> AsyncGenerator[Fanout]:
    """Puts `prompt` to the lanes of `plan`; when the block is left, nothing of it remains, here or upstream.

    A list of lanes is a Race. CallSettings says what the settings are. Raises UsageError.
    """
    _check_loop("open_fanout")
    async with (
        _open(prompt, plan, settings, Channel(trio.current_time())) as (fanout, run),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run)
        yield fanout
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open(
    prompt: Asked, plan: Plan | Sequence[Plan], given: CallSettings, channel: Channel | None = None
) -> AsyncGenerator[tuple[Fanout, Callable[[], Awaitable[None]]]]:
    """Makes all that a fan-out needs, and the function that runs it to its end; `channel` takes its events, if any."""
    check_call(given)
    asked = Prompt.of(prompt, given.get("system")).with_options(given.get("options") or Options())
    check_settings(asked.options)
    config = given.get("config")
    settings = Settings.of(
        given.get("timeouts"),
        given.get("retries"),
        given.get("on_lose", "cancel"),
        load() if config is None else config,
        given.get("conversation"),
        find_schema(given),
    )
    async with AsyncExitStack() as stack:
        connections = await _connections(given.get("transport") or settings.config.defaults.transport, stack)
        alarms = await stack.enter_async_context(open_alarms())
        group = await Builder(connections, settings, channel, alarms).build(plan)
        fanout = Fanout(group, channel)
        with unwrapping():
            until = fanout.started + given.get("deadline", inf)
            yield fanout, partial(_run_to_end, fanout, group, asked, until, connections.observer, channel)


_BLOCKS = ("open_fanout", "open_transport", "stream")
"""The calls that are context managers."""


def _check_loop(name: str) -> None:
    """Raises UsageError where Trio does not run, with the module whose function of this name is the one to use."""
    if trio.lowlevel.in_trio_run():
        return
    if _runs_asyncio():
        call = f"fanout.aio.{name}(…)"
        usage = f"async with {call}" if name in _BLOCKS else f"await {call}"
        raise UsageError(f"fanout.{name} runs on Trio, and here runs asyncio: {usage}")
    call = f"fanout.sync.{name}(…)"
    usage = f"with {call}" if name in _BLOCKS else call
    raise UsageError(f"fanout.{name} runs in an async function that trio.run runs; without a loop: {usage}")


def _runs_asyncio() -> bool:
    asyncio = sys.modules.get("asyncio")  # if it was not even imported, it does not run
    with suppress(RuntimeError):
        return asyncio is not None and asyncio.get_running_loop() is not None
    return False


async def _run_to_end(
    fanout: Fanout,
    group: Group | Staged,
    prompt: Prompt,
    until: float,
    observer: Observer | None,
    channel: Channel | None,
) -> None:
    crashed = False
    try:
        await group.run(prompt, until)
        await look_up_prices(group)
    except Exception:
        crashed = True
        raise
    finally:
        if observer is not None:
            lanes = [attempt for attempt, _ in group.attempts()]
            tell(observer, "run_ended", fanout.run, lanes, trio.current_time())
        if channel is not None and not crashed:  # else whoever reads is cancelled, and the exception comes out alone
            channel.close()


class Stream:
    """The text of the lane that wins, as it comes: iterate over it, once."""

    def __init__(self, fanout: Fanout, certain: Certain) -> None:
        self._fanout = fanout
        self._certain = certain

    @property
    def lane(self) -> str | None:
        """The name of the lane whose text it is, None before that is certain."""
        return self._certain.lane

    @property
    def run(self) -> Run:
        """The run so far; complete, and with its cost, once the iteration has ended."""
        return self._fanout.run

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> str:
        async for tagged in self._fanout:
            if piece := self._certain.event(tagged, self._name_winner):
                return piece
        return self._say_last()

    async def take(self) -> Sequence[str]:
        """Waits for text, and takes all that is there; otherwise like the iteration."""
        pieces: list[str] = []
        while not pieces:
            try:
                events = await self._fanout.take()
            except StopAsyncIteration:
                return [self._say_last()]
            pieces = [piece for tagged in events if (piece := self._certain.event(tagged, self._name_winner))]
        return pieces

    def _say_last(self) -> str:
        """Returns the text that is left when there are no more events. Raises StopAsyncIteration, or the failure.

        The failure of the run, or of the answer whose beginning was given where that broke off.
        """
        if piece := self._certain.close(self._name_winner):
            return piece
        failure = self._fanout.failure
        if failure is None and self.lane is not None and (error := self.run[self.lane].error) is not None:
            failure = AllLanesFailed("the answer broke off", [error])
        if failure is not None:
            raise failure from None
        raise StopAsyncIteration

    def _name_winner(self) -> str | None:
        winner = self._fanout.winner
        return None if winner is None else winner.lane


@asynccontextmanager
async def stream(
    prompt: Asked, plan: Plan | Sequence[Plan], **settings: Unpack[CallSettings]
) -> AsyncGenerator[Stream]:
    """Gives the winner's text from the verdict on, and that of a lane at once where no other is left to win.

    `async with fanout.stream(prompt, lanes) as text:`, and in it `async for piece in text:`. A list of lanes is a Race
    on the first token, or with a `schema` on the whole answer; CallSettings says what the settings are. When the block
    is left, nothing of it remains, here or upstream. The iteration raises AllLanesFailed when no lane gives an answer,
    also after the beginning of one; a text that its service rewrites afterwards is not taken back. Raises UsageError.
    """
    _check_loop("stream")
    if isinstance(plan, str):
        settings["config"] = config = settings.get("config") or load()
        plan = catalog.resolve(plan, config)
    if not isinstance(plan, Policy):
        plan = Race(*as_lanes(plan), on="first_token" if settings.get("schema") is None else "finish")
    if not plan.chooses:
        raise UsageError(f"{type(plan).__name__} chooses no winner; use open_fanout")
    async with open_fanout(prompt, plan, **settings) as fanout:
        yield Stream(fanout, Certain(fanout.lanes, last_counts=settings.get("schema") is None and _takes_all(plan)))


def _takes_all(plan: Any) -> bool:
    """True if no `accept` of the plan's author may refuse an answer."""
    return not isinstance(plan, Policy) or (
        plan.schema is None
        and plan.accept in (None, has_answer)
        and all(map(_takes_all, plan.lanes))
        and isinstance(plan, Race)
    )


async def _fan_out(prompt: Asked, plan: Plan | Sequence[Plan], settings: CallSettings) -> Fanout:
    """Like open_fanout, run to its end, for callers who need no events."""
    async with _open(prompt, plan, settings) as (fanout, run):
        await run()
    return fanout


async def ask(prompt: Asked, plan: Plan | Sequence[Plan], **settings: Unpack[CallSettings]) -> Run:
    """Puts `prompt` to the lanes of `plan` and returns what became of each; CallSettings says what the settings are.

    Never raises for what a service did: where no lane gave an answer, `run.winner` is None and each answer has its
    error. Raises UsageError.
    """
    _check_loop("ask")
    return (await _fan_out(prompt, plan, settings)).run


async def race(
    prompt: Asked,
    lanes: Plan | Sequence[Plan],
    *,
    on: On = "finish",
    accept: Accept | None = None,
    **settings: Unpack[CallSettings],
) -> Answer:
    """Returns the answer of the lane that wins; CallSettings says what the settings are.

    Raises AllLanesFailed with every lane's typed error when none does, and UsageError.
    """
    _check_loop("race")
    check_call_names(settings, ("on", "accept", *CallSettings.__annotations__))
    if isinstance(lanes, Policy):
        if on != "finish" or accept:
            raise UsageError("a plan has its own on and accept: give them to it, not to race")
        if not lanes.chooses:
            raise UsageError(f"{type(lanes).__name__} chooses no winner; use ask or gather")
    plan = lanes if isinstance(lanes, Policy) else Race(*as_lanes(lanes), on=on, accept=accept)
    fanout = await _fan_out(prompt, plan, settings)
    winner = fanout.winner
    if winner is None:
        raise fanout.failure or UsageError("this plan chooses no winner; use ask or gather")
    return winner


async def gather(prompt: Asked, lanes: Plan | Sequence[Plan], **settings: Unpack[CallSettings]) -> list[Answer]:
    """Returns every lane's answer, aligned with the lanes (of a nested plan, all of its lanes), none dropped.

    CallSettings says what the settings are. Never raises for what a service did: a failed answer has its error and the
    text up to it. Raises UsageError.
    """
    _check_loop("gather")
    plan = lanes if isinstance(lanes, Policy) else All(*as_lanes(lanes))
    return list((await _fan_out(prompt, plan, settings)).run.answers)


async def fetch_file(file: File, *, transport: Transport | str | None = None, total: float = 60.0) -> bytes:
    """The bytes of a file in an answer: its own, or what its request or its https address gives within `total` seconds.

    Only requests without credentials are redirected, and never away from https. Raises ProviderError when the bytes did
    not arrive or are too many, and UsageError for a file without bytes or an address of another kind.
    """
    _check_loop("fetch_file")
    await trio.lowlevel.checkpoint()
    if file.data is not None:
        return file.data
    async with AsyncExitStack() as stack:
        return await download(await _connections(transport, stack), file, total)


async def list_models(
    name: str, *, transport: Transport | str | None = None, config: Config | None = None
) -> list[str]:
    """Returns the names of the models that the provider, or the service of the lane, `name` offers now.

    Raises ProviderError, UsageError.
    """
    _check_loop("list_models")
    lane = catalog.find_listed(name, load() if config is None else config)
    async with AsyncExitStack() as stack:
        return await fetch_models((await _connections(transport, stack)).by_proxy_of(lane), lane.provider)


async def check_keys(name: str, *, transport: Transport | str | None = None) -> list[ProviderError | None]:
    """Asks the provider `name` whether it takes its keys in the environment: for each None, or the error.

    Asks for the list of models, which costs nothing. Raises UsageError.
    """
    _check_loop("check_keys")
    providers = catalog.find_for_listing(name)
    said: list[ProviderError | None] = [None] * len(providers)

    async def check(number: int, provider: Provider) -> None:
        try:
            await fetch_models(connections, provider)
        except ProviderError as error:
            said[number] = error

    async with AsyncExitStack() as stack:
        connections = await _connections(transport, stack)
        async with trio.open_nursery() as nursery:  # at once: a silent service takes all of its time
            for number, provider in enumerate(providers):
                nursery.start_soon(check, number, provider)
    return said


async def _connections(transport: Transport | str | None, stack: AsyncExitStack) -> Connections:
    if isinstance(transport, Connections):
        if transport.home not in (None, trio.lowlevel.current_trio_token()):
            raise UsageError(
                "this transport was opened in another loop: open it by open_transport of the module that is called, "
                "fanout, fanout.aio or fanout.sync; the last two share theirs"
            )
        return transport
    if transport is not None and not isinstance(transport, str):
        return Connections(transport)
    if keeper := KEEPER.get():
        return await keeper.connections(transport)
    return await stack.enter_async_context(open_transport(transport))
