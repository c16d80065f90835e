from attrs import evolve

from fanout.events import Delta, Tagged
from fanout.formats.plain import Plain
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
