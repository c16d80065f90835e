"""The laws of the race, on real sockets: what the callers sees, and what the server saw."""

import time
from random import Random
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

import fanout
from fanout import All, Fallback, Race, Status, Timeouts
from fanout.errors import Overloaded, ProviderError, RateLimited, ServerError, TimedOut, Truncated
from fanout.events import Delta, End
from fanout.policies.race import On
from fanout.transports.memory import Script
from tests.servers.openai import OpenAIServer, open_server
from tests.words import memory, words

IN_FLIGHT = 0.05
"""Seconds after the verdict by which every loser's connection must be closed."""


async def test_the_fastest_lane_wins_though_listed_last() -> None:
    async with open_server() as server:
        lanes = [server.lane("slow", ttft=1), server.lane("slower", ttft=2), server.lane("fast", ttft=0.05)]
        answer = await fanout.race("?", lanes)
    assert answer.lane == "fast"
    assert answer.text == "w0 w1 w2 "
    assert answer.elapsed is not None and answer.elapsed < 0.5


async def test_a_failing_lane_never_fails_a_race_that_another_wins() -> None:
    async with open_server() as server:
        lanes = [
            server.lane("e500", status=500),
            server.lane("frame", error=0),
            server.lane("html", html=True),
            server.lane("empty", empty=True),
            server.lane("cut", cut=1, n=3),
            server.lane("good", ttft=0.3),
        ]
        run = await fanout.ask("?", Race(*lanes), retries=0)
    assert run.winner and run.winner.lane == "good"
    kinds = [answer.error.kind if answer.error else None for answer in run.answers]
    assert kinds == ["server", "server", "not_a_stream", "truncated", "reset", None]


async def test_every_lanes_error_is_reported() -> None:
    async with open_server() as server:
        lanes = [server.lane("a", status=500), server.lane("b", status=429, retry=9), server.lane("c", status=503)]
        with pytest.RaisesGroup(ServerError, RateLimited, Overloaded) as caught:
            await fanout.race("?", lanes, retries=0)
    errors: list[ProviderError] = list(caught.value.exceptions)  # type: ignore[arg-type]
    assert [(error.lane, error.status, error.retry_after) for error in errors] == [
        ("a", 500, None),
        ("b", 429, 9.0),
        ("c", 503, None),
    ]


@pytest.mark.parametrize(
    "script",
    [
        {"ttft": 2},
        {"role": True, "ttft": 2},
        {"ka": True, "ttft": 2},
        {"error": 0},
        {"empty": True},
        {"html": True},
        {"status": 500},
    ],
    ids=lambda script: "+".join(script),
)
async def test_headers_role_chunks_keep_alives_and_error_frames_never_win(script: dict[str, object]) -> None:
    async with open_server() as server:
        lanes = [server.lane("early", **script), server.lane("good", head=0.1, ttft=0.1)]
        answer = await fanout.race("?", lanes, on="first_token", retries=0)
    assert answer.lane == "good"
    assert answer.text == "w0 w1 w2 "


async def test_a_lane_cut_mid_stream_is_failed_with_its_text() -> None:
    async with open_server() as server:
        lanes = [server.lane("cut", cut=2, n=9), server.lane("reset", reset=2, n=9, gap=0.01), server.lane("ok", n=9)]
        cut, reset, ok = await fanout.gather("?", lanes)
    assert cut.error and (cut.status, cut.text, cut.error.partial) == (Status.FAILED, "w0 w1 ", "w0 w1 ")
    assert reset.error and (reset.error.kind, reset.error.partial) == ("reset", "w0 w1 ")
    assert ok.status is Status.FINISHED


async def test_a_stream_that_ends_cleanly_without_its_end_mark_is_truncated() -> None:
    async with open_server() as server:
        (answer,) = await fanout.gather("?", [server.lane("a", error=99, nodone=True, linger=True, cut=3)])
    assert answer.error and answer.error.kind in ("truncated", "reset")
    assert not isinstance(answer.error, Truncated) or answer.error.partial == answer.text


async def race_to_verdict(server: OpenAIServer, lanes: list[str], **settings: Any) -> float:
    """Races, and returns the time at which the winner's verdict fell."""
    verdict = None
    async with fanout.open_fanout("?", Race(*lanes, **settings)) as running:
        async for tagged in running:
            won_now = isinstance(tagged.event, Delta if settings else End)
            if tagged.lane == "win" and won_now and verdict is None:
                verdict = running.started + tagged.at
    assert verdict is not None
    with trio.fail_after(5):
        await server.all_closed()
    return verdict


async def test_losers_are_closed_within_50_ms_of_the_verdict_and_send_at_most_what_was_in_flight() -> None:
    async with open_server() as server:
        losers = [server.lane(f"l{i}", ttft=0.02, gap=0.005, n=2000, say_nothing=i) for i in range(4)]
        verdict = await race_to_verdict(server, [*losers, server.lane("win", ttft=0.4)])
        for lane in losers:
            served = server.of(lane)
            assert served.gone_at is not None
            assert served.gone_at - verdict < IN_FLIGHT
            assert served.sent_after(verdict + IN_FLIGHT) == 0
            assert len(served.sent) < 200


async def test_on_first_token_losers_are_closed_while_the_winner_still_speaks() -> None:
    async with open_server() as server:
        loser = server.lane("loser", ka=True, ttft=5)
        verdict = await race_to_verdict(server, [loser, server.lane("win", gap=0.05, n=10)], on="first_token")
        served = server.of(loser)
        assert served.gone_at is not None and served.gone_at - verdict < IN_FLIGHT
        assert served.sent == []


async def test_cancelling_the_caller_ends_every_upstream() -> None:
    async with open_server() as server:
        lanes = [server.lane(f"l{i}", gap=0.01, n=5000, x=i) for i in range(3)]
        with trio.move_on_after(0.4) as scope:
            await fanout.gather("?", lanes)
        left = trio.current_time()
        assert scope.cancelled_caught
        with trio.fail_after(2):
            await server.all_closed()
        for served in server.served:
            assert served.gone_at is not None
            assert served.gone_at - left < IN_FLIGHT
            assert 0 < len(served.sent) < 100


async def test_a_first_content_timeout_fires_under_keep_alives() -> None:
    async with open_server() as server:
        (answer,) = await fanout.gather("?", [server.lane("a", ka=True, ttft=9)], timeouts=Timeouts(first=0.2))
    assert isinstance(answer.error, TimedOut)
    assert answer.error.clock == "first"
    assert answer.elapsed == pytest.approx(0.2, abs=0.1)


async def test_idle_and_total_timeouts_fire_apart_each_with_its_own_error() -> None:
    async with open_server() as server:
        lanes = [
            server.lane("stall", stall=2, n=9),
            server.lane("hang", hang=1, n=9),
            server.lane("steady", gap=0.05, n=900),
            server.lane("drip", drip=True, n=900),
        ]
        answers = await fanout.gather("?", lanes, timeouts=Timeouts(first=5, idle=0.3, total=0.8))
    errors = [answer.error for answer in answers]
    assert [error.clock for error in errors if isinstance(error, TimedOut)] == ["idle", "idle", "total", "total"]
    assert [error.partial for error in errors if error][:2] == ["w0 w1 ", "w0 "]
    assert [answer.status for answer in answers] == [Status.TIMED_OUT] * 4


async def test_results_are_aligned_with_lanes_none_dropped() -> None:
    async with open_server() as server:
        scripts: list[dict[str, object]] = [{"ttft": 0.3}, {"status": 500}, {"ttft": 0.1}, {"cut": 1}, {"say": "hi"}]
        lanes = [server.lane(f"lane{i}", **script) for i, script in enumerate(scripts)]
        answers = await fanout.gather("?", lanes, retries=0)
    assert [answer.lane for answer in answers] == [f"lane{i}" for i in range(5)]
    assert [answer.status for answer in answers] == ["finished", "failed", "finished", "failed", "finished"]


async def test_a_tie_leaves_no_loser_running() -> None:
    async with open_server() as server:
        for _ in range(20):
            run = await fanout.ask("?", Race(*[server.lane(f"l{i}", n=1, x=i) for i in range(4)]))
            assert [answer.status for answer in run.answers].count(Status.FINISHED) == 1
            with trio.fail_after(2):
                await server.all_closed()


async def test_a_retry_after_is_honoured_on_the_wire() -> None:
    async with open_server() as server:
        began = time.monotonic()
        lanes = [server.lane("limited", status=429, retry="0.2")]
        run = await fanout.ask("?", All(*lanes), retries=1)
    assert run.winner is None
    assert len(server.served) == 2
    assert server.served[1].at - server.served[0].at >= 0.2
    assert time.monotonic() - began < 2


async def test_a_fallback_asks_the_second_service_only_after_the_first_failed() -> None:
    async with open_server() as server:
        plan = Fallback(server.lane("bad", ttft=0.1, error=0), server.lane("good"))
        run = await fanout.ask("?", plan)
        assert run.winner and run.winner.lane == "good"
        first, second = server.served
        assert second.at > first.at + 0.1


async def test_an_answer_is_complete_at_its_end_mark_though_the_connection_stays_open() -> None:
    async with open_server() as server:
        answer = await fanout.race("?", [server.lane("a", linger=True)])
    assert answer.status is Status.FINISHED
    assert answer.usage and answer.usage.output == 3
    assert answer.elapsed is not None and answer.elapsed < 0.5


async def test_connections_are_used_again_when_a_transport_is_shared() -> None:
    async with open_server() as server, fanout.open_transport() as transport:
        for _ in range(5):
            await fanout.race("?", [server.lane("a")], transport=transport)
        assert server.connections == 1


async def test_the_body_exception_of_a_fan_out_comes_out_as_itself() -> None:
    async with open_server() as server:
        with pytest.raises(ZeroDivisionError):
            async with fanout.open_fanout("?", [server.lane("a", n=500, gap=0.01)]):
                raise ZeroDivisionError
        with trio.fail_after(2):
            await server.all_closed()


async def test_a_service_that_refuses_an_option_is_asked_again_without_it_and_that_is_remembered() -> None:
    async with open_server() as server, fanout.open_transport() as transport:
        lane = server.lane("new", knows="max_completion_tokens") + "&max_tokens=5"
        for asked in (3, 4):
            answer = await fanout.race("?", [lane], transport=transport, retries=0)
            assert answer.text == "w0 w1 w2 "
            assert len(server.served) == asked


@frozen
class Course:
    """A lane's course, made up: when it thinks, says its word and ends, and how long its answer is weighed."""

    lane: str
    thinks: float
    word: float
    end: float
    weighed: float
    refused: bool

    @property
    def script(self) -> Script:
        return [self.thinks, b"?hm", self.word - self.thinks, b"word", self.end - self.word, b"."]

    async def accept(self, _: fanout.Answer) -> bool:
        await trio.sleep(self.weighed)
        if self.refused:
            raise ValueError("no good")
        return True


def draw_courses(random: Random) -> list[Course]:
    """Courses of which no two moments are the same."""
    times = [moment / 100 for moment in random.sample(range(1, 2000), 12)]
    courses = []
    for name in "abc":
        thinks, word, end = sorted(times.pop() for _ in range(3))
        courses.append(Course(name, thinks, word, end, times.pop() / 10, random.random() < 0.3))
    return courses


@pytest.mark.parametrize("on", ["first_token", "first_thought", "finish"])
async def test_the_winner_is_the_one_of_a_model_that_knows_only_the_rules(on: On, autojump_clock: MockClock) -> None:
    for seed in range(60):
        courses = {course.lane: course for course in draw_courses(Random(seed))}

        async def accept(answer: fanout.Answer, courses: dict[str, Course] = courses) -> bool:
            return await courses[answer.lane].accept(answer)

        if on == "finish":
            moments = {c.end + c.weighed: c.lane for c in courses.values() if not c.refused}
        else:
            moments = {c.word if on == "first_token" else c.thinks: c.lane for c in courses.values()}
        expected = moments[min(moments)] if moments else None
        plan = Race(*words(*courses), on=on, accept=accept if on == "finish" else None)
        transport = memory(**{c.lane: c.script for c in courses.values()})
        async with fanout.open_fanout("?", plan, transport=transport) as running:
            async for tagged in running:
                if on != "finish" and moments and tagged.at >= min(moments):
                    assert running.winner and running.winner.lane == expected, seed  # from the verdict on
            run = running.run
        assert (run.winner.lane if run.winner else None) == expected, seed
        if expected is None:
            assert running.failure and [str(error) for error in running.failure.exceptions if "no good" in str(error)]
