import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.providers.chat_calls import CHECKS, Calls, Piece
from tests.cpu import seconds_of


def told(*pieces: Piece) -> list[Piece]:
    calls = Calls()
    return [found for piece in pieces for found in calls.add(piece)] + calls.rest()


def test_an_id_and_a_name_are_said_once() -> None:
    again = Piece(0, "a", "f", "x")
    assert told(again, again, again) == [again, Piece(0, None, None, "x"), Piece(0, None, None, "x")]
    assert told(again, Piece(0, "a", "f", ""), Piece(0, "", None, "")) == [again]


def test_a_known_id_decides_over_name_and_index() -> None:
    pieces = told(Piece(0, "a", "f"), Piece(1, "b", "g"), Piece(1, "a", "other", "1"), Piece(0, "b", "f", "2"))
    assert pieces == [Piece(0, "a", "f"), Piece(1, "b", "g"), Piece(0, None, None, "1"), Piece(1, None, None, "2")]


def test_a_declared_index_is_kept_where_it_is_free() -> None:
    begun = [Piece(5, "a", "f"), Piece(5, "b", "f"), Piece(0, "c", "f"), Piece(6, "d", "f"), Piece(None, "e", "f")]
    assert [piece.index for piece in told(*begun)] == [5, 6, 0, 7, 8]


def test_pieces_with_an_index_go_to_the_call_that_began_last_with_it() -> None:
    begun = [
        Piece(0, "a", "f"),
        Piece(0, "b", "f"),
        Piece(1, "c", "f"),
        Piece(0, None, None, "x"),
        Piece(1, None, None, "y"),
    ]
    assert told(*begun)[3:] == [Piece(1, None, None, "x"), Piece(2, None, None, "y")]


def test_pieces_without_one_go_to_the_call_that_began_last() -> None:
    pieces = [Piece(0, "a", "f"), Piece(None, "b", "f"), Piece(None, None, None, "x"), Piece(7, None, None, "y")]
    assert told(*pieces)[2:] == [Piece(1, None, None, "x"), Piece(1, None, None, "y")]


def test_neither_id_nor_name_begins_nothing() -> None:
    assert told(Piece(0, None, None, "{}"), Piece(None, None, None, "{}")) == []


def test_another_name_at_the_same_place_is_another_call() -> None:
    assert [piece.index for piece in told(Piece(0, None, "f", "{}"), Piece(0, None, "g", "{}"))] == [0, 1]
    assert told(Piece(0, None, "f"), Piece(0, None, "f_and_more", "{}")) == [
        Piece(0, None, "f"),
        Piece(0, None, None, "{}"),
    ]


def test_the_same_name_after_whole_arguments_is_another_call() -> None:
    same = Piece(0, None, "f", '{"a":"}"}')
    assert [piece.index for piece in told(same, same, same)] == [0, 1, 2]
    ended = [Piece(0, None, "f", "{}"), Piece(0, None, "f"), Piece(0, None, "f", " ")]
    assert {piece.index for piece in told(*ended)} == {0}
    further = [*ended[:2], Piece(0, None, None, "{"), Piece(0, None, None, "}")]
    assert [(piece.index, piece.name, piece.arguments) for piece in told(*further)] == [
        (0, "f", "{}"),
        (1, "f", "{"),
        (1, None, "}"),
    ]


@pytest.mark.parametrize("again", ['{"x":1}', '"{\\"x\\":1}"'])
@pytest.mark.parametrize(("call_id", "name"), [("a", "f"), ("a", None), (None, None)])
def test_whole_arguments_that_are_said_once_more_are_said_once(
    again: str, call_id: str | None, name: str | None
) -> None:
    begun = [Piece(0, "a", "f"), Piece(0, None, None, '{"x":'), Piece(0, None, None, "1}")]
    assert told(*begun, Piece(0, call_id, name, again)) == begun
    assert told(*begun[:2], Piece(0, call_id, name, again))[2:] == [Piece(0, None, None, again)]  # not whole


@pytest.mark.parametrize("cuts", [[1, 4, 5, 9, 11], [1, 2, 3, 11], [4, 4, 9, 9, 11, 11], [11, 11]])
@pytest.mark.parametrize("call_id", ["a", None])
def test_pieces_that_hold_all_that_was_said_before_add_what_is_new(cuts: list[int], call_id: str | None) -> None:
    arguments = '{"x": [1]} '
    begun, *pieces = [Piece(0, call_id, None, arguments[:cut]) for cut in cuts]
    begun.id, begun.name = "a", "f"
    assert "".join(piece.arguments for piece in told(begun, *pieces)) == arguments


def test_what_was_said_may_be_said_again_within_itself() -> None:
    for first, second in (('{"a":', '{"a":1}'), ("[", "[["), ('["x",', '["x",1]')):
        pieces = told(Piece(0, "a", "f", first), Piece(0, None, None, second), Piece(0, None, None, "}"))
        assert [piece.arguments for piece in pieces] == [first, second, "}"]
    doubled = [
        Piece(0, "a", "f", '{"n":"'),
        Piece(0, None, None, "ab"),
        Piece(0, None, None, "ab"),
        Piece(0, None, None, '"}'),
    ]
    assert "".join(piece.arguments for piece in told(*doubled)) == '{"n":"abab"}'


def test_free_text_may_say_anything_twice() -> None:
    texts = ["{", "{ x }}", "ha", "ha", '{{ x }}haha"', "{{ x }}hahaha"]
    pieces = told(*(Piece(0, "a", "sh", text, free=True) for text in texts))
    assert [piece.arguments for piece in pieces] == texts


def test_a_late_id_belongs_to_the_call_that_has_none() -> None:
    assert told(Piece(0, None, "f", "{"), Piece(0, "a", "f", "}")) == [
        Piece(0, None, "f", "{"),
        Piece(0, "a", None, "}"),
    ]
    assert [piece.index for piece in told(Piece(0, None, "f", "{}"), Piece(0, "a", "f", "{}"))] == [0, 1]


def test_the_pieces_before_a_name_come_with_it() -> None:
    calls = Calls()
    calls.add(Piece(0, "a", "f"))
    assert calls.add(Piece(1, "b", None, "{")) == []
    assert calls.add(Piece(1, None, None, "}")) == []
    assert calls.add(Piece(1, "b", "g", " ")) == [Piece(1, "b", "g", "{} ")]
    assert calls.add(Piece(1, "b", None, " ")) == [Piece(1, None, None, " ")]
    assert calls.rest() == []


def test_names_and_arguments_without_end_take_linear_time() -> None:
    def read(count: int) -> None:
        calls = Calls()
        calls.add(Piece(0, None, "f", "{"))
        calls.add(Piece(1, "a", "g", "{"))
        for number in range(count):
            calls.add(Piece(0, None, "f", '"}'))
            calls.add(Piece(9, f"{number}", None, "}"))
        calls.rest()

    short, long = (min(seconds_of(partial(read, count)) for _ in range(3)) for count in (2000, 16000))
    assert long < 30 * short
    assert CHECKS < 100


IDS, NAMES = st.sampled_from([None, "a", "b"]), st.sampled_from([None, "f", "g"])
PIECES = st.builds(Piece, st.none() | st.integers(-1, 3), IDS, NAMES, st.sampled_from(["", "x", "yy", "}"]))


@given(st.lists(PIECES, max_size=12))
@settings(deadline=None, max_examples=200)
def test_no_arguments_are_lost_once_a_call_has_begun(pieces: list[Piece]) -> None:
    found = told(*pieces)
    begins = next((at for at, piece in enumerate(pieces) if piece.id or piece.name), len(pieces))
    assert sorted("".join(piece.arguments for piece in found)) == sorted(
        "".join(piece.arguments for piece in pieces[begins:])
    )
    said = [(piece.index, piece.id) for piece in found if piece.id]
    assert len({index for index, _ in said}) == len(said)


@given(st.permutations([("a", 0, "f"), ("b", 1, "f"), ("c", 2, "g")]), st.integers(1, 5))
@settings(deadline=None)
def test_whole_calls_come_out_as_they_were(order: list[tuple[str, int, str]], size: int) -> None:
    arguments = {call_id: json.dumps({"id": call_id, "n": index}) for call_id, index, _ in order}
    pieces = []
    for call_id, index, name in order:
        text = arguments[call_id]
        cut = [text[at : at + size] for at in range(0, len(text), size)]
        pieces += [Piece(index, call_id, name, cut[0]), *(Piece(index, None, None, part) for part in cut[1:])]
    found: dict[int | None, str] = {}
    for piece in told(*pieces):
        found[piece.index] = found.get(piece.index, "") + piece.arguments
    assert found == {index: arguments[call_id] for call_id, index, _ in order}


@pytest.mark.parametrize("index", [None, 0, 5])
def test_the_short_way_is_the_long_one(index: int | None) -> None:
    long, short = Calls(), Calls()
    for calls in (long, short):
        calls.add(Piece(0, "a", "f", "{"))
        calls.add(Piece(0, "a", None, '"x":'))
    assert short.go_on(index, "1}") == (0 if index == 0 else None)
    assert long.add(Piece(index, None, None, "1}")) == [Piece(0, None, None, "1}")]
