"""Plans with a judge, at work in virtual time: real nurseries, real cancellation, scripted lanes and judges."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import (
    AllLanesFailed,
    Best,
    Consensus,
    Fallback,
    Fuse,
    Options,
    Prompt,
    Race,
    Status,
    TimedOut,
)
from fanout.abc import Request
from fanout.engine import staged
from fanout.errors import Refused
from fanout.events import End
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.words import Words, memory, said, watch, words


def verdict(label: str, first: float = 0.1) -> Script:
    """A judge that names the answer with this label, in one word of our wire."""
    return [first, json.dumps({"best": label, "why": "so"}, separators=(",", ":")).encode() + b" ."]


def picks(text: str, first: float = 0.1) -> Callable[[Request], Script]:
    """A judge that looks for a text among the answers and names its label."""

    def judge(request: Request) -> Script:
        return verdict(label_of(text, request.body.decode()), first)

    return judge


def label_of(text: str, shown: str) -> str:
    before = shown.split(f"\n{text}\n", maxsplit=1)[0].rsplit(">>> answer ", 1)[1]
    return before.split()[0]


def served(scripts: dict[str, Script | Callable[[Request], Script]]) -> MemoryTransport:
    """A transport whose scripts may look at the request."""

    def find(request: Request) -> Script:
        script = scripts[request.url.split("//")[1].rstrip("/")]
        return script(request) if callable(script) else script

    return MemoryTransport(find)


def best(*lanes: Any, **settings: Any) -> Best:
    return Best(*words(*lanes), judge=Words("d"), **settings)


def fuse(*lanes: Any, **settings: Any) -> Fuse:
    return Fuse(*words(*lanes), judge=Words("d"), **settings)


async def test_the_judge_names_the_winner_whose_own_answer_it_is(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two", first=0.2), "c": said("six", first=0.3), "d": picks("two")})
    seen = await watch(best("a", "b", "c"), transport)
    run = seen.run
    assert run.winner and (run.winner.lane, run.winner.text) == ("b", "two")
    assert [answer.lane for answer in run.answers] == ["a", "b", "c", "judge"]
    assert run.verdict and (run.verdict.best, run.verdict.why, run.verdict.judge) == ("b", "so", "judge")
    assert set(run.verdict.labels.values()) == {"a", "b", "c"}
    assert [answer.lane for answer in run.kept] == ["b"]
    assert run.wasted.tokens == 2
    assert run.overhead.tokens == run["judge"].tokens > 0
    assert seen.start_at("judge") == pytest.approx(0.3)


async def test_every_judge_of_a_run_that_nobody_asked_has_its_end(autojump_clock: MockClock) -> None:
    seen = await watch(best("a", "b", swap=True), memory(a=said("one"), b=[0.3, b"!no"], d=verdict("A")), retries=0)
    assert seen.run.winner and seen.run.winner.lane == "a"
    assert seen.of("judge") == seen.of("judge#2") == [End(Status.CANCELLED)]
    assert seen.run.elapsed == pytest.approx(0.3)
    assert seen.run.verdict is None


async def test_without_any_answer_every_lane_says_why(autojump_clock: MockClock) -> None:
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", best("a", "b"), transport=memory(a=[0.1, b"!x"], b=[0.1, b"!y"]), retries=0)
    errors: list[Any] = list(caught.value.exceptions)
    assert [error.lane for error in errors] == ["a", "b"]


@pytest.mark.parametrize("make", [best, fuse])
async def test_the_judge_starts_when_enough_have_answered_and_the_grace_is_over(
    make: Any, autojump_clock: MockClock
) -> None:
    transport = served({"a": said("one", first=4), "b": said("two", first=5), "c": [HANG], "d": picks("two")})
    seen = await watch(make("a", "b", "c"), transport)
    assert seen.start_at("judge") == pytest.approx(6)  # a fifth of five seconds
    assert seen.run["c"].status is Status.CANCELLED
    assert seen.end_at("c") == pytest.approx(6)


async def test_the_grace_is_half_a_second_at_least_and_what_comes_in_it_counts(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two"), "c": said("six", first=0.5), "d": picks("six")})
    seen = await watch(best("a", "b", "c"), transport)
    assert seen.start_at("judge") == pytest.approx(0.5)
    assert seen.run.winner and seen.run.winner.lane == "c"


async def test_grace_and_enough_can_be_set(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two", first=0.3), "c": [HANG], "d": picks("two")})
    seen = await watch(best("a", "b", "c", enough=1, grace=0.25), transport)
    assert seen.start_at("judge") == pytest.approx(0.35)


async def test_kept_lanes_run_on_beside_the_judge_and_are_waste(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two"), "c": said(*"xyz", first=2), "d": picks("two", first=5)})
    seen = await watch(best("a", "b", "c", on_lose="keep"), transport)
    assert seen.start_at("judge") == pytest.approx(0.6)
    assert (seen.run["c"].status, seen.run["c"].text) == (Status.FINISHED, "xyz")
    assert seen.run.wasted.tokens == 3 + 1


@pytest.mark.parametrize(
    "judge",
    [
        [0.1, b"!broken"],
        [0.1, b'{"best": ."'],
        [0.1, b"Neither ."],
        verdict("D"),
        [0.1, b'{"best":"A"} {"best":"B"} .'],
        [0.1, b'{"best":"A","best":"B"} .'],
        [0.1, b"."],
        [0.1, b"-never ."],
        [HANG],
    ],
    ids=str,
)
async def test_where_the_judge_fails_the_first_that_finished_wins_and_the_error_is_kept(
    judge: Script, autojump_clock: MockClock
) -> None:
    transport = memory(a=said("one", first=0.3), b=said("two"), d=judge)
    seen = await watch(best("a", "b"), transport, retries=0)
    run = seen.run
    assert run.winner and run.winner.lane == "b"
    assert run.verdict and run.verdict.error and run.verdict.best is None
    assert run.verdict.error.lane == "judge"
    assert run.overhead.tokens == run["judge"].tokens


async def test_a_fallback_of_judges_asks_the_next_where_a_verdict_cannot_be_read(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two"), "d": said("hm"), "e": picks("two")})
    seen = await watch(Best(*words("a", "b"), judge=Fallback(*words("d", "e"))), transport)
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert seen.run.verdict and seen.run.verdict.judge == "judge#2"
    assert seen.run.overhead.tokens == seen.run["judge"].tokens + seen.run["judge#2"].tokens


async def test_two_orders_find_a_judge_who_always_takes_the_first(autojump_clock: MockClock) -> None:
    for seed in range(20):
        transport = memory(a=said("one", first=0.3), b=said("two"), d=verdict("A"))
        prompt = Prompt.of("?").with_options(Options(seed=seed))
        async with fanout.open_fanout(prompt, best("a", "b", swap=True), transport=transport) as running:
            async for _ in running:
                pass
            run = running.run
        assert {verdict.best for verdict in run.verdicts} == {"a", "b"}
        assert run.winner and run.winner.lane == "b"  # which finished first


async def test_two_orders_in_which_one_judge_fails_are_decided_by_the_other(autojump_clock: MockClock) -> None:
    judges: Iterator[Any] = iter([picks("one"), lambda _: [0.1, b"!no"]])
    transport = served({"a": said("one", first=0.3), "b": said("two"), "d": lambda request: next(judges)(request)})
    seen = await watch(best("a", "b", swap=True), transport, retries=0)
    assert seen.run.winner and seen.run.winner.lane == "a"
    assert [verdict.best for verdict in seen.run.verdicts if verdict.error is None] == ["a"]


async def test_a_fusion_is_the_judges_own_words_from_the_first_on(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two"), d=said("both", "of", "them", gap=1))
    async with fanout.stream("?", fuse("a", "b"), transport=transport) as text:
        got = [(piece, trio.current_time()) async for piece in text]
        run = text.run
    assert [piece for piece, _ in got] == ["both", "of", "them"]
    assert got[1][1] - got[0][1] == pytest.approx(1)
    assert run.winner and (run.winner.lane, run.winner.text) == ("judge", "bothofthem")
    assert run.overhead.tokens == 2
    assert run.wasted.tokens == 0
    assert [answer.lane for answer in run.kept] == ["judge"]


async def test_a_fusion_that_breaks_off_is_the_first_answer_and_its_stream_says_so(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two", first=0.2), d=[0.1, b"both", 0.1, b"!gone"])
    run = await fanout.ask("?", fuse("a", "b"), transport=transport)
    assert run.winner and run.winner.lane == "a"
    assert run.verdict and run.verdict.error and run.verdict.error.partial == "both"
    with pytest.raises(AllLanesFailed, match="broke off"):
        async with fanout.stream("?", fuse("a", "b"), transport=transport) as text:
            assert [piece async for piece in text] == ["both"]


async def test_an_analysis_comes_before_the_fusion_and_names_the_lanes(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    def judge(request: Request) -> Script:
        asked.append(request.body.decode())
        if len(asked) > 1:
            return said("fused")
        found = {"consensus": ["x"], "unique_insights": [{"model": label_of("two", asked[0]), "insight": "y"}]}
        return [0.1, json.dumps(found, separators=(",", ":")).encode() + b" ."]

    seen = await watch(fuse("a", "b", analysis=True), served({"a": said("one"), "b": said("two"), "d": judge}))
    assert seen.run.winner and seen.run.winner.text == "fused"
    assert seen.run.winner.lane == "judge#2"
    assert seen.run.analysis == {"consensus": ["x"], "unique_insights": [{"model": "b", "insight": "y"}]}
    assert "Your own analysis" in asked[1]
    assert seen.run.overhead.tokens == 2 + seen.run["judge"].tokens


async def test_a_fusion_without_its_analysis_is_written_all_the_same(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two"), d=said("fused"))
    seen = await watch(fuse("a", "b", analysis=True), transport)
    assert seen.run.winner and seen.run.winner.text == "fused"
    assert seen.run.analysis is None
    assert [type(verdict.error) for verdict in seen.run.verdicts] == [Refused]


async def test_a_deadline_that_leaves_the_judge_no_time_leaves_the_first_answer(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two", first=0.3), c=[HANG], d=verdict("A"))
    seen = await watch(Consensus(*words("a", "b", "c"), or_judge=Words("d"), deadline=2), transport)
    assert seen.run.winner and seen.run.winner.lane == "a"
    assert seen.run.elapsed == pytest.approx(2)
    error = seen.run.verdict and seen.run.verdict.error
    assert isinstance(error, TimedOut) and error.clock == "deadline"
    assert seen.run["judge"].elapsed is None  # it was never asked


async def test_the_deadline_of_the_call_cuts_the_judge_off(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two"), d=[HANG])
    run = await fanout.ask("?", best("a", "b"), transport=transport, deadline=3)
    assert run.winner and run.elapsed == pytest.approx(3)
    assert run.verdict and isinstance(run.verdict.error, TimedOut)


async def test_a_silent_judge_is_not_waited_for_beyond_its_clock(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("two"), d=[HANG])
    run = await fanout.ask("?", best("a", "b"), transport=transport)
    assert run.winner
    assert run.elapsed == pytest.approx(60.1)


async def test_the_only_lane_left_is_waited_for_and_one_beside_an_answer_is_not(autojump_clock: MockClock) -> None:
    transport = memory(a=said("one"), b=said("late", first=90), d=verdict("A"))
    run = await fanout.ask("?", best("a", "b"), transport=transport)
    assert isinstance(run["b"].error, TimedOut) and run.elapsed == pytest.approx(60)
    run = await fanout.ask("?", best("a"), transport=memory(a=said("late", first=90)))
    assert run.winner and run.winner.text == "late"


async def test_the_judge_can_be_cancelled_by_its_name_at_any_time(autojump_clock: MockClock) -> None:
    for moment in (0.0, 0.15, 0.25):
        transport = memory(a=said("one"), b=said("two", first=0.2), d=[HANG])
        async with fanout.open_fanout("?", best("a", "b"), transport=transport) as running:
            async with trio.open_nursery() as nursery:

                async def cancel(after: float = moment, events: fanout.Fanout = running) -> None:
                    await trio.sleep(after)
                    events.cancel("judge")

                nursery.start_soon(cancel)
                async for _ in running:
                    pass
            run = running.run
        assert run.winner and run.winner.lane == "a", moment
        assert run["judge"].status is Status.CANCELLED
        assert run.verdict and "cancelled" in str(run.verdict.error)


@pytest.mark.parametrize("moment", [0.05, 0.15, 0.25, 0.35])
@pytest.mark.parametrize("make", [best, fuse])
async def test_cancelled_as_a_whole_it_ends_without_an_answer_and_nothing_is_left(
    make: Any, moment: float, autojump_clock: MockClock
) -> None:
    transport = memory(a=said("one"), b=said("two", first=0.2), d=said(*"xxxxx"))
    async with fanout.open_fanout("?", make("a", "b"), transport=transport) as running:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await trio.sleep(moment)
                running.cancel()

            nursery.start_soon(cancel)
            ends = [tagged.lane async for tagged in running if isinstance(tagged.event, End)]
        run = running.run
    assert sorted(ends) == ["a", "b", "judge"]
    assert run.winner is None
    assert run.elapsed == pytest.approx(moment)
    assert transport.open == 0


async def test_within_a_race_on_the_first_token_only_the_answer_speaks(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two"), "d": picks("two", first=0.5), "e": said("slow", first=0.9)})
    seen = await watch(Race(best("a", "b"), Words("e"), on="first_token"), transport)
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert seen.end_at("e") == pytest.approx(0.6)
    transport = served({"a": said("one"), "b": said("two"), "d": picks("two", first=2), "e": said("quick", first=0.9)})
    seen = await watch(Race(best("a", "b"), Words("e"), on="first_token"), transport)
    assert seen.run.winner and seen.run.winner.lane == "e"
    assert seen.run["judge"].status is Status.CANCELLED
    assert seen.run.overhead.tokens == 0
    assert seen.run.wasted.tokens == 2


async def test_a_race_may_judge_and_a_best_may_be_a_judges_lane(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said("two"), "d": picks("two", first=2), "e": picks("one")})
    seen = await watch(Best(*words("a", "b"), judge=Race(*words("d", "e"))), transport)
    assert seen.run.winner and seen.run.winner.lane == "a"
    judge = Best(*words("d", "e"), judge=Words("f"))
    transport = served({"a": said("one"), "b": said("two"), "d": picks("two"), "e": picks("two"), "f": verdict("A")})
    seen = await watch(Best(*words("a", "b"), judge=judge), transport)
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert seen.run.overhead.tokens == sum(seen.run[lane].tokens for lane in ("judge", "judge#2", "judge#3"))


async def test_a_race_within_is_one_candidate_and_its_loser_is_waste(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one"), "b": said(*"long"), "c": said("six", first=0.2), "d": picks("one")})
    seen = await watch(Best(Race(*words("a", "b")), Words("c"), judge=Words("d")), transport)
    assert seen.run.winner and seen.run.winner.lane == "a"
    run = seen.run
    counted = sum(answer.tokens for answer in run.answers)
    assert counted == run.winner.tokens + run.wasted.tokens + run.overhead.tokens  # type: ignore[union-attr]


async def test_an_accept_that_raises_comes_out_and_leaves_the_state_whole(autojump_clock: MockClock) -> None:
    def accept(answer: fanout.Answer) -> bool:
        if answer.lane == "b":
            raise KeyError("mine")
        return True

    transport = memory(a=said("one"), b=said("two", first=0.2), d=verdict("A"))
    with pytest.raises(KeyError, match="mine"):
        await fanout.race("?", best("a", "b", accept=accept), transport=transport)
    assert transport.open == 0


async def test_the_words_of_candidates_are_never_the_answer_of_a_stream(autojump_clock: MockClock) -> None:
    transport = served({"a": said("one", "more"), "b": said("two"), "d": picks("two")})
    async with fanout.stream("?", best("a", "b"), transport=transport) as text:
        assert [piece async for piece in text] == ["two"]
        assert text.lane == "b"


async def test_a_conversation_goes_on_from_the_fused_answer(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    def judge(request: Request) -> Script:
        asked.append(request.body.decode())
        return said("fused")

    transport = served({"a": said("one"), "b": said("two"), "d": judge})
    run = await fanout.ask("First?", fuse("a", "b"), transport=transport)
    assert run.conversation and run.conversation.usual
    assert [message.text for message in run.conversation.usual.messages] == ["First?", "fused"]
    again = await fanout.ask("Second?", fuse("a", "b"), transport=transport, conversation=run.conversation)
    assert again.conversation and again.conversation.usual
    texts = [message.text for message in again.conversation.usual.messages]
    assert texts == ["First?", "fused", "Second?", "fused"]
    assert "[assistant]\nfused" in asked[1]


def test_every_move_is_in_the_table_and_no_other_is_made() -> None:
    assert {state for move in staged.MOVES for state in move} == set(staged.State)
    lane = staged.Staged.__new__(staged.Staged)
    lane.state = staged.ENDED
    with pytest.raises(RuntimeError, match="ENDED cannot become JUDGING"):
        lane._move(staged.JUDGING)


async def test_a_tie_is_handed_to_a_judge(autojump_clock: MockClock) -> None:
    transport = served({"a": said("x"), "b": said("y"), "c": said("z"), "e": said("Y."), "d": picks("y")})
    seen = await watch(Consensus(*words("a", "b", "c"), or_judge=Words("d")), transport)
    assert seen.run.winner and seen.run.winner.lane == "b"
    seen = await watch(Consensus(*words("a", "b", "e"), or_judge=Words("d")), transport)
    assert seen.run.winner and seen.run.winner.text.strip(".").lower() == "y"
    assert seen.run["judge"].elapsed is None
    assert sorted(seen.run.votes["y"]) == ["b", "e"]


async def test_an_empty_answer_is_not_shown_to_the_judge_of_a_tie(autojump_clock: MockClock) -> None:
    scripts: dict[str, Any] = {
        "a": [0.1, b" ."],
        "b": said("two", first=0.2),
        "c": said("three", first=0.3),
        "d": verdict("A"),
    }
    plan = Consensus(*words("a", "b", "c"), key=lambda answer: len(answer.text), or_judge=Words("d"))
    run = (await watch(plan, served(scripts))).run
    assert run.verdict and set(run.verdict.labels.values()) == {"b", "c"}
    assert run.winner and run.winner.text


@pytest.mark.parametrize("within", ["plan", "call"])
async def test_of_a_deadline_the_judge_has_a_fifth(within: str, autojump_clock: MockClock) -> None:
    scripts: dict[str, Any] = {"a": said("one"), "b": said("two", first=0.2), "c": [HANG], "d": picks("two", first=1.0)}
    plan = best("a", "b", "c", enough=3, **({"deadline": 10.0} if within == "plan" else {}))
    seen = await watch(plan, served(scripts), **({"deadline": 10.0} if within == "call" else {}))
    assert seen.run.winner and seen.run.winner.lane == "b"
    assert seen.run["c"].status is Status.CANCELLED
    assert seen.run.elapsed == pytest.approx(9.0, abs=0.2)


async def test_the_first_answer_that_comes_in_the_judges_fifth_is_the_answer(autojump_clock: MockClock) -> None:
    scripts: dict[str, Any] = {"a": said("one", first=9.0), "b": [HANG], "d": verdict("A")}
    run = (await watch(best("a", "b", deadline=10.0), served(scripts))).run
    assert run.winner and run.winner.lane == "a" and not run.verdicts
    assert run.elapsed == pytest.approx(9.0, abs=0.2)


@pytest.mark.parametrize("kind", [Race, Fallback])
async def test_a_verdict_is_read_whole_though_the_judges_win_by_a_first_word(
    kind: type[Race], autojump_clock: MockClock
) -> None:
    judge = kind(*words("d", "e"), on="first_token")
    scripts: dict[str, Any] = {"a": said("one"), "b": said("two", first=0.2)}
    scripts |= {"d": said("gibberish"), "e": picks("two", first=1.0)}
    run = (await watch(Best(*words("a", "b"), judge=judge), served(scripts))).run
    assert run.winner and run.winner.lane == "b"
    assert judge.on == "first_token"
