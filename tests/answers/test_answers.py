import pytest

from fanout.answers import Answer, Fold, Run, Wasted
from fanout.errors import AuthError, ServerError, TimedOut
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
)
from fanout.prompt import ToolUse

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
        ttfo=0.5,
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


@pytest.mark.parametrize(
    ("end", "billed"),
    [
        (End(Status.CANCELLED), True),
        (End(Status.TIMED_OUT, error=TimedOut("x")), True),
        (End(Status.FAILED, error=ServerError("x")), True),
        (End(Status.FAILED, error=AuthError("x")), False),
        (End(Status.FAILED, error=ServerError("x", retry_safe=True)), False),
    ],
    ids=str,
)
def test_a_lane_that_said_nothing_has_read_its_prompt_unless_its_error_denies_it(end: End, billed: bool) -> None:
    usage = folded((11.0, [end])).usage
    assert (usage is not None and usage.estimated and usage.output == 0) is billed


def test_waste_adds_up() -> None:
    wasted = Wasted.of([Answer("a", chunks=2, usage=Usage(output=5), cost=0.5), Answer("b", chunks=1)])
    assert wasted == Wasted(chunks=3, tokens=6, cost=0.5, at_least=True)
    assert Wasted.of([]) == Wasted(0, 0, None)


def test_a_run_gives_an_answer_by_its_lane() -> None:
    run = Run((Answer("a"), Answer("b", error=ServerError("x"))), None, Wasted(), 1.0)
    assert run["b"].lane == "b"
    with pytest.raises(KeyError):
        run["c"]
