"""The public calls, as a user makes them; the policies have their tests in engine/test_group.py."""

import asyncio
import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import fanout
from fanout import AllLanesFailed, Consensus, Delta, Quorum, Race, Status, Timeouts, UsageError
from fanout.abc import Head, OnLose, Request
from fanout.connections import Connections
from fanout.errors import (
    ServerError,
    TimedOut,
)
from fanout.events import Conversation, End, Event
from fanout.prompt import Message, Options, Prompt
from fanout.prompt.history import History
from fanout.transports.memory import HANG, MemoryTransport
from tests.engine.test_attempt import STOPPING, Desk, Site, login_as, site_transport
from tests.words import Words, WordsReader, memory, said, words


async def test_race_returns_the_winners_answer(autojump_clock: MockClock) -> None:
    answer = await fanout.race("?", words("a", "b"), transport=memory(a=said("late", first=2), b=said("x")))
    assert (answer.lane, answer.text, answer.status) == ("b", "x", Status.FINISHED)


async def test_race_raises_all_errors_when_nobody_wins(autojump_clock: MockClock) -> None:
    transport = memory(a=[0.1, b"part", b"!no"], b=[HANG])
    with pytest.RaisesGroup(ServerError, TimedOut) as caught:
        await fanout.race("?", words("a", "b"), transport=transport, timeouts=Timeouts(first=1))
    assert isinstance(caught.value, AllLanesFailed)
    assert isinstance(caught.value, fanout.FanoutError)
    assert [(error.lane, error.partial) for error in caught.value.exceptions] == [("a", "part"), ("b", "")]  # type: ignore[union-attr]


async def test_gather_returns_one_answer_a_lane_in_order(autojump_clock: MockClock) -> None:
    transport = memory(a=said("late", first=2), b=[b"!no"], c=said("x"))
    answers = await fanout.gather("?", words("a", "b", "c"), transport=transport, retries=0)
    assert [answer.text for answer in answers] == ["late", "", "x"]


async def test_one_lane_alone_is_a_plan_too(autojump_clock: MockClock) -> None:
    assert (await fanout.race("?", words("a")[0], transport=memory(a=said("x")))).text == "x"


async def test_the_stream_carries_every_event_tagged_with_lane_and_time(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", "y", first=1, gap=1))
    async with fanout.open_fanout("?", words("a"), transport=transport) as running:
        seen = [(tagged.lane, tagged.at, tagged.event) async for tagged in running]
    assert seen[1:] == [("a", 1, Delta("x")), ("a", 2, Delta("y")), ("a", 2, End(Status.FINISHED, "stop"))]


async def test_a_slow_reader_neither_slows_a_lane_nor_changes_its_times(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", "y", first=1, gap=1))
    async with fanout.open_fanout("?", words("a"), transport=transport) as running:
        await trio.sleep(100)
        times = [tagged.at async for tagged in running]
    assert times[-1] == 2
    assert running.run.answers[0].elapsed == 2


async def test_leaving_the_block_early_ends_everything(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*"abcdef"), b=[HANG])
    async with fanout.open_fanout("?", words("a", "b"), transport=transport) as running:
        async for tagged in running:
            if isinstance(tagged.event, Delta):
                break
    assert transport.open == 0
    assert [answer.status for answer in running.run.answers] == ["cancelled", "cancelled"]


async def test_the_run_can_be_looked_at_while_it_runs(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=1), b=[HANG])
    async with fanout.open_fanout("?", fanout.All(*words("a", "b")), transport=transport) as running:
        await trio.sleep(5)
        run = running.run
        assert [answer.status for answer in run.answers] == ["finished", None]
        assert run.elapsed == 5
        assert running.lanes == ["a", "b"]
        assert running.failure is None


async def test_a_lanes_clocks_go_before_the_calls_and_these_before_the_providers(autojump_clock: MockClock) -> None:
    lanes = [
        fanout.catalog.LaneSpec("own", words("a")[0], timeouts=Timeouts(first=1), usual=Timeouts(first=9)),
        fanout.catalog.LaneSpec("call", words("a")[0], usual=Timeouts(first=9)),
    ]
    answers = await fanout.gather("?", lanes, transport=memory(a=[HANG]), timeouts=Timeouts(first=2))
    assert [answer.elapsed for answer in answers] == [1, 2]
    usual = fanout.catalog.LaneSpec("usual", words("a")[0], usual=Timeouts(first=9))
    (answer,) = await fanout.gather("?", [usual], transport=memory(a=[HANG]), timeouts=Timeouts(total=20))
    assert answer.notes == ("no content within 9 s; as the only lane left it was waited for",)


async def test_retries_are_the_lanes_then_the_calls_then_the_policys(autojump_clock: MockClock) -> None:
    async def asked(lane: Any, **settings: Any) -> int:
        transport = memory(a=[b"!no"])
        await fanout.ask("?", Race(lane), transport=transport, **settings)
        return len(transport.exchanges)

    (lane,) = words("a")
    assert await asked(lane) == 2
    assert await asked(lane, retries=3) == 4
    assert await asked(fanout.catalog.LaneSpec("a", lane, retries=0), retries=3) == 1


@pytest.mark.parametrize("on_lose", ["cancel", "keep"])
async def test_a_run_says_which_answers_were_kept(on_lose: OnLose, autojump_clock: MockClock) -> None:
    transport = memory(a=[1, b"x", b"."], b=[5, b"late", b"."], c=[2, b"y", b"."])
    run = await fanout.ask("?", Quorum(*words("a", "b", "c"), k=2), transport=transport, on_lose=on_lose)
    assert [answer.lane for answer in run.kept] == ["a", "c"]
    assert run["b"].text == ("late" if on_lose == "keep" else "")


async def test_no_answer_is_kept_where_too_few_came(autojump_clock: MockClock) -> None:
    transport = memory(a=[1, b"x", b"."], b=[2, b"!no"])
    run = await fanout.ask("?", Quorum(*words("a", "b"), k=2), transport=transport, retries=0)
    assert (run.kept, run["a"].text) == ((), "x")


async def test_a_prompt_may_be_messages_and_a_system_text_goes_before(autojump_clock: MockClock) -> None:
    seen: list[Request] = []

    def script(request: Request) -> list[Any]:
        seen.append(request)
        return said("x")

    await fanout.ask([{"role": "user", "content": "hello"}], words("a"), transport=MemoryTransport(script), system="s")
    assert seen[0].body == b"hello"


async def test_a_budget_is_shared_by_the_calls_that_share_a_transport(autojump_clock: MockClock) -> None:
    transport = Connections(memory(a=[b"!no"]))
    for _ in range(100):
        await fanout.ask("?", words("a"), transport=transport, retries=5)
    assert len(transport.transport.exchanges) == 104  # type: ignore[attr-defined]


async def test_the_callers_own_exception_comes_out_with_its_own_cause(autojump_clock: MockClock) -> None:
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="mine") as caught:
        async with fanout.open_fanout("?", words("a"), transport=memory(a=[HANG])):
            raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause
    assert not isinstance(caught.value.__context__, BaseExceptionGroup)


@pytest.mark.parametrize("lane", [5, None, b"local"])
async def test_what_is_no_lane_is_a_usage_error(lane: Any) -> None:
    with pytest.raises(UsageError, match="a lane is a spec"):
        await fanout.ask("?", [lane], transport=memory())


async def test_a_plan_that_chooses_nobody_is_no_race_and_costs_nothing(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x"))
    with pytest.raises(UsageError, match="All chooses no winner"):
        await fanout.race("?", fanout.All(*words("a")), transport=transport)
    assert not transport.exchanges


async def test_a_plan_keeps_its_own_rules() -> None:
    with pytest.raises(UsageError, match="its own on and accept"):
        await fanout.race("?", Race(*words("a")), accept=lambda _: False, transport=memory())


@pytest.mark.parametrize("prompt", [5, b"hi", None, {"role": "user", "content": "x"}, ["hi"], [5]])
async def test_what_is_no_prompt_is_a_usage_error(prompt: Any) -> None:
    with pytest.raises(UsageError, match=r"a (prompt|message) is"):
        await fanout.race(prompt, words("a"), transport=memory())


async def test_a_wrong_word_for_on_lose_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cancel or keep"):
        await fanout.race("?", words("a"), transport=memory(), on_lose="kep")  # type: ignore[arg-type]


async def test_a_mistyped_setting_is_named_with_the_right_one() -> None:
    # The type checker refuses them too: else it would complain that nothing is ignored here.
    with pytest.raises(UsageError, match="there is no setting 'timeout'; did you mean timeouts"):
        await fanout.race("?", words("a"), timeout=5)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="there is no setting 'acept'; did you mean accept"):
        await fanout.race("?", words("a"), acept=bool)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="there is no setting 'dead_line'; did you mean deadline"):
        await fanout.gather("?", words("a"), dead_line=5)  # type: ignore[call-arg]
    with pytest.raises(
        UsageError, match=r"there is no setting 'temperature'; did you mean options=Options\(temperature=…\)"
    ):
        await fanout.race("hi", "openai/m", temperature=0)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"there is no setting 'first'; did you mean timeouts=Timeouts\(first=…\)"):
        await fanout.ask("hi", "openai/m", first=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="there is no setting 'zzz'; there are transport, timeouts, retries"):
        await fanout.ask("?", words("a"), zzz=5)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="there is no setting 'on'; there are transport"):
        await fanout.ask("?", words("a"), on="finish")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="did you mean retries"):
        async with fanout.open_fanout("?", words("a"), retry=0):  # type: ignore[call-arg]
            pass
    with pytest.raises(UsageError, match="there is no option 'temprature'; did you mean temperature"):
        fanout.Options(temprature=0)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="there is no clock 'timeout'; did you mean total"):
        fanout.Timeouts(timeout=5)  # type: ignore[call-arg]


async def test_an_empty_prompt_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="empty"):
        await fanout.race(" ", words("a"), transport=memory())


# Conversations.


class Keeping(Words):
    """A service that keeps its conversations: its answers come with a state that is its name and a count."""

    def request(self, prompt: Prompt) -> Request:
        said = [[message.role, message.text] for message in prompt.messages]
        return Request("POST", f"http://{self.name}/", body=json.dumps([said, prompt.state]).encode())

    def read(self, head: Head, request: Request | None = None) -> WordsReader:
        return KeepingReader(head, self.name)


class KeepingReader(WordsReader):
    def __init__(self, head: Head, name: str) -> None:
        super().__init__(head)
        self.name = name

    def feed(self, data: bytes, /) -> list[Event]:
        events = super().feed(data)
        if events and isinstance(events[-1], End) and events[-1].error is None:
            events[-1:-1] = [Conversation({"of": self.name})]
        return events


def asked_of(transport: MemoryTransport, name: str) -> Any:
    """The messages and the state that a service was sent last."""
    return next(
        json.loads(exchange.request.body)
        for exchange in reversed(transport.exchanges)
        if exchange.request.url == f"http://{name}/"
    )


async def test_a_conversation_goes_on_lane_by_lane(autojump_clock: MockClock) -> None:
    lanes = [Keeping("a"), Keeping("b")]
    transport = memory(a=said("from-a", first=1), b=said("from-b", first=2))
    run = await fanout.ask("hi", fanout.All(*lanes), transport=transport, system="be brief")
    assert run.conversation
    again = History.from_json(json.loads(json.dumps(run.conversation.to_json())))
    await fanout.ask("and?", fanout.All(*lanes), transport=transport, conversation=again)
    assert asked_of(transport, "a") == [
        [["system", "be brief"], ["user", "hi"], ["assistant", "from-a"], ["user", "and?"]],
        {"of": "a"},
    ]
    assert asked_of(transport, "b")[0][2:] == [["assistant", "from-b"], ["user", "and?"]]
    assert asked_of(transport, "b")[1] == {"of": "b"}


async def test_the_loser_of_a_race_goes_on_from_the_winners_words(autojump_clock: MockClock) -> None:
    lanes = [Keeping("a"), Keeping("b")]
    transport = memory(a=said("from-a", first=1), b=[0.5, b"half", HANG], c=said("from-c"))
    run = await fanout.ask("hi", Race(*lanes), transport=transport)
    assert run.conversation
    assert list(run.conversation.lanes) == ["a"]
    await fanout.ask("and?", fanout.All(*lanes, Keeping("c")), transport=transport, conversation=run.conversation,
                     timeouts=Timeouts(total=3))  # fmt: skip
    assert asked_of(transport, "a")[1] == {"of": "a"}
    for name in ("b", "c"):  # and a new lane likewise
        assert asked_of(transport, name) == [[["user", "hi"], ["assistant", "from-a"], ["user", "and?"]], None]


async def test_what_a_lane_had_before_it_lost_is_not_what_it_goes_on_from(autojump_clock: MockClock) -> None:
    scripts: dict[str, list[Any]] = {"a": said("one", first=1), "b": said("two", first=2)}
    transport = MemoryTransport(scripts)
    lanes = [Keeping("a"), Keeping("b")]
    first = await fanout.ask("1", fanout.All(*lanes), transport=transport)
    second = await fanout.ask("2", Race(*lanes), transport=transport, conversation=first.conversation)
    await fanout.ask("3", fanout.All(*lanes), transport=transport, conversation=second.conversation)
    texts = [text for _, text in asked_of(transport, "b")[0]]
    assert texts == ["1", "one", "2", "one", "3"]


async def test_a_conversation_has_tool_calls_and_refusals(autojump_clock: MockClock) -> None:
    run = await fanout.ask("hi", Race(*words("a")), transport=memory(a=[b"-never", b"."]))
    assert run.conversation and run.conversation.usual
    assert run.conversation.usual.messages[-1] == Message("assistant", "never")


async def test_where_nobody_answered_there_is_no_conversation(autojump_clock: MockClock) -> None:
    run = await fanout.ask("hi", words("a"), transport=memory(a=[b"!no"]), retries=0)
    assert run.conversation is None


async def test_there_is_no_conversation_before_the_end(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x", first=1), b=[2, b"y", b"."])
    async with fanout.open_fanout("?", fanout.All(*words("a", "b")), transport=transport) as running:
        await trio.sleep(1.5)
        assert running.run.conversation is None
        async for _ in running:
            pass
        assert running.run.conversation


async def test_the_winner_of_a_nested_plan_is_what_new_lanes_go_on_from(autojump_clock: MockClock) -> None:
    transport = memory(a=said("from-a", first=2), b=said("from-b", first=1), c=[b"!no"])
    plan = Race(fanout.Fallback(*words("c", "b")), fanout.All(*words("a")))
    run = await fanout.ask("hi", plan, transport=transport, on_lose="keep", retries=0)
    assert run.conversation and run.conversation.usual
    assert set(run.conversation.lanes) == {"a", "b"}
    assert run.conversation.usual.messages[-1].text == "from-b"


async def test_a_lane_may_log_in_with_what_the_caller_gives(autojump_clock: MockClock) -> None:
    desk = Desk(login_as("good"))
    connections = Connections(site_transport(*said("x")), login=desk)
    answer = await fanout.race("?", Site("a"), transport=connections)
    assert (answer.text, desk.asked) == ("x", [None])


async def test_the_others_run_on_while_one_lane_waits_for_a_person(autojump_clock: MockClock) -> None:
    connections = Connections(
        MemoryTransport(lambda request: said("x", first=5) if request.url == "http://b/" else [HANG]),
        login=Desk(login_as("good"), takes=1000),
    )
    began = trio.current_time()
    answer = await fanout.race("?", [Site("a"), *words("b")], transport=connections)
    assert (answer.lane, trio.current_time() - began) == ("b", 5)


async def test_a_race_is_over_when_its_losers_have_said_farewell(autojump_clock: MockClock) -> None:
    def script(request: Request) -> Any:
        if request.method == "DELETE":
            return [0.25]
        return [1, b"x", HANG] if request.url == "http://a/" else said("y", first=2)

    began = trio.current_time()
    run = await fanout.ask("?", Race(STOPPING, *words("b")), transport=MemoryTransport(script))
    assert run.winner and run.winner.elapsed == 2
    assert run["a"].elapsed == 2
    assert trio.current_time() - began == 2.25


# Settings.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeouts": 5}, r"timeouts takes Timeouts\(first=10, total=60\), in seconds, not 5"),
        ({"timeouts": Timeouts(first="3s")}, "first takes a time above 0, not '3s'"),  # type: ignore[arg-type]
        ({"timeouts": Timeouts(idle=-1)}, "idle takes a time above 0, not -1"),
        ({"deadline": "5"}, "deadline takes a number of seconds, math.inf for none, not '5'"),
        ({"deadline": None}, "deadline takes a number of seconds"),
        ({"retries": "5"}, "retries takes a whole number from 0 on, not '5'"),
        ({"retries": -1}, "retries takes a whole number from 0 on, not -1"),
        (
            {"conversation": [{"role": "user", "content": "hi"}]},
            "conversation takes the conversation of an earlier run",
        ),
        ({"system": 5}, "system takes a text, not 5"),
        ({"config": "fanout.toml"}, "config takes what fanout.catalog.config.load returns, not 'fanout.toml'"),
    ],
)
async def test_a_setting_of_another_type_is_a_usage_error_before_anything_is_sent(given: Any, words: str) -> None:
    transport = MemoryTransport({})
    with pytest.raises(UsageError, match=words):
        await fanout.race("hi", "openai/m?base_url=http://127.0.0.1:1/v1", transport=transport, **given)
    assert transport.exchanges == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": "hot"}, "temperature takes a number, not 'hot'"),
        ({"max_tokens": "many"}, "max_tokens takes a whole number from 0 on, of at most 64 bits, not 'many'"),
        ({"stop": "END"}, "stop takes a list of texts in quotes, not 'END'"),
    ],
)
async def test_an_option_of_another_type_is_a_usage_error(options: Any, words: str) -> None:
    prompt = Prompt.of("hi").with_options(Options(**options))
    with pytest.raises(UsageError, match=words):
        await fanout.race(prompt, "openai/m?base_url=http://127.0.0.1:1/v1", transport=MemoryTransport({}))


def test_without_trio_a_call_says_what_to_do() -> None:
    async def stream() -> None:
        async with fanout.open_fanout("hi", "openai/m"):
            pass

    async def connect() -> None:
        async with fanout.open_transport():
            pass

    calls = {
        "await fanout.aio.race": fanout.race("hi", "openai/m"),
        "await fanout.aio.gather": fanout.gather("hi", "openai/m"),
        "async with fanout.aio.open_fanout": stream(),
        "async with fanout.aio.open_transport": connect(),
    }
    for usage, call in calls.items():
        with pytest.raises(UsageError, match=rf"runs on Trio, and here runs asyncio: {usage}\("):
            asyncio.run(call)


async def test_options_of_a_call_go_over_the_prompts_and_a_lanes_own_over_these(autojump_clock: MockClock) -> None:
    seen = []

    class Noting(Words):
        def request(self, prompt: Prompt) -> Any:
            seen.append((prompt.options.temperature, prompt.options.max_tokens, prompt.options.seed))
            return super().request(prompt)

    lane = fanout.catalog.LaneSpec("a", Noting("a"), options=Options(seed=3))
    prompt = Prompt.of("?").with_options(Options(temperature=1, max_tokens=9, seed=1))
    given = Options(temperature=0, seed=2)
    for _ in range(3):
        await fanout.race(prompt, [lane], transport=memory(a=said("hello")), options=given)
    assert seen == [(0, 9, 3)] * 3
    with pytest.raises(UsageError, match=r"options=Options\(temperature=…\)"):
        await fanout.race("?", [lane], temperature=0)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="max_tokens takes a whole number"):
        await fanout.race("?", [lane], options=Options(max_tokens=0.5))  # type: ignore[arg-type]


async def test_a_run_is_plain_data_too(autojump_clock: MockClock) -> None:
    run = await fanout.ask("?", words("a", "b"), transport=memory(a=said("x"), b=said("y", first=9)))
    data = json.loads(json.dumps(run.to_dict()))
    assert data["winner"] == "a"
    assert [answer["status"] for answer in data["answers"]] == ["finished", "cancelled"]
    assert data["wasted"]["at_least"] is True


async def test_lanes_that_do_not_agree_are_an_error_of_a_race_and_all_kept_by_ask(autojump_clock: MockClock) -> None:
    transport = memory(a=said("x"), b=said("y"))
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", Consensus(*words("a", "b")), transport=transport)
    assert all("the lanes did not agree" in str(error) for error in caught.value.exceptions)
    run = await fanout.ask("?", Consensus(*words("a", "b")), transport=transport)
    assert [answer.lane for answer in run.kept] == ["a", "b"]
    assert (run.winner, run.wasted.tokens) == (None, 0)
    nested = await fanout.ask(
        "?",
        Race(Consensus(*words("a", "b")), *words("c")),
        transport=memory(a=said("x"), b=said("y"), c=said("z", first=1)),
    )
    assert nested.winner and nested.winner.lane == "c"
