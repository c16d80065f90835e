import pytest
from attrs import evolve

from fanout.events import Delta, Tagged
from fanout.formats.plain import Plain
from fanout.formats.summary import Who
from tests.formats.runs import FAILED, NOBODY, RUN, WON


def test_a_finished_lane_s_lines_stand_under_its_name() -> None:
    assert Plain("all").answer(WON) == "[a] Blue.\n[a] Very.\n"


def test_no_answer_can_speak_for_another_lane() -> None:
    assert Plain("all").answer(evolve(WON, text="x\n[b] forged")) == "[a] x\n[a] [b] forged\n"


def test_a_lane_that_failed_says_nothing() -> None:
    assert Plain("all").answer(FAILED) == ""
    assert Plain("all").run(RUN) == ""


def test_a_race_says_what_the_winner_said() -> None:
    plain = Plain("winner")
    assert plain.event(Tagged("a", 0.1, Delta("Blue."))) == plain.answer(WON) == ""
    assert plain.run(RUN) == "Blue.\nVery.\n"
    assert plain.run(NOBODY) == ""


def test_a_quorum_is_told_when_there_is_one() -> None:
    plain = Plain("quorum")
    assert plain.answer(WON) == ""
    assert plain.run(RUN) == "[a] Blue.\n[a] Very.\n"
    assert plain.run(evolve(RUN, winner=None, kept=())) == ""


def test_the_text_is_safe_for_a_terminal() -> None:
    hostile = evolve(WON, text="\x1b[31mred\x1b[0m\n")
    assert Plain("winner").run(evolve(RUN, winner=hostile)) == "red\n"
    assert Plain("all").answer(evolve(hostile, text="\x1b[31mred")) == "[a] red\n"


def test_into_a_pipe_goes_exactly_what_came() -> None:
    came = evolve(WON, text="\u200bx\u200e \x1b[1mred")
    assert Plain("winner", safe=False).run(evolve(RUN, winner=came)) == came.text + "\n"
    assert Plain("all", safe=False).answer(came) == f"[a] {came.text}\n"


@pytest.mark.parametrize("end", ["\r", "\r\n", "\u2028", "\x0b", "\x85"])
def test_nothing_that_ends_a_line_anywhere_lets_an_answer_speak_for_another_lane(end: str) -> None:
    text = f"x{end}[b] forged"
    assert Plain("all", safe=False).answer(evolve(WON, text=text)) == "[a] x\n[a] [b] forged\n"
    plain = Plain("all", safe=False)
    assert "".join(plain.piece("a", character) for character in text) == "[a] x\n[a] [b] forged"


@pytest.mark.parametrize("size", [1, 2, 3, 40])
@pytest.mark.parametrize("who", ["all", "winner"])
def test_a_text_that_comes_in_pieces_is_the_same_in_the_end(who: Who, size: int) -> None:
    came = evolve(WON, text="One\r\n\r\ntwo \x1b[31m\n\nthree\r")
    run = evolve(RUN, winner=came, answers=(came,))
    for safe in (True, False):
        whole, plain = Plain(who, safe=safe), Plain(who, safe=safe)
        assert plain.streams(1)
        pieces = [plain.piece("a", came.text[at : at + size]) for at in range(0, len(came.text), size)]
        assert "".join(pieces) + plain.answer(came) + plain.run(run) == whole.answer(came) + whole.run(run)


def test_a_lane_that_breaks_off_ends_its_line() -> None:
    plain = Plain("all")
    assert plain.piece("c", "Blu") == "[c] Blu"
    assert plain.answer(FAILED) == "\n"


def test_an_empty_answer_has_no_line() -> None:
    assert Plain("all").answer(evolve(WON, text="")) == ""


@pytest.mark.parametrize("who", ["all", "winner"])
def test_a_text_that_its_service_wrote_anew_after_it_was_printed_is_printed_anew_on_its_own_line(who: Who) -> None:
    came = evolve(WON, text="Better.")
    run = evolve(RUN, winner=came)
    plain = Plain(who, safe=False)
    printed = plain.piece("a", "A draft") + plain.answer(came) + plain.run(run)
    assert printed == ("A draft\nBetter.\n" if who == "winner" else "[a] A draft\n[a] Better.\n")
