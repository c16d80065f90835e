from collections.abc import Sequence

from fanout.answers.certain import Certain
from fanout.events import Delta, End, Event, Reasoning, Refusal, Replace, Started, Status, Tagged


def feed(certain: Certain, *events: tuple[str, Event], winner: str | None = None) -> list[str]:
    return [certain.event(Tagged(lane, 0.0, event), lambda: winner) for lane, event in events]


def texts(pieces: Sequence[str]) -> str:
    return "|".join(pieces)


FAILED, DONE, CUT = End(Status.FAILED), End(Status.FINISHED), End(Status.CANCELLED)


def test_the_only_lane_s_text_comes_at_once_and_its_thoughts_never() -> None:
    one = Certain(["a"])
    assert texts(feed(one, ("a", Started()), ("a", Reasoning("Hm")), ("a", Delta("x")), ("a", Delta("y")))) == "||x|y"


def test_while_two_lanes_can_win_nothing_comes() -> None:
    assert texts(feed(Certain(["a", "b"]), ("a", Delta("x")), ("b", Delta("y")))) == "|"


def test_from_the_verdict_on_the_winner_s_text_comes_with_what_it_had_said() -> None:
    race = Certain(["a", "b"])
    feed(race, ("a", Delta("x")), ("b", Delta("y")))
    assert (
        texts(feed(race, ("a", Delta("z")), ("b", Delta("no")), ("b", CUT), ("a", Delta("!")), winner="a")) == "xz|||!"
    )


def test_the_last_lane_left_is_certain_where_the_others_gave_nothing() -> None:
    fallback = Certain(["a", "b"])
    assert texts(feed(fallback, ("a", Delta("x")), ("b", Delta("y")), ("a", FAILED), ("b", Delta("z")))) == "||y|z"


def test_a_lane_that_finished_with_a_refusal_has_answered() -> None:
    race = Certain(["a", "b"])
    assert texts(feed(race, ("a", Refusal("No.")), ("a", DONE), ("b", Delta("y")))) == "||"


def test_a_lane_that_finished_without_an_answer_leaves_the_last_one_certain() -> None:
    race = Certain(["a", "b"])
    assert texts(feed(race, ("a", Reasoning("Hm")), ("a", DONE), ("b", Delta("y")))) == "||y"


def test_where_all_count_the_last_that_runs_is_certain_whatever_the_others_gave() -> None:
    both = Certain(["a", "b"], all_count=True)
    assert texts(feed(both, ("a", Delta("x")), ("b", Delta("y")), ("a", DONE), ("b", Delta("z")))) == "||y|z"


def test_of_a_text_that_was_written_anew_only_the_new_one_comes() -> None:
    fallback = Certain(["a", "b"])
    feed(fallback, ("b", Delta("old")), ("b", Replace("new")))
    assert texts(feed(fallback, ("a", FAILED))) == "new"


def test_of_a_text_that_is_written_anew_after_it_was_given_only_a_continuation_comes() -> None:
    one = Certain(["a"])
    pieces = feed(one, *(("a", event) for event in (Delta("x"), Delta("y"), Replace("xy"), Replace("xyz"), Delta("!"))))
    assert texts(pieces) == "x|y||z|!"


def test_of_another_text_nothing_comes_until_it_is_a_continuation() -> None:
    one = Certain(["a"])
    news = (Delta("xy"), Replace("Xy"), Delta("z"), Replace("x"), Delta("y"), Replace("xyz"), Delta("!"))
    assert texts(feed(one, *(("a", event) for event in news))) == "xy|||||z|!"


def test_of_the_verdict_s_own_replacement_the_whole_comes_once() -> None:
    race = Certain(["a", "b"])
    feed(race, ("a", Delta("x")))
    assert texts(feed(race, ("a", Replace("xy")), ("a", Replace("xyz")), winner="a")) == "xy|z"
