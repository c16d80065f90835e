import pytest
from attrs import evolve
from rich.cells import cell_len

from fanout.answers import Answer
from fanout.events import Status
from fanout.formats.headed import Headed
from tests.formats.runs import FAILED, LOST, NOBODY, RUN, WON

WORDS = "Air scatters the short blue waves of the light more than the long red ones. " * 3


def test_where_there_is_no_room_for_columns_every_lane_has_a_heading_of_its_own() -> None:
    assert Headed(40).run(RUN) == (
        "── a: finished ─────────────────────────\n"
        "Blue.\nVery.\n"
        "\n"
        "── b: cancelled, partial ───────────────\n"
        "Because\n"
        "\n"
        "── c: failed ───────────────────────────\n"
        "(auth (401): no key: set C_KEY)\n"
        "\n"
        "── d: timed out ────────────────────────\n"
        "(timeout: no content within 1 s)\n"
    )


def test_where_there_is_room_the_lanes_stay_side_by_side() -> None:
    assert Headed(98).run(evolve(RUN, answers=(WON, LOST, FAILED))) == (
        "── a: finished ────────────────  ── b: cancelled, partial ──────  ── c: failed ──────────────────\n"
        "Blue.                            Because                          (auth (401): no key: set C_KEY)\n"
        "Very.\n"
    )


@pytest.mark.parametrize("width", [20, 60, 80, 120, 200])
@pytest.mark.parametrize("lanes", [1, 2, 3, 6, 9])
def test_no_line_is_wider_than_the_terminal_and_none_breaks_in_a_word(width: int, lanes: int) -> None:
    answers = tuple(evolve(WON, lane=f"lane-{i}", text=WORDS) for i in range(lanes))
    shown = Headed(width).run(evolve(RUN, answers=answers, winner=None))
    assert max(map(cell_len, shown.splitlines())) <= width
    said = {word for line in shown.splitlines() if "──" not in line for word in line.split()}
    assert said <= set(WORDS.split())


def test_one_answer_alone_is_wrapped_between_words() -> None:
    won = evolve(WON, text="The sky is blue because of Rayleigh scattering.")
    assert Headed(20, "winner").run(evolve(RUN, winner=won)) == ("The sky is blue\nbecause of Rayleigh\nscattering.\n")
    assert Headed(20, "winner").run(NOBODY) == ""


def test_of_a_quorum_only_the_answers_that_it_kept_are_shown() -> None:
    assert Headed(40, "quorum").run(RUN) == "── a: finished ─────────────────────────\nBlue.\nVery.\n"
    none = evolve(RUN, kept=(), winner=None)
    assert "b: cancelled, partial" in Headed(40, "quorum").run(none)


def test_an_answer_that_was_cut_or_is_empty_says_so() -> None:
    cut = evolve(WON, finish_reason="length")
    empty = Answer(lane="b", status=Status.FINISHED, reasoning="Hm", finish_reason="length", ttft=0.1, elapsed=1.0)
    shown = Headed(60).run(evolve(RUN, answers=(cut, empty), winner=None))
    assert "── a: cut at max_tokens ──" in shown
    assert "── b: empty ──" in shown
    assert "(its answer was empty: max_tokens went into reasoning)" in shown


def test_a_lane_that_was_not_started_is_not_called_cancelled() -> None:
    waiting = Answer(lane="b", status=Status.CANCELLED)
    shown = Headed(60).run(evolve(RUN, answers=(WON, waiting), winner=None))
    assert "── b: not started ──" in shown
    assert "cancelled" not in shown


def test_it_is_safe_for_a_terminal() -> None:
    hostile = evolve(WON, text="\x1b]0;owned\x07red \u202e")
    assert "\x1b" not in Headed(30).run(evolve(RUN, winner=hostile, answers=(hostile,)))
    assert Headed(30, "winner").run(evolve(RUN, winner=hostile)) == "red \\u202e\n"
