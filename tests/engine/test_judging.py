"""Answers that must fit a schema: the first valid one wins, and what cannot be mended is refused at once."""

from typing import Any, TypedDict
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from pydantic import BaseModel, field_validator
from trio.testing import MockClock

import fanout
from fanout import All, AllLanesFailed, Fallback, Hedge, Options, Quorum, Race, Refused, Status, UsageError
from fanout.abc import Head, Policy, Reader, Request
from fanout.events import End, Event, Started
from fanout.transports.memory import MemoryTransport
from tests.words import Words, WordsReader, memory, said, watch, words

PERSON = "name: str, age: int"
GOOD = '{"name":"Ann","age":3}'
BAD = '{"name":"Ann","age":"3"}'
PROSE = ("Sure!", "Here", "is", "what", "you", "want")


class Person(BaseModel):
    name: str
    age: int


class Row(TypedDict):
    name: str
    age: int


@attrs.frozen
class Record:
    name: str
    age: int


async def test_the_slow_valid_answer_wins_over_the_fast_prose(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*PROSE, first=0.1), b=said(GOOD, first=9))
    answer = await fanout.race("?", words("a", "b"), schema=PERSON, transport=transport)
    assert (answer.lane, answer.value) == ("b", {"name": "Ann", "age": 3})
    assert transport.open == 0


async def test_a_fallback_starts_its_next_lane_at_the_first_letter_of_prose(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*PROSE, first=1, gap=5), b=said(GOOD, first=1))
    seen = await watch(Fallback(*words("a", "b"), schema=PERSON), transport)
    assert seen.start_at("b") == pytest.approx(1)
    assert seen.end_at("a") == pytest.approx(1)
    assert seen.run.winner
    assert seen.run.winner.lane == "b"
    error = seen.run["a"].error
    assert isinstance(error, Refused)
    assert (error.kind, error.lane, error.partial) == ("refused", "a", "Sure!")
    assert error.why == (("", "it is not JSON: it begins with 'Sure!'"),)


async def test_early_false_waits_for_the_end_of_the_answer(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*PROSE, first=1, gap=1), b=said(GOOD, first=1))
    seen = await watch(Fallback(*words("a", "b")), transport, schema=PERSON, early=False)
    assert seen.start_at("b") == pytest.approx(6)


async def test_an_invalid_answer_starts_the_next_lane_and_says_why(autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD, first=1), b=said(GOOD, first=1))
    seen = await watch(Fallback(*words("a", "b")), transport, schema=PERSON)
    assert seen.start_at("b") == pytest.approx(1)
    error = seen.run["a"].error
    assert isinstance(error, Refused)
    assert error.why == (("/age", '"3" is not of type "integer"'),)
    assert seen.run["a"].text == BAD
    assert [answer.lane for answer in seen.run.kept] == ["b"]


async def test_all_lanes_invalid_raise_the_mistakes_of_each(autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD), b=said(*PROSE))
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", words("a", "b"), schema=PERSON, transport=transport)
    first, second = caught.value.exceptions
    assert isinstance(first, Refused)
    assert first.why[0][0] == "/age"
    assert isinstance(second, Refused)
    assert "it begins with 'Sure!'" in str(caught.value)


@pytest.mark.parametrize("form", [PERSON, Person, Row, Record])
async def test_every_form_of_schema_gives_an_equal_value(form: Any, autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD), b=said(f"```json\n{GOOD}\n```".replace(" ", ""), first=2))
    answer = await fanout.race("?", words("a", "b"), schema=form, transport=transport)
    value = answer.value
    plain = value.model_dump() if isinstance(value, Person) else attrs.asdict(value) if form is Record else value
    assert plain == {"name": "Ann", "age": 3}
    assert isinstance(value, dict if form in (PERSON, Row) else form)


async def test_accept_sees_the_value(autojump_clock: MockClock) -> None:
    transport = memory(a=said(GOOD), b=said('{"name":"Bob","age":9}', first=5))

    def is_old(answer: fanout.Answer) -> bool:
        return bool(answer.value["age"] > 5)

    answer = await fanout.race("?", words("a", "b"), schema=PERSON, accept=is_old, transport=transport)
    assert answer.value["name"] == "Bob"


async def test_a_nested_plan_judges_at_its_innermost_group(autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD, first=1), b=said(GOOD, first=1), c=said(GOOD, first=60))
    seen = await watch(Race(Fallback(*words("a", "b")), *words("c")), transport, schema=PERSON)
    assert seen.start_at("b") == pytest.approx(1)
    assert seen.run.winner
    assert (seen.run.winner.lane, seen.run.winner.value["age"]) == ("b", 3)


async def test_the_inner_plans_own_schema_goes_before_the_one_around_it(autojump_clock: MockClock) -> None:
    transport = memory(a=said('"text"', first=1), b=said(GOOD, first=3))
    plan = Race(Fallback(*words("a"), schema={"type": "string"}), *words("b"), schema=PERSON)
    assert (await fanout.race("?", plan, transport=transport)).value == "text"


async def test_gather_gives_values_and_refusals_side_by_side(autojump_clock: MockClock) -> None:
    good, bad = await fanout.gather("?", words("a", "b"), schema=PERSON, transport=memory(a=said(GOOD), b=said(BAD)))
    assert good.value == {"name": "Ann", "age": 3}
    assert (bad.value, bad.status) == (None, Status.FINISHED)
    assert isinstance(bad.error, Refused)


async def test_a_quorum_counts_valid_answers_alone(autojump_clock: MockClock) -> None:
    transport = memory(a=said(GOOD), b=said(*PROSE), c=said(GOOD, first=3))
    run = await fanout.ask("?", Quorum(*words("a", "b", "c"), k=2, schema=PERSON), transport=transport)
    assert [answer.lane for answer in run.kept] == ["a", "c"]


async def test_a_quorum_that_is_out_of_reach_by_an_early_refusal_is_over_at_once(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*PROSE, first=1, gap=9), b=said(GOOD, first=50))
    began = trio.current_time()
    run = await fanout.ask("?", Quorum(*words("a", "b"), k=2, schema=PERSON), transport=transport)
    assert run.winner is None
    assert trio.current_time() - began == pytest.approx(1)


@pytest.mark.parametrize("on", ["first_token", "first_thought"])
def test_a_schema_and_an_early_win_exclude_each_other(on: Any) -> None:
    with pytest.raises(UsageError, match="use finish"):
        Race("a/x", on=on, schema=PERSON)
    with pytest.raises(UsageError, match="use finish"):
        Hedge("a/x", on=on, schema=PERSON)


async def test_a_calls_schema_and_an_early_win_exclude_each_other_at_any_depth() -> None:
    for plan in (Race(*words("a"), on="first_token"), Race(Race(*words("a"), on="first_token"))):
        with pytest.raises(UsageError, match="use finish"):
            await fanout.race("?", plan, schema=PERSON, transport=memory())
    with pytest.raises(UsageError, match="use finish"):
        await fanout.race("?", words("a"), on="first_token", schema=PERSON, transport=memory())


async def test_stream_gives_the_text_of_the_valid_answer_alone(autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD, first=1), b=said(GOOD, first=3))
    async with fanout.stream("?", words("a", "b"), schema=PERSON, transport=transport) as text:
        assert [piece async for piece in text] == [GOOD]


async def test_the_schema_is_an_option_of_each_lanes_prompt(autojump_clock: MockClock) -> None:
    async with fanout.open_fanout("?", words("a"), schema=PERSON, transport=memory(a=said(GOOD))) as running:
        _ = [tagged async for tagged in running]
        [(lane, _)] = running._group.attempts()
        assert lane.prompt
        assert lane.prompt.options.schema
        assert lane.prompt.options.schema["required"] == ["name", "age"]


class Ending(WordsReader):
    """Ends as if max_tokens had been reached."""

    def _event(self, word: str) -> Event | None:
        event = super()._event(word)
        return End(Status.FINISHED, finish_reason="length") if isinstance(event, End) else event


class Cut(Words):
    def read(self, head: Head, request: Request | None = None) -> Reader:
        return Ending(head)


async def test_an_answer_that_max_tokens_cut_is_refused_for_that(autojump_clock: MockClock) -> None:
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", [Cut("a")], schema=PERSON, transport=memory(a=said(GOOD)))
    assert "cut off by max_tokens" in str(caught.value)


async def test_early_refusal_of_a_lane_that_is_kept_leaves_it_running(autojump_clock: MockClock) -> None:
    transport = memory(a=said(*PROSE, first=1, gap=1), b=said(GOOD, first=1))
    seen = await watch(Fallback(*words("a", "b")), transport, schema=PERSON, on_lose="keep")
    assert seen.start_at("b") == pytest.approx(1)
    assert seen.end_at("a") == pytest.approx(6)
    assert seen.run["a"].text == "".join(PROSE)
    assert seen.run.winner
    assert seen.run.winner.lane == "b"


async def test_a_wrong_value_in_the_middle_is_refused_within_the_next_look(autojump_clock: MockClock) -> None:
    pieces = ['{"age":"no",', '"name":"', *["x"] * 300, '"}']
    transport = memory(a=said(*pieces, first=0, gap=1), b=said(GOOD, first=1))
    seen = await watch(Fallback(*words("a", "b")), transport, schema=PERSON)
    assert seen.end_at("a") <= 40
    error = seen.run["a"].error
    assert isinstance(error, Refused)
    assert error.why[0][0] == "/age"


async def test_an_exception_of_a_class_comes_out_and_a_value_error_refuses(autojump_clock: MockClock) -> None:
    class Odd(Person):
        @field_validator("name")
        @classmethod
        def check(cls, name: str) -> str:
            if name == "Ann":
                raise ValueError("no Ann")
            raise KeyError(name)

    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", words("a"), schema=Odd, transport=memory(a=said(GOOD)))
    assert "/name: Value error, no Ann" in str(caught.value)
    transport = memory(a=said(GOOD.replace("Ann", "Bob")), b=said(GOOD, first=9))
    with pytest.raises(KeyError, match="Bob"):
        await fanout.race("?", words("a", "b"), schema=Odd, transport=transport)
    assert transport.open == 0


async def test_the_lane_nearest_to_valid_is_asked_again_when_no_other_is_left(autojump_clock: MockClock) -> None:
    worse = '{"name":5,"age":"3","more":1}'
    scripts = {
        "a": iter([said(worse)]),
        "b": iter([said(BAD, first=1), said(GOOD, first=1)]),
        "c": iter([said(*PROSE)]),
    }
    transport = MemoryTransport(lambda request: next(scripts[urlsplit(request.url).hostname or ""]))
    seen = await watch(Race(*words("a", "b", "c")), transport, schema=PERSON, reask=1)
    assert [answer.lane for answer in seen.run.answers] == ["a", "b", "c", "b#2"]
    assert seen.run.winner
    assert (seen.run.winner.lane, seen.run.winner.value["age"]) == ("b#2", 3)
    assert isinstance(seen.of("b#2")[0], Started)
    assert "/age" in transport.exchanges[-1].request.body.decode()
    assert isinstance(seen.run["b"].error, Refused)


async def test_nobody_is_asked_again_a_second_time(autojump_clock: MockClock) -> None:
    transport = memory(a=said(BAD))
    with pytest.raises(AllLanesFailed) as caught:
        await fanout.race("?", words("a"), schema=PERSON, reask=1, transport=transport)
    assert [error.lane for error in caught.value.exceptions if isinstance(error, Refused)] == ["a", "a#2"]
    assert len(transport.exchanges) == 2


async def test_nobody_is_asked_again_who_said_nothing(autojump_clock: MockClock) -> None:
    transport = memory(a=[b"!broken"])
    with pytest.raises(AllLanesFailed):
        await fanout.race("?", words("a"), schema=PERSON, reask=1, retries=0, transport=transport)
    assert len(transport.exchanges) == 1


async def test_to_ask_again_needs_a_plan_that_one_answer_wins() -> None:
    plan: Policy
    for plan in (Quorum(*words("a", "b"), k=2), All(*words("a"))):
        with pytest.raises(UsageError, match="reask"):
            await fanout.ask("?", plan, schema=PERSON, reask=1, transport=memory())


@pytest.mark.parametrize(
    ("settings", "words_"),
    [
        ({"reask": 1}, "needs a schema"),
        ({"schema": 5}, "schema takes"),
        ({"schema": PERSON, "reask": 2}, "reask must be 0 or 1"),
        ({"schema": PERSON, "repair": "all"}, "repair must be"),
        ({"schema": PERSON, "early": 1}, "early must be"),
        ({"schema": {"type": "nonsense"}}, "no JSON schema"),
        ({"schema": "name thing"}, "name has no type"),
    ],
)
async def test_a_mistake_in_the_settings_is_said_in_one_line(settings: Any, words_: str) -> None:
    with pytest.raises(UsageError, match=words_) as caught:
        await fanout.race("?", words("a"), transport=memory(), **settings)
    assert "\n" not in str(caught.value)


async def test_options_schema_alone_judges_nothing(autojump_clock: MockClock) -> None:
    answer = await fanout.race("?", words("a"), options=Options(schema={}), transport=memory(a=said(*PROSE)))
    assert (answer.value, answer.text) == (None, "".join(PROSE))
