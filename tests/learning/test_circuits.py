import json

import pytest

from fanout.learning.circuits import LONGEST, MOST, SHORTEST, Circuit, Circuits, Target
from fanout.learning.latencies import Key

TARGET = Target(Key("a", "https://a.test/v1", "m"))


def failed(times: int, *, now: float = 0.0, retry_after: float | None = None) -> Circuit:
    circuit = Circuit()
    for _ in range(times):
        circuit.fail(now, retry_after)
    return circuit


def test_five_failures_in_a_row_open_a_circuit_for_half_a_minute() -> None:
    assert failed(4).admits(0)
    circuit = failed(5)
    assert not circuit.admits(SHORTEST - 0.01)
    assert circuit.state(SHORTEST - 0.01) == "open"
    assert circuit.admits(SHORTEST)
    assert circuit.state(SHORTEST) == "half-open"


def test_more_failures_than_answers_open_it_too() -> None:
    circuit = Circuit()
    for number in range(9):
        circuit.fail(0.0, None) if number % 2 == 0 else circuit.succeed()
    assert circuit.open_until == SHORTEST  # at the fifth failure of nine answers


def test_as_many_answers_as_failures_leave_it_closed() -> None:
    circuit = Circuit()
    for _ in range(50):
        circuit.succeed()
        circuit.fail(0.0, None)
    assert circuit.open_until is None


def test_only_the_last_twenty_answers_count() -> None:
    circuit = Circuit()
    for _ in range(100):
        circuit.succeed()
    for number in range(14):
        circuit.fail(0.0, None) if number % 4 else circuit.succeed()
    assert circuit.open_until is None  # ten of the last twenty
    circuit.fail(0.0, None)
    assert circuit.open_until is not None


def test_each_failed_probe_but_the_first_doubles_the_time_up_to_five_minutes() -> None:
    circuit, now, spans = failed(5), 0.0, []
    for _ in range(7):
        assert circuit.open_until is not None
        spans.append(circuit.open_until - now)
        now = circuit.open_until
        circuit.fail(now, None)
    assert spans == [SHORTEST, SHORTEST, 60, 120, 240, LONGEST, LONGEST]


def test_a_service_may_say_itself_when_to_come_back() -> None:
    assert failed(5, retry_after=7.0).open_until == 7
    assert failed(5, retry_after=1e9).open_until == 3600
    assert failed(5, retry_after=-5).open_until == 0


def test_one_answer_closes_it_and_forgets_the_failures() -> None:
    circuit = failed(5)
    circuit.succeed()
    assert circuit.admits(0)
    circuit.fail(0.0, None)
    assert circuit.admits(0)


def test_a_failure_before_its_time_leaves_it_as_it_is() -> None:
    circuit = failed(5)
    circuit.fail(10.0, None)
    assert (circuit.open_until, circuit.failed_probes) == (SHORTEST, 0)


def test_circuits_that_are_not_closed_are_shown() -> None:
    circuits = Circuits()
    circuits.touch(Target(Key("b", "", None))).succeed()
    for _ in range(5):
        circuits.touch(TARGET).fail(0.0, None)
    assert [*circuits.states(10)] == [(TARGET, "open", 20)]
    assert [*circuits.states(40)] == [(TARGET, "half-open", 0)]


def test_another_process_goes_on_from_the_time_of_day() -> None:
    circuits = Circuits()
    for _ in range(5):
        circuits.touch(TARGET).fail(100.0, None)
    data = json.loads(json.dumps(circuits.to_json(110.0, 5000.0)))
    again = Circuits.from_json(data, 7.0, 5005.0)
    circuit = again.find(TARGET)
    assert circuit and circuit.open_until == pytest.approx(7 + 15)
    assert not again.fresh
    assert Circuits.from_json(data, 7.0, 5000.0 + 86400).find(TARGET) is None  # of yesterday
    assert Circuits.from_json(data, 7.0, 0.0).find(TARGET) is None  # a clock was wrong


@pytest.mark.parametrize("data", [None, 5, [None], [{}], [{"provider": 1}], [[]]])
def test_what_is_no_circuit_is_left_out(data: object) -> None:
    assert [*Circuits.from_json(data, 0, 0).states(0)] == []


def test_the_circuit_that_was_used_least_lately_is_forgotten() -> None:
    circuits = Circuits()
    for number in range(MOST + 1):
        circuits.touch(Target(Key("a", "", str(number)))).succeed()
    assert circuits.find(Target(Key("a", "", "0"))) is None
    assert circuits.find(Target(Key("a", "", "1"))) is not None
    assert len(circuits.fresh) == MOST
