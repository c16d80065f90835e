import pytest

from fanout.errors import (
    AuthError,
    CircuitOpen,
    InvalidRequest,
    LoginRequired,
    Overloaded,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
)
from fanout.learning.circuits import Circuits, Target
from fanout.learning.gates import Gate, Rivals
from fanout.learning.latencies import Key

A, B = Key("a", "", None), Key("b", "", None)


def broken(*services: Key, at: float = 0.0, key: str | None = None) -> Circuits:
    circuits = Circuits()
    for service in services:
        for _ in range(5):
            circuits.touch(Target(service, key)).fail(at, None)
    return circuits


def plan(circuits: Circuits, *services: Key) -> list[Gate]:
    rivals = Rivals()
    return [Gate(circuits, service, "KEY", rivals) for service in services]


def test_an_open_circuit_lets_nobody_through_while_another_lane_may_answer() -> None:
    a, b = plan(broken(A), A, B)
    refused = a.enter(10)
    assert isinstance(refused, CircuitOpen)
    assert (refused.retry_after, refused.retryable, refused.retry_safe) == (20, True, True)
    assert "5 failures in a row" in str(refused)
    assert b.enter(10) is None


def test_one_probe_at_a_time() -> None:
    circuits = broken(A)
    first, second = plan(circuits, A, B)[0], plan(circuits, A, B)[0]
    assert first.enter(31) is None
    assert isinstance(second.enter(31), CircuitOpen)
    first.succeed()
    assert second.enter(31) is None


def test_a_probe_that_is_cut_off_makes_way_for_the_next() -> None:
    circuits = broken(A)
    first, second = plan(circuits, A, B)[0], plan(circuits, A, B)[0]
    assert first.enter(31) is None
    first.leave()
    assert second.enter(31) is None


def test_a_probe_that_fails_otherwise_makes_way_too() -> None:
    circuits = broken(A)
    first, second = plan(circuits, A, B)[0], plan(circuits, A, B)[0]
    assert first.enter(31) is None
    assert not first.fail(InvalidRequest("no such option"), 31)
    assert second.enter(31) is None


def test_only_the_probe_itself_makes_way() -> None:
    circuits = broken(A)
    first, second, third = (plan(circuits, A, B)[0] for _ in range(3))
    assert first.enter(31) is None
    second.leave()
    assert isinstance(third.enter(31), CircuitOpen)


def test_a_lane_without_others_is_always_asked() -> None:
    circuits = broken(A)
    assert plan(circuits, A)[0].enter(10) is None
    assert plan(circuits, A)[0].enter(11) is None  # also while the first is under way


def test_where_all_are_open_the_one_that_closes_soonest_is_asked_and_no_other() -> None:
    circuits = broken(A, at=5.0)
    for _ in range(5):
        circuits.touch(Target(B)).fail(0.0, None)
    a, b = plan(circuits, A, B)
    assert isinstance(a.enter(10), CircuitOpen)
    assert b.enter(10) is None
    b.fail(Overloaded("no room"), 11)
    assert isinstance(a.enter(11), CircuitOpen)


def test_the_first_of_lanes_alike_is_asked() -> None:
    gates = plan(broken(A), A, A, A)
    assert [gate.enter(10) is None for gate in gates] == [True, False, False]


@pytest.mark.parametrize(
    ("error", "target"),
    [
        (ServerError("x"), Target(A)),
        (Overloaded("x"), Target(A)),
        (TimedOut("x", clock="first"), Target(A)),
        (TimedOut("x", clock="deadline"), None),
        (RateLimited("x"), Target(A, "KEY")),
        (QuotaError("x"), Target(A, "KEY")),
        (AuthError("x"), Target(A, "KEY")),
        (LoginRequired("x"), None),
        (InvalidRequest("x"), None),
        (CircuitOpen("x"), None),
    ],
)
def test_a_failure_is_held_against_the_service_the_key_or_nobody(error: ProviderError, target: Target | None) -> None:
    circuits = Circuits()
    gate = plan(circuits, A, B)[0]
    told = [gate.fail(error, 0) for _ in range(5)]
    assert told == [False] * 4 + [target is not None]
    assert [open_one for open_one, _, _ in circuits.states(0)] == ([] if target is None else [target])


def test_a_key_that_is_refused_is_no_reason_against_another_key() -> None:
    circuits = broken(A, key="KEY")
    other = Gate(circuits, A, "OTHER")
    Gate(circuits, B, "KEY", other.rivals)
    assert other.enter(10) is None
    assert isinstance(plan(circuits, A, B)[0].enter(10), CircuitOpen)
