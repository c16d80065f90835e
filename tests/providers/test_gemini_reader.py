import json
from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.events import Delta, End, File, Sources, Status, ToolCall, Usage
from fanout.providers.gemini import Gemini
from tests.providers.exchange import end_of
from tests.providers.wires.gemini import HEAD, STOP, VALUES, chunk, event, read


def test_a_pair_cut_over_two_chunks_is_joined() -> None:
    data = [chunk({"text": "a\ud83c"}), chunk({"text": "\udf88"}), STOP]
    assert read(*data)[:-1] == [Delta("a"), Delta("🎈")]


def test_an_element_of_the_array_is_out_when_it_closes() -> None:
    reader = Gemini("g").read(Head(200, {"content-type": "application/json"}))
    texts = [event for event in reader.feed(b"[" + json.dumps(VALUES[1]).encode()) if isinstance(event, Delta)]
    assert texts == [Delta("Grüße "), Delta("🎈")]


def test_a_whole_answer_in_one_document_is_an_answer() -> None:
    value = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    events = read(json.dumps(value).encode(), head=Head(200, {"content-type": "application/json"}))
    assert events == [Delta("Hi"), End(Status.FINISHED, "stop", raw="STOP")]


def test_a_file_may_come_by_address_and_a_draft_of_a_picture_is_none() -> None:
    file = {"fileData": {"fileUri": "https://example.com/v", "mimeType": "video/mp4", "displayName": "v.mp4"}}
    draft = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}, "thought": True}
    assert read(chunk(draft, file), STOP)[:-1] == [File("v.mp4", "video/mp4", "https://example.com/v")]


@pytest.mark.parametrize(
    ("number", "raw", "reason"),
    [
        (1, "STOP", "stop"),
        (2, "MAX_TOKENS", "length"),
        (3, "SAFETY", "content_filter"),
        (5, "OTHER", "unknown"),
        (6, "LANGUAGE or BLOCKLIST", "content_filter"),
        (8, "PROHIBITED_CONTENT or SPII", "content_filter"),
        (9, "SPII or MALFORMED_FUNCTION_CALL", "unknown"),
        (14, "IMAGE_PROHIBITED_CONTENT", "content_filter"),
        (16, "NO_IMAGE", "unknown"),
        (99, "99", "unknown"),
    ],
)
def test_a_finish_may_be_a_number(number: int, raw: str, reason: str) -> None:
    """Google's own clients ask for enums as numbers; from 6 to 10 its two services number differently."""
    end = end_of(read(chunk({"text": "a"}), chunk(finishReason=number)))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


@pytest.mark.parametrize("nothing", [0, "", None, False, [], {}])
def test_what_is_no_reason_ends_nothing(nothing: Any) -> None:
    reader = Gemini("g").read(HEAD)
    reader.feed(chunk({"text": "a"}, finishReason=nothing))
    assert not reader.complete
    assert type(end_of(reader.close()).error) is Truncated
    assert end_of(read(chunk({"text": "a"}, finishReason=nothing), STOP)).finish_reason == "stop"


def test_a_reason_that_is_not_specified_counts_only_at_the_end() -> None:
    said = {"finishReason": "FINISH_REASON_UNSPECIFIED"}
    reader = Gemini("g").read(HEAD)
    reader.feed(chunk({"text": "a"}, **said))
    assert not reader.complete
    assert end_of(reader.close()).finish_reason == "unknown"
    assert end_of(read(chunk({"text": "a"}, **said), STOP)).finish_reason == "stop"


CODE = {"executableCode": {"language": "PYTHON", "code": "print(6*7)"}}
RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42"}}


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"text": "Wait. "}), chunk(CODE), chunk(RESULT, finishReason="STOP")],
        [chunk({"text": "Wait. "}, CODE, RESULT, finishReason="STOP")],
        [chunk({"text": "Wait. "}, CODE, RESULT), chunk({"text": ""}, finishReason="STOP")],
        [chunk({"text": "Wait. "}, CODE, RESULT), STOP],
        [chunk({"text": "Wait. "}, CODE, finishReason="STOP")],
    ],
)
def test_a_finish_behind_code_that_was_run_ends_nothing(chunks: list[bytes]) -> None:
    reader = Gemini("g").read(HEAD)
    events, complete = [], []
    for data in (*chunks, chunk({"text": "It is 42."}), STOP):
        events += reader.feed(data)
        complete.append(reader.complete)
    events += reader.close()
    assert complete == [*[False] * (len(complete) - 1), True]
    assert events == [Delta("Wait. "), Delta("It is 42."), End(Status.FINISHED, "stop", raw="STOP")]
    end = end_of(read(*chunks))
    assert (end.status, end.finish_reason, end.notes) == (Status.FINISHED, "stop", ())


def test_code_alone_is_no_answer_in_words_and_the_end_says_so() -> None:
    end = end_of(read(chunk(CODE), chunk(RESULT, finishReason="STOP")))
    assert end.notes == ("the answer has nothing but code that the service ran",)
    assert end_of(read(chunk(CODE, finishReason="MAX_TOKENS"))).finish_reason == "length"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", ServerError),
        ("MALFORMED_RESPONSE", ServerError),
        ("UNEXPECTED_TOOL_CALL", ServerError),
        ("TOO_MANY_TOOL_CALLS", ServerError),
        (12, ServerError),
        ("MISSING_THOUGHT_SIGNATURE", InvalidRequest),
    ],
)
def test_an_answer_that_failed_says_why_and_is_not_asked_for_again(raw: Any, kind: type[ProviderError]) -> None:
    usage = {"usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 9}}
    failed = {"candidates": [{"finishReason": raw, "finishMessage": "print(default_api.f(x=1))", "index": 0}], **usage}
    events = read(event(failed))
    assert events[0] == Usage(3, 9, reasoning=9)
    error = end_of(events).error
    assert type(error) is kind and not error.retryable
    name = "UNEXPECTED_TOOL_CALL" if raw == 12 else raw
    assert error.message == f"{name}: print(default_api.f(x=1))"
    silent = end_of(read(chunk(finishReason=raw))).error
    assert silent is not None and silent.message == f"the service ended with {name}"


def test_an_answer_that_failed_after_something_came_has_a_note() -> None:
    end = end_of(read(chunk({"text": "a"}), chunk(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="no such f")))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, "unknown", "MALFORMED_FUNCTION_CALL")
    assert "the service says: no such f" in end.notes
    filtered = end_of(read(chunk(finishReason="SAFETY", finishMessage="unsafe")))
    assert (filtered.finish_reason, filtered.notes) == ("content_filter", ("the service says: unsafe",))
    assert end_of(read(chunk({"text": "a"}, finishReason="STOP", finishMessage="Model generated."))).notes == ()


def test_a_failed_answer_is_the_error_of_its_lane() -> None:
    """And the body's clean end does not make it another one."""
    reader = Gemini("g").read(HEAD)
    reader.feed(chunk(finishReason="UNEXPECTED_TOOL_CALL"))
    assert [type(found) for found in reader.close()] == [End]
    assert not reader.complete


PAGES = [
    {"groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.example/", "title": "A"}}]}},
    {"citationMetadata": {"citationSources": [{"uri": "https://a.example/", "startIndex": 1}]}},
    {"citationMetadata": {"citations": [{"uri": "https://a.example/", "title": "A"}]}},
    {
        "urlContextMetadata": {
            "urlMetadata": [
                {"retrievedUrl": "https://a.example/", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
                {"retrievedUrl": "https://b.example/", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
            ]
        }
    },
]


@pytest.mark.parametrize("told", PAGES)
@pytest.mark.parametrize("finish", [{}, {"finishReason": "STOP"}])
def test_the_pages_that_an_answer_rests_on_are_sources(told: dict[str, Any], finish: dict[str, str]) -> None:
    events = read(chunk({"text": "a"}, **told, **finish), chunk(**told, finishReason="STOP"))
    (sources,) = (found for found in events if isinstance(found, Sources))
    assert [page.url for page in sources.items] == ["https://a.example/"]
    assert end_of(events).notes == ()


@pytest.mark.parametrize(
    "counts",
    [
        [{"promptTokenCount": 3, "candidatesTokenCount": 2}, {"promptTokenCount": 3}],
        [{"promptTokenCount": 3, "candidatesTokenCount": 2}, {"trafficType": "ON_DEMAND"}],
        [{"promptTokenCount": 3, "candidatesTokenCount": 2}, {"promptTokenCount": 0, "candidatesTokenCount": 0}],
        [{"trafficType": "ON_DEMAND"}, {"promptTokenCount": 3, "candidatesTokenCount": 2}],
        [{"promptTokenCount": 3}, {"promptTokenCount": 3, "candidatesTokenCount": 2}],
        [{"promptTokenCount": 3, "candidatesTokenCount": 2}, None, "n/a"],
    ],
)
def test_counts_that_the_end_leaves_out_are_those_before(counts: list[Any]) -> None:
    first = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "index": 0}], "usageMetadata": counts[0]}
    last = [{"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": count} for count in counts[1:]]
    events = read(event(first), *map(event, last))
    assert [found for found in events if isinstance(found, Usage)] == [Usage(3, 2)]


def test_parts_that_are_not_known_are_told_and_lose_nothing() -> None:
    parts = [{"hologram": {}}, {"thoughtSignature": "AA=="}, {"text": "", "thoughtSignature": "AA=="}, {"toolCall": {}}]
    events = read(chunk(*parts, {"text": "a"}), STOP)
    assert [event for event in events if isinstance(event, Delta)] == [Delta("a")]
    assert end_of(events).notes == ("the answer has a part that is not known: hologram",)
    damaged = read(chunk({"inlineData": {"mimeType": "image/png", "data": "%%%"}}, {"text": "a"}), STOP)
    assert end_of(damaged).notes == ("a file did not come: it has neither an address nor bytes that can be read",)
    assert damaged[0] == Delta("a")


@pytest.mark.parametrize("reason", [0, "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", None])
def test_a_prompt_that_is_not_blocked_is_no_answer_yet(reason: Any) -> None:
    assert type(end_of(read(event({"promptFeedback": {"blockReason": reason}}))).error) is Truncated


def test_a_blocked_prompt_may_say_why_and_be_blocked_for_a_number() -> None:
    end = end_of(read(event({"promptFeedback": {"blockReason": 4, "blockReasonMessage": "no"}})))
    assert (end.finish_reason, end.raw, end.notes) == ("content_filter", "4", ("the service says: no",))


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "JAILBREAK", "SOMETHING_NEW"])
def test_a_blocked_prompt_is_filtered_content_and_no_error(reason: str) -> None:
    data = {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 3}}
    assert read(event(data)) == [Usage(3), End(Status.FINISHED, "content_filter", raw=reason)]


def test_feedback_beside_candidates_blocks_nothing() -> None:
    value = {"promptFeedback": {"safetyRatings": []}, "candidates": [{"content": {"parts": [{"text": "a"}]}}]}
    assert type(end_of(read(event(value))).error) is Truncated


@pytest.mark.parametrize(
    "value",
    [
        {"usageMetadata": "n/a"},
        {"usageMetadata": {"promptTokenCount": "3"}},
        {"candidates": [{"groundingMetadata": {"groundingChunks": "n/a"}}]},
        {"candidates": [{"groundingMetadata": {"groundingChunks": [7, {"web": 7}, {"web": {"uri": 7}}]}}]},
        {"candidates": [{"groundingMetadata": 7}]},
        {"candidates": [{"content": {"role": "model"}}]},
        {"candidates": [{"content": {"parts": [{"newPart": {"x": 1}}, {}, None, 5, "x", [], [None]]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": 5}, {"functionCall": "x"}, {"functionCall": []}]}}]},
        {"candidates": [{"content": {"parts": []}, "index": "x"}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "é"}}]}}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {}}, {"inlineData": 5}, {"fileData": {}}]}}]},
        {"candidates": []},
        {"automaticSomething": {"x": 1}},
        {},
    ],
)
def test_what_is_odd_beside_the_answer_does_not_spoil_it(value: Any) -> None:
    events = read(event(value), chunk({"text": "a"}), STOP)
    assert next(e for e in events if not isinstance(e, Usage)) == Delta("a")
    assert end_of(events).status is Status.FINISHED


ERRORS = [
    (400, "INVALID_ARGUMENT", InvalidRequest),
    (400, "FAILED_PRECONDITION", InvalidRequest),
    (401, "UNAUTHENTICATED", AuthError),
    (403, "PERMISSION_DENIED", AuthError),
    (404, "NOT_FOUND", NotFound),
    (429, "RESOURCE_EXHAUSTED", RateLimited),
    (500, "INTERNAL", ServerError),
    (503, "UNAVAILABLE", Overloaded),
    (504, "DEADLINE_EXCEEDED", TimedOut),
]


def forms(code: int, status: str) -> dict[str, tuple[int, bytes]]:
    """The status and body of each form in which the service sends an error."""
    error = {"error": {"code": code, "message": "m", "status": status}}
    text = json.dumps(error, indent=2).encode()
    return {
        "body": (code, text),
        "array of one": (code, b"[" + text + b"\n]\n"),
        "again as a string": (code, json.dumps({"error": {**error["error"], "message": text.decode()}}).encode()),
        "data": (200, chunk({"text": "a"}) + event(error)),
        "data without a blank line": (200, chunk({"text": "a"}) + b"data: " + json.dumps(error).encode()),
        "raw among the events": (200, chunk({"text": "a"}) + text + b"\n\n"),
        "element": (200, b"[" + json.dumps(VALUES[0]).encode() + b",\n" + text + b"]"),
        "alone in the stream": (200, text),
    }


@pytest.mark.parametrize("form", forms(400, ""))
@pytest.mark.parametrize(("code", "status", "kind"), ERRORS)
def test_every_error_is_typed_in_every_form(form: str, code: int, status: str, kind: type[ProviderError]) -> None:
    http, data = forms(code, status)[form]
    for cut in (len(data), 1):
        pieces = [data[place : place + cut] for place in range(0, len(data), cut)]
        assert type(end_of(read(*pieces, status=http)).error) is kind


def test_the_delay_before_a_retry_is_in_the_body() -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"},
    ]
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    for head, data in (
        (Head(429), json.dumps({"error": error}).encode()),
        (HEAD, event({"error": error})),
    ):
        found = end_of(read(data, head=head)).error
        assert isinstance(found, RateLimited) and found.retry_after == 7.5


def test_a_part_may_have_a_text_and_a_call() -> None:
    part = {"text": "Let me check.", "functionCall": {"name": "f", "args": {"x": 1}}}
    assert read(chunk(part), STOP)[:-1] == [Delta("Let me check."), ToolCall(0, "call_0", "f", '{"x":1}')]
