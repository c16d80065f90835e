from attrs import evolve

from fanout.formats.text import Headed, Raw, Text
from tests.formats.runs import NOBODY, RUN, WON


def test_the_text_alone_is_the_winner_s() -> None:
    assert Text("winner").run(RUN) == "Blue.\nVery.\n"
    assert Text("winner").run(NOBODY) == ""


def test_the_text_of_everyone_is_that_of_all_who_finished() -> None:
    other = evolve(WON, lane="z", text="Red.")
    assert Text("all").run(evolve(RUN, answers=(*RUN.answers, other))) == "Blue.\nVery.\n\nRed.\n"


def test_under_headings_every_lane_shows_what_it_said_and_why_it_failed() -> None:
    assert Headed(30).run(RUN) == (
        "── a: finished ───────────────\n"
        "Blue.\nVery.\n"
        "\n"
        "── b: cancelled ──────────────\n"
        "Because\n"
        "\n"
        "── c: failed ─────────────────\n"
        "(auth (401): no key: set C_KEY)\n"
        "\n"
        "── d: timed out ──────────────\n"
        "(timeout: no content within 1 s)\n"
    )


def test_raw_text_is_exactly_what_came() -> None:
    hostile = "\x1b[31mred"
    assert Raw().run(evolve(RUN, winner=evolve(WON, text=hostile))) == hostile
    assert Raw().run(NOBODY) == ""


def test_all_but_raw_text_is_safe_for_a_terminal() -> None:
    hostile = evolve(WON, text="\x1b]0;owned\x07red")
    run = evolve(RUN, winner=hostile, answers=(hostile,))
    assert Text("winner").run(run) == Text("all").run(run) == "red\n"
    assert "\x1b" not in Headed(30).run(run)
