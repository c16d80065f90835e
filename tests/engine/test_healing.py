"""Circuits at work: real lanes, in virtual time, that share what they have learnt."""

import trio
from trio.testing import MockClock

from fanout import Fallback, Hedge, Race
from fanout.abc import Head, Request
from fanout.connections import Connections
from fanout.errors import CircuitOpen
from fanout.learning.circuits import Target
from fanout.learning.latencies import Key
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, said, watch, words

BROKEN: Script = [0.1, Head(500)]


def outage(until: float, tried: list[float]) -> Connections:
    """Returns connections over a service `a` that is broken until a time, and a good `b`."""

    def script(request: Request) -> Script:
        if "//a" not in request.url:
            return said("b")
        tried.append(trio.current_time())
        return BROKEN if trio.current_time() < until else said("a")

    return Connections(MemoryTransport(script))


async def test_an_outage_costs_six_tries_and_the_service_is_back_within_half_a_minute(
    autojump_clock: MockClock,
) -> None:
    tried: list[float] = []
    connections, won = outage(60, tried), []
    for number in range(40):
        await trio.sleep_until(4.0 * number)
        run = (await watch(Fallback(*words("a", "b")), connections)).run
        assert run.winner
        won.append((trio.current_time(), run.winner.lane))
    assert sum(at < 60 for at in tried) <= 6
    assert min(at for at, lane in won if lane == "a") <= 90
    assert {lane for at, lane in won if at > 90} == {"a"}


async def test_a_lane_whose_circuit_is_open_ends_at_once_and_the_next_starts(autojump_clock: MockClock) -> None:
    connections = outage(1e9, [])
    plan = Hedge(*words("a", "b"), after=5)
    for _ in range(5):
        await watch(plan, connections)
    seen = await watch(plan, connections)
    assert seen.end_at("a") == seen.start_at("b") == 0
    assert isinstance(seen.run["a"].error, CircuitOpen)


async def test_it_is_not_waited_for_either(autojump_clock: MockClock) -> None:
    connections = outage(1e9, [])
    for _ in range(5):
        await watch(Fallback(*words("a", "b")), connections)
    seen = await watch(Race(*words("a", "b")), connections, retries=5)
    assert seen.end_at("a") == 0


async def test_a_single_lane_is_always_asked_and_its_own_error_told(autojump_clock: MockClock) -> None:
    tried: list[float] = []
    connections = outage(1e9, tried)
    for _ in range(20):
        seen = await watch([Words("a")], connections, retries=0)
        assert seen.run["a"].error and seen.run["a"].error.kind == "server"
    assert len(tried) == 20


async def test_all_lanes_broken_cost_no_more_than_the_requests_and_the_budget(autojump_clock: MockClock) -> None:
    tried: list[float] = []
    connections = outage(1e9, tried)
    for _ in range(100):
        await watch([Words("a")], connections, retries=2)
    assert len(tried) <= 100 + 10


async def test_a_cancelled_probe_leaves_nothing_half_open_for_ever(autojump_clock: MockClock) -> None:
    tried: list[float] = []
    connections = outage(20, tried)
    for _ in range(5):
        await watch(Fallback(*words("a", "b")), connections)
    await trio.sleep(40)
    assert connections.memory
    circuit = connections.memory.circuits.find(Target(Key("a", "", None)))
    assert circuit
    with trio.move_on_after(0.05):  # while it probes
        await watch(Fallback(*words("a", "b")), connections)
    assert len(tried) == 6
    assert circuit.probe is None
    run = (await watch(Fallback(*words("a", "b")), connections)).run
    assert run.winner and run.winner.lane == "a"
    assert circuit.open_until is None


async def test_who_loses_a_race_has_neither_failed_nor_answered(autojump_clock: MockClock) -> None:
    def script(request: Request) -> Script:
        return [HANG] if "//a" in request.url else said("b")

    connections = Connections(MemoryTransport(script))
    for _ in range(20):
        await watch(Race(*words("a", "b")), connections)
    assert connections.memory
    assert connections.memory.circuits.find(Target(Key("a", "", None))) is None


async def test_a_call_with_a_transport_of_its_own_remembers_nothing(autojump_clock: MockClock) -> None:
    tried: list[float] = []
    transport = outage(1e9, tried).transport
    assert isinstance(transport, MemoryTransport)
    for _ in range(20):
        await watch(Fallback(*words("a", "b")), transport)
    assert len(tried) == 20
