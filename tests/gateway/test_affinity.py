from fanout.gateway.affinity import Bounded, Calls, Turn, key_of


def test_the_oldest_is_forgotten_first() -> None:
    kept: Bounded[int] = Bounded(2, 10.0)
    for number in range(3):
        kept.put(str(number), number, 0.0)
    assert [kept.get(str(number), 1.0) for number in range(3)] == [None, 1, 2]
    assert kept.get("2", 11.0) is None
    assert len(kept) == 1


def test_what_is_heavy_makes_room_for_itself_or_is_not_kept() -> None:
    kept: Bounded[int] = Bounded(100, 10.0, heaviest=10)
    kept.put("a", 1, 0.0, 6)
    kept.put("b", 2, 0.0, 6)
    assert (kept.get("a", 0.0), kept.get("b", 0.0)) == (None, 2)
    kept.put("c", 3, 0.0, 11)
    assert len(kept) == 0
    kept.put("d", 4, 0.0, 10)
    kept.put("d", 5, 0.0, 10)
    assert kept.get("d", 0.0) == 5


def test_a_call_is_known_to_the_user_who_was_given_it() -> None:
    calls = Calls()
    calls.note("me", ["call_1", "call_2"], Turn("lane"), 0.0)
    assert calls.find("me", "call_2", 1.0) == Turn("lane")
    assert calls.find("you", "call_2", 1.0) is None
    assert calls.find("me", "call_3", 1.0) is None


def test_of_a_key_only_a_hash_is_kept() -> None:
    assert key_of("me", "/v1/messages", "secret") == key_of("me", "/v1/messages", "secret")
    assert key_of("me", "/v1/messages", "secret") != key_of("you", "/v1/messages", "secret")
    assert "secret" not in key_of("me", "/v1/messages", "secret")
