from typing import Any

import orjson
import pytest

from fanout.answers import Answer, Fold
from fanout.errors import Overloaded, ProviderError, RateLimited, ServerError, TimedOut
from fanout.events import Delta, End, Event, File, Reasoning, Refusal, Source, Sources, Status, ToolCall, Usage
from tests.conformance.cases import PROJECT_FILE, load, recut
from tests.providers.exchange import end_of
from tests.providers.wires.chat import DONE, STOP, chunk, read


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def answer_of(*chunks: bytes) -> Answer:
    fold = Fold("a")
    fold.add(read(*chunks), 0.0)
    return fold.answer


def whole(message: Any, **more: Any) -> bytes:
    """A completion that was not streamed."""
    return orjson.dumps(
        {"model": "m-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}
    )


@pytest.mark.parametrize("case", [c for c in load(PROJECT_FILE) if c.format == "openai-chat"], ids=lambda c: c.name)
def test_the_events_do_not_depend_on_the_cut(case: Any) -> None:
    """Text may come in other pieces only where two deltas are one event; here every delta is its own."""
    expected = comparable(case.chunks)
    for cut, chunks in recut(case):
        assert comparable(chunks) == expected, cut


def comparable(chunks: list[bytes]) -> list[str]:
    return [repr(event) for event in read(*chunks)]


def test_a_stream_becomes_events() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    assert read(
        chunk(delta={"role": "assistant", "content": ""}), chunk(delta={"content": "Hel"}), STOP, usage, DONE
    ) == [
        Delta("Hel"),
        Usage(input=3, output=2),
        End(Status.FINISHED, "stop", raw="stop", model="m-1", request_id="r1", headers={"x-request-id": "r1"}),
    ]


def test_usage_has_its_details() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2.0,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert Usage(3, 2, 1, 1) in read(chunk(delta={}, usage=usage))
    assert Usage(3, None, 2) in read(chunk(delta={}, usage={"prompt_tokens": 3, "prompt_cache_hit_tokens": 2}))


GIVEN = {"prompt_tokens": 12, "completion_tokens": 40}


def thought(count: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": count}}


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({**GIVEN, "total_tokens": 52, **thought(30)}, Usage(12, 40, None, 30)),
        ({**GIVEN, "total_tokens": 82, **thought(30)}, Usage(12, 70, None, 30)),
        (
            {**GIVEN, "total_tokens": 52, "completion_tokens_details": {"reasoning_tokens": 90}},
            Usage(12, 130, None, 90),
        ),
        ({**GIVEN, **thought(41)}, Usage(12, 81, None, 41)),
        ({**GIVEN, **thought(40)}, Usage(12, 40, None, 40)),
        ({**GIVEN, **thought(0)}, Usage(12, 40, None, 0)),
        ({**GIVEN, "reasoning_tokens": 30, "citation_tokens": 9}, Usage(12, 40, None, 30)),
        ({**GIVEN, "reasoning_tokens": 73}, Usage(12, 113, None, 73)),
        ({**GIVEN, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(12, 40, 8)),
        ({**GIVEN, "prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 8}, Usage(12, 40, 0)),
        ({**GIVEN, "prompt_tokens_details": None, "cached_tokens": 8}, Usage(12, 40, 8)),
        ({**GIVEN, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 12}, Usage(12, 40, 0)),
        ({**GIVEN, "num_cached_tokens": 8}, Usage(12, 40, 8)),
        ({**GIVEN, "prompt_tokens_details": {"cached_tokens": 20}}, Usage(32, 40, 20)),
        (
            {**GIVEN, "prompt_tokens_details": [1], "completion_tokens_details": "n/a", "total_tokens": "x"},
            Usage(12, 40),
        ),
        ({"completion_tokens": 1, "total_tokens": 399, "reasoning_tokens": 386}, Usage(None, 387, None, 386)),
    ],
)
def test_what_is_counted_beside_belongs_to_the_whole(usage: dict[str, Any], counted: Usage) -> None:
    """xAI and DeepInfra leave the reasoning out of the output, xAI what was cached out of the input."""
    late = b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\n"
    said = chunk(delta={"content": "a"})
    for chunks in ([said, STOP, late, DONE], [said, chunk(delta={}, finish_reason="stop", usage=usage)]):
        events = read(*chunks)
        assert events[-2] == counted
        assert sum(isinstance(event, Usage) for event in events) == 1
    assert read(whole({"content": "a"}, usage=usage))[-2] == counted


def test_the_last_count_is_told_once_before_the_end() -> None:
    def counted(made: int, **more: Any) -> bytes:
        usage = {"prompt_tokens": 3, "completion_tokens": made}
        return b"data: " + orjson.dumps({"choices": [{"delta": {"content": "a"}, **more}], "usage": usage}) + b"\n\n"

    events = read(counted(1), counted(2), counted(3, finish_reason="stop"), DONE)
    assert [event for event in events if isinstance(event, Usage)] == [Usage(3, 3)]
    assert events[-2] == Usage(3, 3)


def timed(text: str, predicted: Any) -> bytes:
    timings = {"cache_n": 4, "prompt_n": 32, "predicted_n": predicted, "predicted_ms": 51.9}
    value = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "timings": timings}
    return b"data: " + orjson.dumps(value) + b"\n\n"


def test_timings_count_an_answer_that_is_cut_off() -> None:
    events = read(timed("Hel", 1), timed("lo", 3))
    assert events[:-1] == [Delta("Hel"), Delta("lo"), Usage(36, 3, 4)]
    assert end_of(events).status is Status.FAILED


def test_timings_count_nothing_twice_and_spoil_nothing() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":36,"completion_tokens":3},"timings":{"predicted_n":3}}\n\n'
    counts = [event for event in read(timed("Hello", 3), STOP, usage, DONE) if isinstance(event, Usage)]
    assert counts == [Usage(36, 3)]
    assert read(timed("Hello", "many"), STOP, DONE)[1] == Usage(36, None, 4)


@pytest.mark.parametrize("extra", ["x", 5, [None], True, {}, {"usage": 5}, {"usage": None, "error": None}])
def test_what_stands_aside_does_not_spoil_the_answer(extra: Any) -> None:
    data = {"choices": [{"index": 0, "delta": {"content": "a"}}], "x_groq": extra, "timings": extra, "usage": extra}
    assert end_of(read(b"data: " + orjson.dumps({**data, "base_resp": extra}) + b"\n\n", STOP)).error is None


def test_groq_puts_usage_and_errors_aside() -> None:
    data = {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3}}}
    assert Usage(3) in read(b"data: " + orjson.dumps(data) + b"\n\n")
    data = {"choices": [], "x_groq": {"error": "over capacity"}}
    assert isinstance(end_of(read(b"data: " + orjson.dumps(data) + b"\n\n", STOP)).error, ServerError)


REASONS = {
    "stop": ["stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "STOP", "COMPLETE"],
    "length": [
        *("length", "model_length", "model_context_window_exceeded", "max_tokens", "max_output_tokens", "MAX_TOKENS"),
        *("repetition_truncation", "repetition"),
    ],
    "tool_calls": ["tool_calls", "tool_call", "tool_use", "function_call", "TOOL_CALL"],
    "content_filter": [
        *("content_filter", "sensitive", "safety", "refusal", "content_filtered", "guardrail_intervened"),
        *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    ],
}


@pytest.mark.parametrize(("raw", "reason"), [(raw, reason) for reason, raws in REASONS.items() for raw in raws])
def test_every_word_for_the_end_has_a_reason_of_ours(raw: str, reason: str) -> None:
    end = end_of(read(chunk(delta={"content": "a"}, finish_reason=raw)))
    assert (end.status, end.finish_reason, end.raw, end.notes) == (Status.FINISHED, reason, raw, ())


@pytest.mark.parametrize("raw", ["something_new", "load", "OTHER", "x" * 1000])
def test_a_word_that_is_not_known_is_told(raw: str) -> None:
    end = end_of(read(chunk(delta={"content": "a"}, finish_reason=raw), DONE))
    assert (end.status, end.finish_reason) == (Status.FINISHED, "unknown")
    [note] = end.notes
    assert raw[:50] in note and len(note) <= 200


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("error", ServerError),
        ("ERROR", ServerError),
        ("network_error", ServerError),
        ("abort", ServerError),
        ("aborted", ServerError),
        ("timeout", TimedOut),
        ("insufficient_system_resource", Overloaded),
    ],
)
def test_a_word_that_means_failure_is_an_error(raw: str, kind: type[ProviderError]) -> None:
    events = read(chunk(delta={"content": "a"}, finish_reason=raw), DONE)
    assert events[0] == Delta("a")
    error = end_of(events).error
    assert type(error) is kind and error.retryable
    assert error.message == f"the service broke off: {raw}"


BUSY = {"code": 429, "message": "the upstream is limited"}


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"content": "Half"}, "error": BUSY},
        {"delta": {"content": "Half"}, "finish_reason": "error", "error": BUSY},
        {"delta": {"role": "assistant", "content": "Half"}, "finish_reason": "stop", "error": BUSY},
        {"message": {"content": "Half"}, "finish_reason": "error", "error": BUSY},
    ],
)
def test_a_choices_own_error_keeps_its_kind_and_words_and_the_text_before_it(choice: dict[str, Any]) -> None:
    for events in (read(chunk(**choice), DONE), read(orjson.dumps({"choices": [choice]}))):
        assert [event for event in events if isinstance(event, Delta)] == [Delta("Half")]
        error = end_of(events).error
        assert type(error) is RateLimited and error.message == "the upstream is limited"


def test_an_error_of_another_choice_is_none_of_ours() -> None:
    other = {"index": 1, "delta": {}, "finish_reason": "error", "error": BUSY}
    data = {"choices": [{"index": 0, "delta": {"content": "a"}, "error": None}, other]}
    assert end_of(read(b"data: " + orjson.dumps(data) + b"\n\n", STOP)).error is None


@pytest.mark.parametrize("choices", [None, [], [{"index": 0, "delta": {"content": "Half"}, "finish_reason": "stop"}]])
def test_minimax_says_beside_the_choices_what_is_wrong(choices: Any) -> None:
    fine = {"choices": choices, "base_resp": {"status_code": 0, "status_msg": ""}}
    assert end_of(read(b"data: " + orjson.dumps(fine) + b"\n\n", chunk(delta={"content": "a"}), STOP)).error is None
    limited = {"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}
    data = (
        b"data: " + orjson.dumps({**limited, "choices": choices and [{**choices[0], "finish_reason": None}]}) + b"\n\n"
    )
    error = end_of(read(data)).error
    assert type(error) is RateLimited and error.message == "rate limit"


def test_nothing_after_a_finish_is_lost() -> None:
    pieces = [chunk(delta={"content": text}, finish_reason="stop") for text in ("One ", "two ", "three")]
    assert text_of(read(*pieces, DONE)) == "One two three"
    late = [STOP, chunk(delta={"content": "late"}), call(index=0, id="c", function={"name": "f", "arguments": "{}"})]
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    events = read(chunk(delta={"content": "a"}), *late, usage, DONE, chunk(delta={"content": "after the end"}))
    assert events[:-1] == [Delta("a"), Delta("late"), ToolCall(0, "c", "f", "{}"), Usage(3, 2)]
    assert end_of(events).finish_reason == "tool_calls"


def test_an_error_in_the_chunk_of_its_finish_comes_first() -> None:
    data = {"error": {"code": 429, "message": "m"}, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    assert isinstance(end_of(read(b"data: " + orjson.dumps(data) + b"\n\n")).error, RateLimited)


@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"reasoning_content": "a"}, [Reasoning("a")]),
        ({"reasoning": "a", "content": "b"}, [Reasoning("a"), Delta("b")]),
        ({"reasoning": "a", "reasoning_content": "a"}, [Reasoning("a")]),
        ({"reasoning": "a", "reasoning_details": [{"text": "a"}]}, [Reasoning("a")]),
        ({"reasoning_details": [{"text": "a"}, {"summary": "b"}, {"data": "x"}]}, [Reasoning("ab")]),
        ({"refusal": "no"}, [Refusal("no")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "reference", "ids": [1]}]}, [Delta("a")]),
        ({"content": [{"type": "thinking", "thinking": "a"}]}, [Reasoning("a")]),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}, [Reasoning("a")]),
        ({"reasoning_text": "a"}, [Reasoning("a")]),
        ({"reasoning_text": "a", "reasoning_opaque": "x", "content": ""}, [Reasoning("a")]),
        ({"reasoning_summary": "a"}, [Reasoning("a")]),
        ({"thinking": "a"}, [Reasoning("a")]),
        ({"reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "a"}]}, [Reasoning("a")]),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "s"}]}, [Reasoning("a")]),
        ({"reasoning_content": "", "reasoning": "a"}, [Reasoning("a")]),
        ({"reasoning_content": None, "reasoning": None, "reasoning_details": [{"text": "a"}]}, [Reasoning("a")]),
        ({"reasoning": {"content": "a"}}, [Reasoning("a")]),
        ({"reasoning": [{"text": "a"}, "b"]}, [Reasoning("ab")]),
        ({"reasoning": 5, "thinking": True, "content": "b"}, [Delta("b")]),
        ({"content": ["a", "b"]}, [Delta("a"), Delta("b")]),
        ({"content": {"type": "text", "text": "a"}}, [Delta("a")]),
        ({"content": [{"text": "a"}, {"type": "output_text", "text": "b"}]}, [Delta("a"), Delta("b")]),
        ({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}]}, [Reasoning("a")]),
        ({"content": [{"type": "reasoning", "text": "a"}, {"type": "text", "text": ""}]}, [Reasoning("a")]),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, [Refusal("no")]),
        ({"content": None, "reasoning": None, "refusal": None, "tool_calls": None}, []),
        ({"content": "", "role": "assistant"}, []),
        ({"content": "<think>a</think>"}, [Delta("<think>a</think>")]),
        (None, []),
        ({}, []),
    ],
)
def test_a_delta_has_many_forms(delta: Any, events: list[Event]) -> None:
    read_events = read(chunk(delta=delta), STOP)[:-1]
    assert [event for event in read_events if not (isinstance(event, Reasoning) and event.opaque)] == events


@pytest.mark.parametrize("content", [5, True, 1.5])
def test_content_that_is_no_text_is_told_and_costs_nothing(content: Any) -> None:
    events = read(chunk(delta={"content": content}), chunk(delta={"content": "Hi"}), STOP)
    assert (text_of(events), end_of(events).error) == ("Hi", None)
    assert "a part of the answer is not known" in end_of(events).notes[0]


@pytest.mark.parametrize("part", [{"type": "hologram", "data": [1]}, {"type": ["x"]}, 5, None, ["a"]])
def test_a_part_that_is_not_known_is_told_and_costs_nothing(part: Any) -> None:
    parts = [{"type": "text", "text": "a"}, part, {"type": "text", "text": "b"}]
    for events in (read(chunk(delta={"content": parts}), STOP), read(whole({"content": parts}))):
        end = end_of(events)
        assert (text_of(events), end.status, end.finish_reason) == ("ab", Status.FINISHED, "stop")
        assert len(end.notes) == 1 and "a part of the answer is not known" in end.notes[0]


def call(**fields: Any) -> bytes:
    return chunk(delta={"tool_calls": [fields]})


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        (
            [
                call(index=0, id="c", function={"name": "f", "arguments": ""}),
                call(index=0, function={"arguments": "{}"}),
            ],
            [ToolCall(0, "c", "f", ""), ToolCall(0, None, None, "{}")],
        ),
        ([call(id="c", function={"name": "f", "arguments": {"a": [1]}})], [ToolCall(0, "c", "f", '{"a":[1]}')]),
        (
            [call(id="c", function={"name": "f", "arguments": "{}"}), call(id="d", function={"name": "f"})],
            [ToolCall(0, "c", "f", "{}"), ToolCall(1, "d", "f", ""), ToolCall(1, arguments="{}")],
        ),
        (
            [call(id="c", function={"name": "f"}), call(function={"arguments": "{}"})],
            [ToolCall(0, "c", "f"), ToolCall(0, arguments="{}")],
        ),
        ([call(index=1, id="c", function=None)], [ToolCall(1, "c"), ToolCall(1, arguments="{}")]),
        (
            [
                chunk(delta={"content": None, "function_call": {"name": "f", "arguments": ""}}),
                chunk(delta={"function_call": {"arguments": "{}"}}),
                chunk(delta={"function_call": None}),
            ],
            [ToolCall(0, None, "f", ""), ToolCall(0, None, None, "{}")],
        ),
    ],
)
def test_tool_calls_come_in_many_forms(chunks: list[bytes], events: list[Event]) -> None:
    read_events = read(*chunks, STOP)
    assert read_events[:-1] == events
    assert end_of(read_events).finish_reason == "tool_calls"


def test_a_piece_with_neither_id_nor_name_begins_nothing() -> None:
    for function in ({"name": None, "arguments": None}, {"arguments": "{}"}, None):
        end = end_of(read(chunk(delta={"content": "a"}), call(index=0, function=function), STOP))
        assert (end.finish_reason, end.error) == ("stop", None)


@pytest.mark.parametrize("index", ["0", "x", [0], {}, 1.5, True, "9" * 40])
def test_an_index_that_is_no_number_ends_no_answer(index: Any) -> None:
    pieces = [
        call(index=index, id="c", function={"name": "f", "arguments": ""}),
        call(index=index, function={"arguments": "{"}),
        call(index=index, function={"arguments": "}"}),
    ]
    answer = answer_of(*pieces, STOP)
    assert [(use.id, use.arguments) for use in answer.tool_calls] == [("c", "{}")]


def test_an_index_as_a_text_tells_choices_and_calls_apart() -> None:
    begun = [call(index=index, id=index, function={"name": "f"}) for index in ("0", "1")]
    answer = answer_of(*begun, call(index="0", function={"arguments": "{}"}), STOP)
    assert [(use.id, use.arguments) for use in answer.tool_calls] == [("0", "{}"), ("1", "{}")]
    choices = [{"index": index, "delta": {"content": f"{index}"}} for index in ("1", "0", 2, True)]
    assert text_of(read(b"data: " + orjson.dumps({"choices": choices}) + b"\n\n", STOP)) == "0True"


@pytest.mark.parametrize(
    "odd", ["none", 5, True, [5], ["x"], [[]], [{"index": 0, "function": "f"}], [{"function": [1]}]]
)
def test_calls_in_a_form_that_is_not_known_end_no_answer(odd: Any) -> None:
    good = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    for delta in ({"content": "a", "tool_calls": odd}, {"content": "a", "function_call": odd}):
        for events in (read(chunk(delta=delta), STOP), read(whole(delta))):
            assert (text_of(events), end_of(events).finish_reason) == ("a", "stop")
    mixed = [None, *(odd if isinstance(odd, list) else [odd]), good]
    assert [use.id for use in answer_of(chunk(delta={"tool_calls": mixed}), STOP).tool_calls] == ["a"]


def test_a_call_that_cannot_be_read_is_told() -> None:
    end = end_of(read(chunk(delta={"content": "a", "tool_calls": ["f()", None]}), STOP))
    assert end.notes == ("a tool call of the answer has a form that is not known: a str",)


FIRST = {"id": "a", "name": "f", "pieces": ['{"x"', ":", "1}"]}
SECOND = {"id": "b", "name": "f", "pieces": ['{"x":', "2", "}"]}
WAYS = ["first", "every", "late", "empty", "never"]


def pieces_of(called: dict[str, Any], index: int | None, ids: str, names: str) -> list[dict[str, Any]]:
    """A call in pieces, with its id and name in the first, the second, every one or none; "empty": elsewhere as ""."""

    def said(way: str, value: str, position: int) -> dict[str, str]:
        here = {"first": position == 0, "empty": position == 0, "every": True, "late": position == 1}.get(way, False)
        return {"value": value} if here else {"value": ""} if way == "empty" else {}

    made = []
    for position, arguments in enumerate(called["pieces"]):
        call_id, name = said(ids, called["id"], position), said(names, called["name"], position)
        function = {"arguments": arguments, **({"name": name["value"]} if name else {})}
        place = {} if index is None else {"index": index}
        made.append(
            {**place, **({"id": call_id["value"]} if call_id else {}), "type": "function", "function": function}
        )
    return made


@pytest.mark.parametrize("names", ["first", "every", "empty"])
@pytest.mark.parametrize("ids", WAYS)
@pytest.mark.parametrize("indexes", [(0, 1), (0, 0), (1, 0), (None, None), (3, 3)])
def test_two_calls_are_two_in_whatever_way_they_are_told_apart(indexes: Any, ids: str, names: str) -> None:
    """One after the other, of the same function."""
    pieces = [
        *pieces_of(FIRST, indexes[0], ids, names),
        *pieces_of(SECOND, indexes[1], ids, names),
    ]
    answer = answer_of(*(call(**piece) for piece in pieces), STOP, DONE)
    found = {use.arguments: use.id for use in answer.tool_calls}
    assert list(found) == (['{"x":1}', '{"x":2}'] if indexes != (1, 0) else ['{"x":2}', '{"x":1}'])
    assert {use.name for use in answer.tool_calls} == {"f"}
    if ids not in ("never", "empty"):
        assert found == {'{"x":1}': "a", '{"x":2}': "b"}
    assert answer.finish_reason == "tool_calls"


TOLD = [(ids, names) for ids in WAYS for names in ("first", "every", "empty", "late")]
NOT_TOLD = [("late", "late"), ("never", "late"), ("empty", "late")]
"""Pieces with neither id nor name begin nothing."""


@pytest.mark.parametrize(("ids", "names"), [way for way in TOLD if way not in NOT_TOLD])
def test_calls_whose_pieces_come_by_turns_are_told_apart_by_their_index(ids: str, names: str) -> None:
    first, second = pieces_of(FIRST, 0, ids, names), pieces_of({**SECOND, "name": "g"}, 1, ids, names)
    turns = [piece for pair in zip(first, second, strict=True) for piece in pair]
    for cut in (turns, [[a, b] for a, b in zip(first, second, strict=True)]):
        chunks = [chunk(delta={"tool_calls": one if isinstance(one, list) else [one]}) for one in cut]
        answer = answer_of(*chunks, STOP, DONE)
        assert [(use.name, use.arguments) for use in answer.tool_calls] == [("f", '{"x":1}'), ("g", '{"x":2}')]


def test_calls_of_one_list_without_index_and_id_are_told_apart_by_their_place() -> None:
    def both(*functions: dict[str, Any]) -> bytes:
        return chunk(delta={"tool_calls": [{"function": function} for function in functions]})

    answer = answer_of(
        both({"name": "f", "arguments": ""}, {"name": "f", "arguments": ""}),
        both({"arguments": "[1"}, {"arguments": "[2"}),
        both({"arguments": "]"}, {"arguments": "]"}),
        STOP,
    )
    assert [use.arguments for use in answer.tool_calls] == ["[1]", "[2]"]


def test_a_new_id_on_every_piece_of_one_call_begins_nothing() -> None:
    functions: list[dict[str, str]] = [{"arguments": text} for text in ('{"x"', ":1", "}")]
    functions[0]["name"] = "f"
    pieces = [call(index=0, id=f"r{n}", function=function) for n, function in enumerate(functions)]
    answer = answer_of(*pieces, STOP)
    assert [(use.id, use.name, use.arguments) for use in answer.tool_calls] == [("r0", "f", '{"x":1}')]


def test_a_name_that_comes_after_arguments_is_waited_for() -> None:
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "a", "function": {"arguments": "{"}},
        {"index": 0, "function": {"name": "f", "arguments": "}"}},
        {"index": 1, "id": "b", "function": {"arguments": "["}},
        {"index": 0, "function": {"arguments": " "}},
        {"index": 1, "function": {"arguments": "2"}},
        {"index": 1, "function": {"name": "g", "arguments": "]"}},
    ]
    answer = answer_of(*(call(**piece) for piece in pieces), STOP)
    assert [(use.id, use.name, use.arguments) for use in answer.tool_calls] == [("a", "f", "{} "), ("b", "g", "[2]")]


def test_pieces_whose_name_never_comes_go_to_the_call_that_was_under_way() -> None:
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}},
        {"index": 1, "id": "b", "function": {"arguments": "1"}},
        {"index": 2, "id": "c", "function": {"arguments": "}"}},
    ]
    answer = answer_of(*(call(**piece) for piece in pieces), STOP)
    assert [(use.id, use.name, use.arguments) for use in answer.tool_calls] == [("a", "f", '{"x":1}')]


def test_a_function_call_of_old_is_one_however_often_its_name_is_said() -> None:
    pieces = [chunk(delta={"function_call": {"name": "f", "arguments": text}}) for text in ('{"x":', "1", "}", "")]
    answer = answer_of(*pieces, chunk(delta={}, finish_reason="function_call"))
    assert [(use.name, use.arguments) for use in answer.tool_calls] == [("f", '{"x":1}')]
    both = {"function_call": {"name": "f", "arguments": "{}"}, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    assert len(answer_of(chunk(delta=both), STOP).tool_calls) == 1


@pytest.mark.parametrize(
    "called",
    [
        {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls -l"}},
        {"id": "a", "type": "function", "name": "sh", "arguments": "ls -l"},
        {"id": "a", "function": {"name": "sh", "arguments": "ls -l"}},
    ],
)
def test_a_call_of_any_kind_is_one(called: dict[str, Any]) -> None:
    for data in (chunk(delta={"tool_calls": [called]}) + STOP, whole({"tool_calls": [called]}), call(**called) + STOP):
        answer = answer_of(data)
        assert [(use.id, use.name, use.arguments) for use in answer.tool_calls] == [("a", "sh", "ls -l")]
    assert answer_of(chunk(delta={"tool_calls": called}), STOP).tool_calls[0].name == "sh"


@pytest.mark.parametrize("ids", [("a", "b"), ("", ""), (None, None), ("f", "f")])
def test_every_entry_of_a_whole_message_is_a_call(ids: tuple[str | None, str | None]) -> None:
    calls = [
        {"id": call_id, "index": 0, "function": {"name": "f", "arguments": arguments}}
        for call_id, arguments in zip(ids, ('{"x":1}', {"x": 2}), strict=True)
    ]
    answer = answer_of(whole({"content": None, "tool_calls": [*calls, {"function": {}}]}))
    assert [use.arguments for use in answer.tool_calls] == ['{"x":1}', '{"x":2}']
    assert [use.id for use in answer.tool_calls] == [call_id or f"call_{n}" for n, call_id in enumerate(ids)]


def test_choices_that_share_an_index_hold_a_part_of_the_answer_each() -> None:
    called: dict[str, Any] = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    choices: list[dict[str, Any]] = [
        {"message": {"role": "assistant", "content": "Let me see."}},
        {"message": {"content": None, **called}},
    ]
    for data in (choices, [{"index": 0, **choice} for choice in choices]):
        answer = answer_of(orjson.dumps({"choices": [{**choice, "finish_reason": "tool_calls"} for choice in data]}))
        assert (answer.text, [use.id for use in answer.tool_calls]) == ("Let me see.", ["a"])
    grown = [chunk(message={"content": text}, delta={}) for text in ("Hel", "Hello")]
    assert answer_of(*grown, STOP).text == "Hello"


def test_what_is_told_by_delta_and_in_a_whole_message_is_told_once() -> None:
    calls = [{"index": 0, "id": "a", "function": {"name": "f"}}]
    message = {"content": "Hi", "reasoning_content": "hm", "tool_calls": calls, "images": [PICTURE], "refusal": "no"}
    deltas = [{key: value} for key, value in message.items()]
    events = read(*(chunk(delta=delta) for delta in deltas), chunk(message=message, finish_reason="stop"))
    assert [type(event) for event in events] == [Delta, Reasoning, ToolCall, File, Refusal, ToolCall, End]


@pytest.mark.parametrize("missing", ["content", "reasoning_content", "tool_calls", "images", "refusal"])
def test_what_did_not_come_by_delta_is_taken_from_a_whole_message(missing: str) -> None:
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]
    message = {"content": "Hi", "reasoning_content": "hm", "tool_calls": calls, "images": [PICTURE], "refusal": "no"}
    deltas = [{key: value} for key, value in message.items() if key != missing]
    events = read(*(chunk(delta=delta) for delta in deltas), chunk(message=message, finish_reason="stop"))
    assert {type(event) for event in events} == {Delta, Reasoning, ToolCall, File, Refusal, End}
    assert len(events) == 6


PICTURE = {"type": "image_url", "index": 0, "image_url": {"url": "data:image/png;base64,aGVsbG8="}}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "images": [PICTURE]},
        {"content": [PICTURE]},
        {"content": [{"type": "image_url", "image_url": "data:image/png;base64,aGVsbG8="}]},
        {"content": None, "images": ["data:image/png;base64,aGVsbG8="]},
    ],
)
def test_a_picture_is_a_file_in_a_delta_and_in_a_message(message: dict[str, Any]) -> None:
    for events in (read(chunk(delta=message), STOP), read(whole(message)), read(chunk(message=message), STOP)):
        assert events[:-1] == [File(None, "image/png", data=b"hello")]
        assert end_of(events).status is Status.FINISHED


def test_pictures_by_address_come_in_their_order() -> None:
    pictures = [{"image_url": {"url": f"https://example.org/{n}.png"}} for n in range(3)]
    events = read(chunk(delta={"images": pictures[:1]}), chunk(delta={"images": pictures[1:], "content": "a"}), STOP)
    assert [event.url for event in events if isinstance(event, File)] == [p["image_url"]["url"] for p in pictures]


@pytest.mark.parametrize("picture", [None, 5, {}, {"image_url": {"url": "ftp://x"}}, {"image_url": 5}, "%", []])
def test_a_picture_that_is_none_is_told_and_costs_nothing(picture: Any) -> None:
    events = read(chunk(delta={"content": "a", "images": [picture]}), STOP)
    assert text_of(events) == "a"
    assert end_of(events).notes == ("a picture or file of the answer has a form that is not known",)


def test_a_sound_is_a_file_and_its_transcript_the_text() -> None:
    pieces: list[dict[str, Any]] = [
        {"id": "audio_1", "transcript": "Hel"},
        {"data": "AAAA", "transcript": "lo"},
        {"data": "AAAA", "transcript": "!"},
        {"data": "AQID"},
        {"expires_at": 1790000000},
    ]
    for end in ([], [STOP, DONE]):
        events = read(*(chunk(delta={"audio": piece}) for piece in pieces), *end)
        assert events[:-1] == [
            Delta("Hel"),
            Delta("lo"),
            Delta("!"),
            File(None, "audio/pcm", data=b"\0" * 6 + b"\1\2\3"),
        ]
        assert end_of(events).finish_reason == "stop"
    spoken = {"content": None, "audio": {"id": "a", "data": "UklGRgAAAABXQVZF", "transcript": "Hello", "expires_at": 1}}
    assert read(whole(spoken))[:-1] == [Delta("Hello"), File(None, "audio/wav", data=b"RIFF\0\0\0\0WAVE")]


def test_a_sound_that_is_cut_off_is_kept_as_far_as_it_came() -> None:
    events = read(chunk(delta={"audio": {"data": "AAAA"}}))
    assert events[0] == File(None, "audio/pcm", data=b"\0\0\0")
    assert end_of(events).status is Status.FAILED


def test_words_beside_a_sound_are_not_said_twice() -> None:
    deltas = [{"content": text, "audio": {"transcript": text, "data": "AAAA"}} for text in ("Hel", "lo")]
    assert text_of(read(*(chunk(delta=delta) for delta in deltas), STOP)) == "Hello"


A, B = "https://a.example/x", "https://b.example/y"


def cited(url: str, title: str | None = None) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0}}


@pytest.mark.parametrize(
    ("beside", "within"),
    [
        ({"citations": [A, B], "search_results": [{"url": A, "title": "A"}]}, {}),
        ({"search_results": [{"url": A, "title": "A", "date": None}, {"url": B}]}, {}),
        ({"citations": [{"url": A, "title": "A"}, {"url": B}]}, {}),
        ({"references": [{"url": A, "title": "A"}, {"url": B, "title": None}]}, {"role": "assistant"}),
        ({"web_search": [{"link": A, "title": "A", "refer": "1"}, {"link": B, "title": ""}]}, {"role": "assistant"}),
        ({}, {"annotations": [cited(A, "A"), cited(B)]}),
        ({}, {"annotations": [{"type": "url_citation", "url": A, "title": "A"}, {"url": B}]}),
        ({}, {"annotations": [{"type": "file", "file": {"name": "f"}}, cited(A, "A"), cited(B)]}),
        ({}, {"citations": [A, B], "annotations": [cited(A, "A")]}),
        ({}, {"executed_tools": [{"search_results": {"results": [{"url": A, "title": "A"}, {"url": B}]}}]}),
        ({}, {"executed_tools": [{"search_results": [{"url": A, "title": "A"}]}, {"search_results": [{"url": B}]}]}),
        ({}, {"content": [{"type": "text", "text": "a", "annotations": [cited(A, "A"), cited(B)]}]}),
        (
            {},
            {
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "tool_reference", "tool": "web_search", "title": "A", "url": A},
                    {"type": "tool_reference", "tool": "web_search", "title": None, "url": B},
                ]
            },
        ),
    ],
)
def test_the_pages_that_an_answer_rests_on_are_its_sources(beside: dict[str, Any], within: dict[str, Any]) -> None:
    said = {"content": "a", **within}
    data = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": said}], **beside}) + b"\n\n"
    late = b"data: " + orjson.dumps({"choices": [], **beside}) + b"\n\n"
    streams = [[data, data, STOP], [whole(said, **beside)], [chunk(delta=said), STOP, late, DONE]]
    for chunks in streams:
        answer = answer_of(*chunks)
        # A page that is first cited without a title keeps its place.
        assert {source.url: source.title for source in answer.sources} == {A: "A", B: None}, chunks
        assert answer.text.startswith("a") and answer.error is None


@pytest.mark.parametrize(
    "pages",
    [
        5,
        "https://a.example",
        {"url": A},
        [None, 5, [], {}, {"url": 5}, "not an address", "javascript:x", {"url": "file:///x"}],
    ],
)
def test_malformed_pages_pass(pages: Any) -> None:
    names = ("citations", "search_results", "references", "web_search", "annotations", "executed_tools")
    fields = dict.fromkeys(names, pages)
    fields["executed_tools"] = [{"search_results": pages}]
    fields["annotations"] = [{"url_citation": None if isinstance(pages, dict) else pages}]
    data = {"choices": [{"index": 0, "delta": {"content": "a", **fields}, "finish_reason": "stop"}], **fields}
    events = read(b"data: " + orjson.dumps(data) + b"\n\n", DONE)
    assert events[:-1] == [Delta("a")]
    assert end_of(events).status is Status.FINISHED


def test_pages_that_are_repeated_in_every_chunk_make_one_event() -> None:
    pages = {"citations": [A, B], "search_results": [{"url": A, "title": "A"}]}
    data = [orjson.dumps({"choices": [{"index": 0, "delta": {"content": f"w{n}"}}], **pages}) for n in range(50)]
    events = read(*(b"data: " + one + b"\n\n" for one in data), STOP)
    assert [event for event in events if isinstance(event, Sources)] == [Sources([Source(A, "A"), Source(B)])]


def test_a_whole_message_counts_only_if_nothing_came_by_delta() -> None:
    whole = {"role": "assistant", "content": "Hello"}
    assert read(chunk(delta={"content": "Hello"}, message=whole), chunk(message=whole, finish_reason="stop"))[:-1] == [
        Delta("Hello")
    ]
    grown = chunk(message={"content": "Hel"}), chunk(message=whole, finish_reason="stop")
    assert read(*grown, DONE)[:-1] == [Delta("Hello")]
    assert read(grown[0])[:-1] == [Delta("Hel")]


def test_a_whole_completion_is_an_answer() -> None:
    message = {"content": "Hi", "reasoning_content": "hmm", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    completion = {
        "model": "m",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
    }
    assert read(orjson.dumps(completion)) == [
        Reasoning("hmm"),
        Delta("Hi"),
        ToolCall(0, "c", "f"),
        ToolCall(0, arguments="{}"),
        Usage(3),
        End(Status.FINISHED, "tool_calls", raw="stop", model="m", request_id="r1", headers={"x-request-id": "r1"}),
    ]


def test_other_choices_do_not_mix_in() -> None:
    other = {"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"}
    data = {"choices": [other, {"index": 0, "delta": {"content": "A"}}, {"delta": {"content": "C"}}]}
    events = read(b"data: " + orjson.dumps(data) + b"\n\n")
    assert events[:-1] == [Delta("A"), Delta("C")]
    assert end_of(events).status is Status.FAILED
