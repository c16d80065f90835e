from fanout.learning.latencies import Key
from fanout.learning.memory import Memory

KEY = Key("a", "", None)


def test_a_budget_is_shared_by_all_that_ask_the_same_service_at_the_same_rate() -> None:
    memory = Memory()
    assert memory.hedge_budget(KEY, 0.05) is memory.hedge_budget(KEY, 0.05)
    assert memory.hedge_budget(KEY, 0.05) is not memory.hedge_budget(KEY, 0.1)


def test_json_brings_it_back_and_anything_else_brings_nothing() -> None:
    memory = Memory()
    for _ in range(30):
        memory.latencies.saw(KEY, 10, 1.0)
    assert Memory.from_json(memory.to_json(400)).latencies.count(KEY) == 30
    others: tuple[object, ...] = (None, [], {"version": 99}, {}, {"version": 1, "latencies": 5})
    for data in others:
        assert Memory.from_json(data).latencies.count(KEY) == 0


def test_only_what_this_process_has_learnt_is_fresh() -> None:
    assert not Memory().fresh
    memory = Memory()
    memory.latencies.saw(KEY, 10, 1.0)
    assert memory.fresh
    again = Memory.from_json(memory.to_json(400))
    assert not again.fresh
