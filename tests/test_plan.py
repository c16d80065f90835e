"""Settings that lie over each other, and the configuration's names."""

from functools import partial
from operator import itemgetter
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Race, Timeouts, catalog
from fanout.abc import Flow, Head, Policy, Reader, Request
from fanout.addresses.proxy import as_proxy
from fanout.catalog import LaneSpec, lookup
from fanout.catalog.config import Config, DefaultsTable, GroupTable, LaneTable
from fanout.connections import Connections
from fanout.credentials.secret import Secret
from fanout.errors import RateLimited, UsageError
from fanout.plan import Builder, Settings
from fanout.providers.openai import OpenAI
from fanout.transports.memory import HANG, MemoryTransport
from tests.words import Words, memory, said, watch, words

CONFIG = Config(
    lanes={
        "fast": LaneTable("openai/small?seed=1&first=9", first=5.0, key_env="", base_url="http://127.0.0.1:8000/v1"),
        "again": LaneTable("fast", temperature=0.0),
        "loop": LaneTable("loop"),
    },
    groups={
        "quick": GroupTable("race", ["fast", "local", "safe"], on="first_token"),
        "safe": GroupTable("fallback", ["fast", "local"], deadline=9.0, on_lose="keep"),
        "late": GroupTable("hedge", ["fast", "local"], after=0.5),
        "two": GroupTable("quorum", ["fast", "local"], k=2),
        "ring": GroupTable("race", ["local", "round"]),
        "round": GroupTable("all", ["ring"]),
        "odd": GroupTable("rase", ["local"]),
        "no_after": GroupTable("hedge", ["local"]),
        "no_k": GroupTable("quorum", ["local"], k=5),
        "extra": GroupTable("all", ["local"], after=1.0),
    },
)


def test_a_configured_lane_is_a_lane() -> None:
    found = catalog.find("fast", CONFIG)
    provider = found.provider
    assert isinstance(provider, OpenAI)
    assert (found.name, provider.model, provider.base_url, provider.needs_key) == (
        "fast",
        "small",
        "http://127.0.0.1:8000/v1",
        False,
    )
    assert (found.timeouts.first, found.options.seed) == (5, 1)


def test_a_configured_lane_may_be_made_of_another_and_take_options() -> None:
    found = catalog.find("x=again?seed=7", CONFIG)
    assert (found.name, found.options.seed, found.options.temperature, found.timeouts.first) == ("x", 7, 0, 5)


def test_a_configured_group_is_a_plan() -> None:
    quick: Any = catalog.resolve("quick", CONFIG)
    assert isinstance(quick, Race)
    assert [lane.name for lane in quick.lanes[:2]] == ["fast", "local"]
    safe = quick.lanes[2]
    assert isinstance(safe, Fallback)
    assert (safe.deadline, safe.on_lose) == (9, "keep")
    late, two = catalog.resolve("late", CONFIG), catalog.resolve("two", CONFIG)
    assert isinstance(late, Policy)
    assert late.pace == 0.5
    assert isinstance(two, fanout.Quorum)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("loop", "made of itself: loop > loop"),
        ("ring", "contains itself: ring > round > ring"),
        ("odd", "groups.odd.policy: there is no policy 'rase'; did you mean race"),
        ("no_k", "groups.no_k: k must be between 1 and the number of lanes, 1"),
        ("extra", "groups.extra: all: .*after"),
        ("quik", "did you mean quick"),
        ("x=quick", "is a group; it stands alone"),
        ("quick?seed=1", "is a group; it stands alone"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        catalog.resolve(name, CONFIG)


async def test_defaults_of_the_configuration_lie_below_the_calls(autojump_clock: MockClock) -> None:
    config = Config(defaults=DefaultsTable(first=3.0, retries=0))
    (answer,) = await fanout.gather("?", words("a"), transport=memory(a=[HANG]), config=config)
    assert answer.elapsed == 3
    (answer,) = await fanout.gather(
        "?", words("a"), transport=memory(a=[HANG]), config=config, timeouts=Timeouts(first=1)
    )
    assert answer.elapsed == 1
    transport = memory(a=[b"!no"])
    await fanout.gather("?", words("a"), transport=transport, config=config)
    assert len(transport.exchanges) == 1


async def test_no_more_lanes_of_a_name_run_at_once_than_allowed(autojump_clock: MockClock) -> None:
    (provider,) = words("a")
    transport = memory(a=said("x", first=1))
    lane = LaneSpec("a", provider, concurrency=1)
    seen = await watch(All(lane, lane, lane), transport)
    assert sorted(tagged.at for tagged in seen.events if isinstance(tagged.event, fanout.End)) == [1, 2, 3]
    assert [answer.ttft for answer in seen.run.answers] == [1, 1, 1]  # to wait for ourselves is not the service's time


async def test_a_lane_whose_turn_never_comes_times_out_with_the_group(autojump_clock: MockClock) -> None:
    (provider,) = words("a")
    lane = LaneSpec("a", provider, concurrency=1)
    seen = await watch(All(lane, lane), memory(a=[HANG]), deadline=2)
    assert [answer.status for answer in seen.run.answers] == ["timed_out", "timed_out"]
    assert seen.run.elapsed == 2


async def test_a_bound_holds_for_all_who_share_a_transport(autojump_clock: MockClock) -> None:
    (provider,) = words("a")
    connections = Connections(memory(a=said("x", first=1)))
    lane = LaneSpec("a", provider, concurrency=2)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(lambda: fanout.race("?", lane, transport=connections))
    assert trio.current_time() - began == 2


class Trips(Words):
    """A provider with a request before the one for the answer, and a last word to a service that is left."""

    def flow(self, prompt: fanout.Prompt) -> Flow:
        yield Request("GET", f"http://{self.name}/first")
        return self.request(prompt)

    def farewell(self, request: Request, reader: Reader | None) -> Request:
        return Request("POST", f"http://{self.name}/stop")


@pytest.mark.parametrize("proxy", ["http://me:pass-word-1@proxy:3128", "none", None])
async def test_all_requests_of_a_lane_go_by_way_of_its_proxy(proxy: str | None, autojump_clock: MockClock) -> None:
    lanes = [LaneSpec("a", Trips("a"), proxy=proxy), LaneSpec("b", Words("b"))]
    scripts: dict[str, Any] = {"http://a/": [b"x", HANG], "http://b/": said("y", first=5)}
    transport = MemoryTransport(lambda request: scripts.get(request.url, [b"x"]))
    await fanout.race("?", lanes, transport=transport)
    sent = [(exchange.request.url, exchange.request.proxy) for exchange in transport.exchanges]
    assert sorted(sent, key=itemgetter(0)) == [
        ("http://a/", as_proxy(proxy)),
        ("http://a/first", as_proxy(proxy)),
        ("http://a/stop", as_proxy(proxy)),
        ("http://b/", None),
    ]
    assert "pass-word-1" not in repr([lanes, transport.exchanges])


async def test_the_embedded_model_has_no_proxy() -> None:
    assert catalog.find("local?proxy=http://proxy:3128").proxy is None


def keyed(*keys: str) -> tuple[LaneSpec, list[Any]]:
    providers = [OpenAI("m", base_url="http://a/v1", key=Secret(key)) for key in keys]
    return LaneSpec("a", providers[0], spares=tuple(providers[1:])), list(providers)


class Limits:
    """A service that limits some keys, and says which key each request had."""

    def __init__(self, limited: dict[str, Head]) -> None:
        self.limited = limited
        self.used: list[str] = []

    def __call__(self, request: Request) -> list[Any]:
        key = request.plain_headers()["authorization"].removeprefix("Bearer ")
        self.used.append(key)
        answer = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        return [self.limited[key]] if key in self.limited else [answer]


async def test_a_limited_key_gives_way_to_the_next_and_stays_out_of_use(autojump_clock: MockClock) -> None:
    service = Limits({"k1": Head(429, {"retry-after": "30"})})
    connections = Connections(MemoryTransport(service))
    lane, _ = keyed("k1", "k2")
    assert (await fanout.race("?", lane, transport=connections, retries=0)).text == "x"
    assert service.used == ["k1", "k2"]
    await fanout.race("?", lane, transport=connections, retries=0)
    assert service.used == ["k1", "k2", "k2"]
    await trio.sleep(31)
    service.limited = {}
    await fanout.race("?", lane, transport=connections, retries=0)
    assert service.used[3:] == ["k1"]


async def test_when_all_keys_are_limited_the_lane_fails_with_the_services_wait(autojump_clock: MockClock) -> None:
    service = Limits({"k1": Head(429, {"retry-after": "30"}), "k2": Head(429, {"retry-after": "40"})})
    lane, _ = keyed("k1", "k2")
    (answer,) = await fanout.gather("?", lane, transport=MemoryTransport(service), retries=0)
    assert isinstance(answer.error, RateLimited)
    assert service.used == ["k1", "k2"]


def test_keys_are_found_as_a_comma_list_and_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL", "k1, k2,")
    monkeypatch.setenv("POOL_2", "k3")
    monkeypatch.setenv("POOL_4", "not in a row")
    found = catalog.find("openai/m?key_env=POOL")
    assert [p.key for p in (found.provider, *found.spares) if isinstance(p, OpenAI)] == list(
        map(Secret, ("k1", "k2", "k3"))
    )


def test_a_plug_in_provider_is_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        lookup, "_load_plug_in", lambda group, name: Words if (group, name) == ("fanout.providers", "w") else None
    )
    found = catalog.find("w/host?first=1")
    assert found.provider == Words("host")
    assert evolve(found, name="") == LaneSpec("", Words("host"), timeouts=Timeouts(first=1))


def test_ten_thousand_lanes_of_one_name_have_a_name_each_at_once() -> None:
    builder = Builder(Connections(memory()), Settings.of(None, None, "cancel", Config()), None)
    builder.names.update(("a#2", "a#5"))
    names = [builder._unique("a") for _ in range(10_000)]
    assert names[:5] == ["a", "a#3", "a#4", "a#6", "a#7"]
    assert len(set(names)) == 10_000
    assert builder.counts == {"a": 10_002}  # each number was looked at once


async def test_one_lane_is_made_without_a_plan_with_the_settings_of_all(autojump_clock: MockClock) -> None:
    settings = Settings.of(Timeouts(first=7), None, "cancel", Config())
    builder = Builder(Connections(memory(a=[HANG], b=[0.1, Head(500)])), settings, None)
    lanes = [LaneSpec("a", Words("a"), timeouts=Timeouts(idle=3)), LaneSpec("a", Words("b"), retries=2)]
    late, again = (builder.attempt(lane) for lane in lanes)
    assert (late.name, again.name) == ("a", "a#2")
    for attempt in (late, again):
        await attempt.run(fanout.Prompt.of("?"), trio.current_time() + 100)
    assert (late.answer.elapsed, late.tries, again.tries) == (7, 1, 3)


async def test_keys_in_rotation_are_used_in_turn_and_one_that_rests_is_passed_over(autojump_clock: MockClock) -> None:
    service = Limits({})
    connections = Connections(MemoryTransport(service))
    lane = evolve(keyed("k1", "k2", "k3")[0], keys="round_robin")
    for _ in range(6):
        await fanout.race("?", lane, transport=connections, retries=0)
    assert service.used == ["k1", "k2", "k3"] * 2
    service.limited = {"k2": Head(429, {"retry-after": "30"})}
    service.used.clear()
    for _ in range(6):
        await fanout.race("?", lane, transport=connections, retries=0)
    assert service.used.count("k2") == 1
    assert abs(service.used.count("k1") - service.used.count("k3")) <= 4


def test_the_rotation_of_keys_is_a_setting_of_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL", "k1,k2")
    assert catalog.find("openai/m?key_env=POOL&keys=round_robin").keys == "round_robin"
    with pytest.raises(UsageError, match="keys takes first or round_robin"):
        catalog.find("openai/m?key_env=POOL&keys=random")


async def test_a_server_has_a_bound_for_all_its_lanes_together(autojump_clock: MockClock) -> None:
    lanes = [
        f"{name}=openai/{name}?base_url=https://a.test/v1&key_env=&server_concurrency=2&concurrency=1" for name in "abc"
    ]
    answer = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    transport = MemoryTransport({"a.test": [1.0, answer]})
    connections = Connections(transport)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(partial(fanout.gather, "?", lanes, transport=connections))
    began = sorted(exchange.began for exchange in transport.exchanges)
    assert began == pytest.approx([0, 0, 1, 1, 2, 2])
