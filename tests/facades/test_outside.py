"""A fan-out seen from outside of its thread: it has the names of Trio's, and can be asked from everywhere."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import fanout
from fanout import Status, api
from fanout.transports.memory import HANG
from tests.facades.test_aio import END, LANE, TOKEN, play


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [fanout.aio.Fanout, fanout.sync.Fanout])
def test_it_has_what_trios_has(kind: type) -> None:
    assert names(kind) - {"block"} == names(api.Fanout) - {"take"} | {"started"}


@pytest.mark.parametrize("kind", [fanout.aio.Stream, fanout.sync.Stream])
def test_a_stream_has_what_trios_has(kind: type) -> None:
    assert names(kind) - {"block"} == names(api.Stream) - {"take"}


def test_the_questions_of_a_fan_out_can_be_asked_in_its_own_thread() -> None:
    texts: list[str] = []

    def accept(_: fanout.Answer) -> bool:
        texts.append(events.run.answers[0].text)
        return True

    with fanout.sync.open_fanout("?", fanout.Race(LANE, accept=accept), transport=play(0.05, TOKEN, END)) as events:
        list(events)
    assert texts == ["word "]


def test_it_can_be_asked_from_many_threads_while_it_runs() -> None:
    lane = play(*(step for _ in range(100) for step in (0.001, TOKEN)), END)
    with fanout.sync.open_fanout("?", LANE, transport=lane) as events, ThreadPoolExecutor(4) as pool:
        texts = [future.result() for future in [pool.submit(lambda: events.run.answers[0].text) for _ in range(200)]]
        list(events)
        assert all(text + "word " * (100 - text.count("w")) == "word " * 100 for text in texts)
        assert events.run.answers[0].text == "word " * 100


def test_what_it_says_stays_after_its_block() -> None:
    with fanout.sync.open_fanout("?", fanout.Race(LANE, on="first_token"), transport=play(TOKEN, HANG)) as events:
        next(events), next(events)
    assert events.lanes == ["m"]
    assert events.started > 0
    assert events.run.answers[0].text == "word "
    assert events.run.answers[0].status is Status.CANCELLED
    assert repr(events).startswith("<Fanout m ")
    assert events._repr_html_() == events.run._repr_html_()
