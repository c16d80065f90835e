from typing import Any

import pytest

from fanout.answers import MOST_OPAQUE, MOST_PARTS, Answer, Fold, Run, Wasted
from fanout.errors import ServerError
from fanout.events import (
    Conversation,
    Delta,
    End,
    Event,
    File,
    Reasoning,
    Refusal,
    Replace,
    Source,
    Sources,
    Started,
    Status,
    Title,
    ToolCall,
    Usage,
    is_content,
)
from fanout.prompt import Message, ToolUse

END = End(Status.CANCELLED)


def folded(*reads: tuple[float, list[Event]]) -> Answer:
    fold = Fold("a", "openai", "asked")
    fold.started = 10.0
    for at, events in reads:
        fold.add(events, at)
    return fold.answer


def test_text_and_times_come_from_the_reads() -> None:
    answer = folded(
        (10.0, [Started()]),
        (10.5, [Delta("Hel")]),
        (10.75, [Delta("l"), Delta("o")]),
        (11.5, [Usage(3, 2), End(Status.FINISHED, finish_reason="stop", model="m-1", request_id="r1")]),
    )
    assert answer == Answer(
        "a",
        "openai",
        "m-1",
        Status.FINISHED,
        text="Hello",
        usage=Usage(3, 2),
        finish_reason="stop",
        ttft=0.5,
        itl=0.125,
        elapsed=1.5,
        request_id="r1",
        chunks=3,
    )


def test_reasoning_and_refusals_are_kept_apart() -> None:
    answer = folded((11.0, [Reasoning("hm"), Delta("x"), Reasoning("m"), Refusal("no")]))
    assert (answer.reasoning, answer.text, answer.refusal) == ("hmm", "x", "no")


def test_tool_calls_grow_by_index_and_the_first_name_counts() -> None:
    answer = folded(
        (11.0, [ToolCall(1, "c2", "mul", "{"), ToolCall(0, "c1", "add", '{"a":')]),
        (12.0, [ToolCall(0, "c1", "add", "1}"), ToolCall(1, arguments="}"), ToolCall(2, name="nameless")]),
    )
    assert answer.tool_calls == (
        ToolUse("c1", "add", '{"a":1}'),
        ToolUse("c2", "mul", "{}"),
        ToolUse("call_2", "nameless", ""),
    )


def test_a_rewrite_replaces_the_text_so_far() -> None:
    assert folded((11.0, [Delta("wrong"), Replace("right")]), (12.0, [Delta("!")])).text == "right!"


def test_the_last_of_what_comes_once_counts() -> None:
    source = Source("http://x", "X")
    conversation = Conversation({"id": 1})
    answer = folded(
        (11.0, [Usage(1, 1), Title("a"), Sources([]), File(url="f")]),
        (12.0, [Usage(1, 9), Title("b"), Sources([source]), conversation]),
    )
    assert (answer.usage, answer.title, answer.sources) == (Usage(1, 9), "b", (source,))
    assert (answer.files, answer.conversation) == ((File(url="f"),), conversation)


def test_a_running_lane_has_no_status_and_one_never_started_no_times() -> None:
    fold = Fold("a")
    assert fold.answer.status is None
    fold.add([End(Status.CANCELLED)], 99.0)
    answer = fold.answer
    assert (answer.status, answer.elapsed, answer.ttft, answer.itl) == (Status.CANCELLED, None, None, None)


def test_tokens_are_the_services_count() -> None:
    answer = folded((11.0, [Delta("x" * 400), Usage(3, 7), END]))
    assert (answer.usage, answer.tokens) == (Usage(3, 7), 7)


def test_where_nobody_counts_tokens_are_estimated_and_marked_so() -> None:
    fold = Fold("a", asked=10)
    fold.add([Delta("x" * 300), Reasoning("x" * 80), ToolCall(0, arguments="x" * 20), END], 11.0)
    assert fold.answer.usage == Usage(input=3, output=100, estimated=True)
    fold = Fold("a", asked=10)
    fold.add([Delta("a"), Delta("b"), Delta("c"), END], 11.0)
    assert fold.answer.tokens == 3


def test_of_an_answer_that_is_counted_in_part_only_the_rest_is_estimated() -> None:
    fold = Fold("a", asked=10)
    fold.add([Usage(input=7, cached=2), Delta("x" * 8), END], 11.0)
    assert fold.answer.usage == Usage(input=7, output=2, cached=2, estimated=True)


def test_a_lane_that_said_nothing_has_no_estimate() -> None:
    assert folded((11.0, [END])).usage is None


def test_waste_adds_up() -> None:
    wasted = Wasted.of([Answer("a", chunks=2, usage=Usage(output=5), cost=0.5), Answer("b", chunks=1)])
    assert wasted == Wasted(chunks=3, tokens=6, cost=0.5)
    assert Wasted.of([]) == Wasted(0, 0, None)


def test_a_run_gives_an_answer_by_its_lane() -> None:
    run = Run((Answer("a"), Answer("b", error=ServerError("x"))), None, Wasted(), 1.0)
    assert run["b"].lane == "b"
    with pytest.raises(KeyError):
        run["c"]


MAKER = {"wire": "w", "service": "https://a.example", "model": "m"}


def sealed(data: Any, text: str = "") -> Reasoning:
    return Reasoning(text, {**MAKER, "data": data})


def kept(*events: Event) -> Answer:
    fold = Fold("a", maker=MAKER)
    fold.add(list(events), 0.0)
    return fold.answer


def test_what_is_opaque_is_kept_with_its_place_in_the_answer() -> None:
    answer = kept(
        Reasoning("hm"),
        sealed({"n": 1}),
        Delta("So "),
        ToolCall(5, "c1", "add"),
        sealed({"n": 2}, "m"),
        Delta("be it"),
        ToolCall(7, None, "now", opaque={**MAKER, "data": {"n": 3}}),
        END,
    )
    assert answer.opaque == {
        **MAKER,
        "parts": [
            {"text": 0, "reasoning": 2, "calls": 0, "data": {"n": 1}},
            {"text": 3, "reasoning": 3, "calls": 1, "data": {"n": 2}},
            {"call": "call_7", "data": {"n": 3}},
        ],
    }
    assert answer.message == Message(
        "assistant", "So be it", tool_uses=answer.tool_calls, reasoning="hmm", opaque=answer.opaque
    )


def test_reasoning_has_the_mark_of_its_maker_and_words_alone_have_none() -> None:
    assert kept(Reasoning("hm"), END).opaque == {**MAKER, "parts": []}
    assert kept(Delta("Hi"), END).opaque is None


def test_what_is_opaque_alone_is_no_content() -> None:
    answer = kept(sealed({"n": 1}), END)
    assert (answer.chunks, answer.ttft, answer.answered) == (0, None, False)
    assert not is_content(sealed({"n": 1}))
    assert is_content(sealed({"n": 1}, "x"))


def test_what_is_opaque_in_a_failed_try_is_not_of_the_next_ones_answer() -> None:
    assert kept(sealed({"n": 1}), Started(2), Delta("Hi"), END).opaque is None


@pytest.mark.parametrize(
    "events", [[sealed({"x": "a" * (MOST_OPAQUE // 2)})] * 3, [sealed({"n": 1})] * (MOST_PARTS + 1)]
)
def test_more_than_is_kept_leaves_nothing_and_is_told(events: list[Event]) -> None:
    answer = kept(Reasoning("hm"), *events, sealed({"n": 2}), Delta("Hi"), END)
    assert answer.opaque == {**MAKER, "parts": []}
    assert [note for note in answer.notes if "more data for its own service than is kept" in note]


def test_as_much_as_is_kept_is_kept() -> None:
    answer = kept(*[sealed({"n": 1})] * MOST_PARTS, END)
    assert answer.opaque is not None and len(answer.opaque["parts"]) == MOST_PARTS
    assert answer.notes == ()


def test_data_that_nests_without_end_is_not_kept() -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"x": [deep]}
    answer = kept(sealed(deep), Delta("Hi"), END)
    assert (answer.opaque, len(answer.notes)) == (None, 1)
