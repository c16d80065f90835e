import pytest
from attrs import evolve

from fanout.formats.text import Raw, Text
from tests.formats.runs import NOBODY, RUN, WON


def test_the_text_alone_is_the_winner_s() -> None:
    assert Text("winner").run(RUN) == "Blue.\nVery.\n"
    assert Text("winner").run(NOBODY) == ""


def test_the_text_of_everyone_is_that_of_all_who_finished_under_their_names() -> None:
    other = evolve(WON, lane="z", text="Red.")
    assert Text("all").run(evolve(RUN, answers=(*RUN.answers, other))) == "[a] Blue.\n[a] Very.\n[z] Red.\n"


def test_raw_text_is_exactly_what_came() -> None:
    hostile = "\x1b[31mred"
    assert Raw().run(evolve(RUN, winner=evolve(WON, text=hostile))) == hostile
    assert Raw().run(NOBODY) == ""


def test_all_but_raw_text_is_safe_for_a_terminal() -> None:
    hostile = evolve(WON, text="\x1b]0;owned\x07red")
    run = evolve(RUN, winner=hostile, answers=(hostile,))
    assert Text("winner").run(run) == Text("all").run(run) == "red\n"


def test_into_a_pipe_goes_exactly_what_came() -> None:
    came = evolve(WON, text="\u179f\u17d2\u178f\u17b8\u200b\u1796 \u202b\x1b[1m\r\n")
    run = evolve(RUN, winner=came, answers=(came,))
    assert Text("winner", safe=False).run(run) == Text("all", safe=False).run(run) == came.text


@pytest.mark.parametrize("safe", [True, False])
def test_what_was_printed_as_it_came_is_not_printed_again(safe: bool) -> None:
    text = Text("winner", safe=safe)
    assert text.streams(3)
    assert text.piece("a", "Blue.\n") + text.piece("a", "Ve") == "Blue.\nVe"
    assert text.run(RUN) == "ry.\n"


def test_a_text_that_was_written_anew_is_printed_below_what_was_there() -> None:
    text, raw = Text("winner", safe=False), Raw()
    assert text.piece("a", "Red") == raw.piece("a", "Red") == "Red"
    assert text.run(RUN) == "\nBlue.\nVery.\n"
    assert raw.run(RUN) == "Blue.\nVery."


def test_a_text_that_broke_off_ends_its_line_and_a_raw_one_gets_nothing_added() -> None:
    text, raw = Text("winner"), Raw()
    text.piece("a", "Blu"), raw.piece("a", "Blu")
    assert (text.run(NOBODY), raw.run(NOBODY)) == ("\n", "")


def test_several_answers_are_printed_in_the_order_of_their_lanes_and_so_at_the_end() -> None:
    assert not Text("all").streams(2)
    assert Text("all").streams(1)


def test_raw_text_comes_as_it_comes() -> None:
    raw = Raw()
    assert raw.streams(2)
    assert raw.piece("a", "Blue.") + raw.run(RUN) == "Blue.\nVery."
