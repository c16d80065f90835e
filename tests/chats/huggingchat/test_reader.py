import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.abc import Head, Request
from fanout.chats.huggingchat.reader import KEEP_ALIVE, MARKER_LIFE, AnswerReader, Send, ThinkTags
from fanout.credentials.secret import Secret
from fanout.errors import (
    AuthError,
    NotAStream,
    Overloaded,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ResetError,
    ServerError,
    TooLarge,
    Truncated,
)
from fanout.events import (
    Conversation,
    Delta,
    End,
    Event,
    File,
    Reasoning,
    Replace,
    Source,
    Sources,
    Status,
    Title,
)
from tests.providers.odd import assert_sound, odd_json
from tests.servers.huggingchat import BLANKS, FINISHED, STARTED, Recorded, final, recorded, token

HEAD = Head(200, {"content-type": "application/jsonl"})
STATE = {"conversation": "c1"}
SEND = Send(
    "POST",
    "https://chat.test/chat/conversation/c1",
    {"cookie": Secret("hf-chat=s"), "content-type": "multipart/form-data", "user-agent": "Browser"},
    model="org/text",
    state=STATE,
)


def lines(*updates: Any) -> bytes:
    return b"".join(
        part if isinstance(part, bytes) else json.dumps(part, ensure_ascii=False).encode() + b"\n" for part in updates
    )


def read(*chunks: bytes, send: Send | None = None, error: ProviderError | None = None) -> list[Event]:
    reader = AnswerReader(HEAD, send)
    return [event for data in chunks for event in reader.feed(data)] + reader.close(error)


def said(*updates: Any, send: Send | None = None) -> list[Event]:
    return read(lines(*updates), send=send)


def end_of(events: list[Event]) -> End:
    end = events[-1]
    assert isinstance(end, End)
    return end


def joined(events: list[Event]) -> list[Event]:
    """The events with neighbouring pieces of text put together, which may be cut anywhere."""
    made: list[Event] = []
    for event in events:
        last = made[-1] if made else None
        if isinstance(event, Delta | Reasoning) and type(last) is type(event):
            assert isinstance(last, Delta | Reasoning)
            made[-1] = type(event)(last.text + event.text)
        else:
            made.append(event)
    return made


def seen(*chunks: bytes) -> list[object]:
    """Reads, with errors in a form that can be compared."""
    *events, end = joined(read(*chunks))
    assert isinstance(end, End)
    return [*events, end.status, end.finish_reason, type(end.error), str(end.error)]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


ANSWERS = [exchange for year in (2025, 2026) for exchange in recorded(year) if exchange.is_answer]


def named(exchange: Recorded) -> str:
    return f"{exchange.generation} {exchange.name}"


@pytest.mark.parametrize("exchange", ANSWERS, ids=named)
def test_a_recorded_answer_is_the_same_however_it_is_cut(exchange: Recorded) -> None:
    data = b"".join(exchange.chunks)
    whole = seen(data)
    assert seen(*exchange.chunks) == whole
    for size in (1, 2, 7, 64):
        assert seen(*(data[i : i + size] for i in range(0, len(data), size))) == whole, size


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ANSWERS, ids=named)
def test_a_recorded_answer_may_be_cut_at_any_byte(exchange: Recorded) -> None:
    # One keep-alive in a row tells as much as thirty, and eight blanks as much as 4096.
    chunks = [
        chunk
        for chunk, before in zip(exchange.chunks, [b"", *exchange.chunks[:-1]], strict=True)
        if chunk != KEEP_ALIVE or before != KEEP_ALIVE
    ]
    data = b"".join(chunks).replace(BLANKS, b" " * 8)
    whole = seen(data)
    assert seen(b"".join(exchange.chunks)) == whole
    edge = 500  # between the first and the last of its bytes an answer repeats itself
    for place in {*range(min(edge, len(data))), *range(max(0, len(data) - edge), len(data) + 1)}:
        assert seen(data[:place], data[place:]) == whole, place


@pytest.mark.parametrize("exchange", ANSWERS, ids=named)
def test_a_recorded_answer_is_what_its_final_line_says(exchange: Recorded) -> None:
    events = read(*exchange.chunks)
    values = [json.loads(line) for line in b"".join(exchange.chunks).split(b"\n") if line.strip()]
    finals = [value for value in values if value["type"] == "finalAnswer"]
    titles = [value["title"] for value in values if value["type"] == "title"]
    assert [event.text for event in events if isinstance(event, Title)] == titles
    if finals and finals[0]["text"]:
        assert end_of(events).status is Status.FINISHED
        assert end_of(events).finish_reason == ("unknown" if finals[0]["interrupted"] else "stop")
        rest = "" if not exchange.partial else finals[0]["text"][2:]
        assert text_of(events).removesuffix(rest) + rest == finals[0]["text"]
        assert not any(isinstance(event, Replace) for event in events)
    else:
        assert end_of(events).status is Status.FAILED


def test_the_recordings_end_in_every_way_there_is() -> None:
    ends = {named(exchange): end_of(read(*exchange.chunks)).error for exchange in ANSWERS}
    failed = {name: type(error) for name, error in ends.items() if error}
    assert failed == {
        "2025 message whose connection is dropped after the first token": Truncated,
        "2025 error inside the stream: the model server is down": ServerError,
        "2026 message sent right after a stop that hit nothing": ServerError,
        "2026 message whose connection is dropped after the first token": Truncated,
        "2026 error inside the stream: the model server is down": ServerError,
    }
    assert len(ends) == 16


@pytest.mark.parametrize(
    "text", ["a", "🌟", "🌟🌟🌟🌟🌟🌟🌟🌟", "exactly sixteen!", "longer than sixteen units", " \n"]
)
def test_a_token_has_no_padding(text: str) -> None:
    assert said(token(text), final(text))[0] == Delta(text)


def test_only_the_end_of_a_token_is_padding() -> None:
    assert said(token("a\0b"), token(""), final("a\0b"))[:-1] == [Delta("a\0b")]


def test_an_answer_is_complete_with_its_final_line_and_read_to_its_end() -> None:
    reader = AnswerReader(HEAD)
    seen_complete = []
    for update in (STARTED, token("Hi"), final("Hi")):
        reader.feed(lines(update))
        seen_complete.append(reader.complete)
    assert seen_complete == [False, False, True]
    assert reader.feed(lines(BLANKS, {"type": "title", "title": " T "})) == [Title("T")]
    (end,) = reader.feed(lines(FINISHED))
    assert isinstance(end, End) and end.status is Status.FINISHED
    assert reader.feed(lines(token("more"))) == reader.close() == []


def test_what_breaks_after_the_final_line_breaks_nothing() -> None:
    for broken in (b'{"type":"ti', b"{junk}\n", lines({"type": "status", "status": "error", "message": "late"})):
        events = read(lines(token("Hi"), final("Hi")), broken)
        assert (events[0], end_of(events).status) == (Delta("Hi"), Status.FINISHED)
    assert end_of(read(lines(token("Hi"), final("Hi")), error=ResetError("lost"))).status is Status.FINISHED


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_title_may_come_anywhere(place: int) -> None:
    updates = [STARTED, token("a"), token("b"), final("ab"), FINISHED]
    events = said(*updates[:place], {"type": "title", "title": "<think>Blue</think>  whales "}, *updates[place:])
    assert Title("Blue  whales") in events
    assert (text_of(events), end_of(events).status) == ("ab", Status.FINISHED)


def test_an_answer_may_be_in_its_final_line_only() -> None:
    assert said(STARTED, final("Whole"), FINISHED) == [Delta("Whole"), End(Status.FINISHED, "stop")]


def test_the_final_text_has_the_last_word() -> None:
    assert said(token("Hello "), final("Hello there"))[:-1] == [Delta("Hello "), Delta("there")]
    assert said(token("Hello STOP"), final("Hello"))[:-1] == [Delta("Hello STOP"), Replace("Hello")]
    assert said(token("Hello"), final(""))[:-1] == [Delta("Hello")]


@pytest.mark.parametrize(
    ("streamed", "text", "whole"),
    [
        ("Let me look. It is 5.", "It is 5.", "Let me look. It is 5."),
        ("Let me look. It is 5.\n", "It is 5.", "Let me look. It is 5.\n"),
        ("Let me look. It is 5.\n", "", "Let me look. It is 5.\n"),
        ("Let me look.", "Let me look. It is 5.", "Let me look. It is 5."),
        ("Let me look.", "It is 5.", "Let me look.\n\nIt is 5."),
        ("Let me look.\n\n", "It is 5.", "Let me look.\n\nIt is 5."),
        ("Let me look.", "\nIt is 5.", "Let me look.\nIt is 5."),
    ],
)
def test_what_was_said_before_a_tool_was_used_stays(streamed: str, text: str, whole: str) -> None:
    call = {"type": "tool", "subtype": "call", "uuid": "u", "call": {"name": "calculator"}}
    events = said(token(streamed[:9]), token(streamed[9:]), call, final(text), FINISHED)
    assert (text_of(events), end_of(events).error) == (whole, None)
    assert not any(isinstance(event, Replace) for event in events)


def test_a_final_text_that_begins_with_all_that_was_streamed_before_a_tool_is_the_whole() -> None:
    events = said(token("Look.\n\n"), {"type": "tool", "subtype": "call"}, final("Look.\nIt is 5."))
    assert events[:-1] == [Delta("Look.\n\n"), Replace("Look.\nIt is 5.")]


THOUGHT = "<think>Hm, <b> or < c?</think>It is <i>b</i> <"


@pytest.mark.parametrize("size", range(1, len(THOUGHT) + 1))
def test_reasoning_between_tags_is_told_from_the_answer_wherever_the_tags_are_cut(size: int) -> None:
    pieces = [THOUGHT[i : i + size] for i in range(0, len(THOUGHT), size)]
    events = said(*map(token, pieces), final(THOUGHT))
    assert joined(events)[:-1] == [Reasoning("Hm, <b> or < c?"), Delta("It is <i>b</i> <")]


def test_reasoning_may_come_again_or_stay_open() -> None:
    text = "a<think>b</think>c<think>d</thin"
    assert said(final(text))[:-1] == [Delta("a"), Reasoning("b"), Delta("c"), Reasoning("d"), Reasoning("</thin")]
    assert said(token("<think>"), token("</think>"), token("x"), final("<think></think>x"))[:-1] == [Delta("x")]


def test_a_final_text_that_differs_in_its_reasoning_only_replaces_nothing() -> None:
    events = said(token("<think>b</think>"), token("c"), final("<think>other</think>c"))
    assert events[:-1] == [Reasoning("b"), Delta("c")]
    events = said(token("<think>b</think>"), token("c <"), final("<think>b</think>d"))
    assert events[:-1] == [Reasoning("b"), Delta("c "), Replace("d")]


def test_reasoning_may_have_updates_of_its_own() -> None:
    events = said(
        {"type": "reasoning", "subtype": "status", "status": "Thinking…"},
        {"type": "reasoning", "subtype": "stream", "token": "Hm"},
        {"type": "reasoning", "subtype": "stream", "token": ""},
        token("Yes"),
        final("Yes"),
    )
    assert events[:-1] == [Reasoning("Hm"), Delta("Yes")]


def test_a_file_is_fetched_with_the_cookies_of_the_conversation() -> None:
    update = {"type": "file", "name": "cat.webp", "sha": "ab/c", "mime": "image/webp"}
    event = said(update, final("A cat"), send=SEND)[0]
    url = "https://chat.test/chat/conversation/c1/output/ab%2Fc"
    assert event == File("cat.webp", "image/webp", url)
    assert isinstance(event, File)
    headers: dict[str, str | Secret] = {"accept": "*/*", "cookie": Secret("hf-chat=s"), "user-agent": "Browser"}
    assert event.fetch == Request("GET", url, headers)
    assert said(update, final("A cat"))[0] == File("cat.webp", "image/webp")


def test_the_pages_of_a_search_are_sources() -> None:
    search = {"type": "webSearch", "subtype": "finished", "sources": [{"title": "A", "link": "https://a.test/"}]}
    last = {**final("x"), "webSources": [{"uri": "https://a.test/"}, {"uri": "https://b.test/", "title": "B"}]}
    events = said({"type": "webSearch", "subtype": "update", "message": "…"}, search, last)
    page = Source("https://a.test/", "A")
    assert [event for event in events if isinstance(event, Sources)] == [
        Sources([page]),
        Sources([page, Source("https://b.test/", "B")]),
    ]


def test_a_router_tells_the_model() -> None:
    route = {"type": "routerMetadata", "route": "code", "model": "org/big"}
    assert end_of(said(route, final("x"), send=SEND)).model == "org/big"
    assert end_of(said(final("x"), send=SEND)).model == "org/text"


def test_a_complete_answer_tells_its_conversation_once() -> None:
    events = said(token("x"), final("x"), final("x"), FINISHED, send=SEND)
    assert [event for event in events if isinstance(event, Conversation)] == [Conversation(STATE)]
    assert isinstance(events[-2], Conversation)
    assert not any(isinstance(event, Conversation) for event in said(token("x"), send=SEND))


def test_without_a_final_line_the_end_is_truncation() -> None:
    assert type(end_of(said(STARTED, token("a"))).error) is Truncated
    assert type(end_of(said(STARTED)).error) is Truncated
    assert type(end_of(read(b"")).error) is Truncated


def test_a_stream_that_is_finished_after_its_text_is_whole_for_an_unknown_reason() -> None:
    events = said(STARTED, token("a <"), FINISHED, send=SEND)
    assert joined(events)[:2] == [Delta("a <"), Conversation(STATE)]
    assert (end_of(events).status, end_of(events).finish_reason) == (Status.FINISHED, "unknown")
    assert type(end_of(said(STARTED, FINISHED)).error) is Truncated


def test_an_answer_that_was_stopped_with_text_is_whole_for_an_unknown_reason() -> None:
    end = end_of(said(token("The"), final("The", interrupted=True), FINISHED))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, "unknown", "interrupted")


def test_an_empty_answer_that_was_stopped_is_to_be_asked_for_again_later() -> None:
    error = end_of(said(STARTED, final("", interrupted=True), BLANKS, FINISHED)).error
    assert type(error) is ServerError
    assert (error.retryable, error.retry_after) == (True, MARKER_LIFE)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"message": "Connection error."}, ServerError),
        ({"message": "Rate limit", "statusCode": 429}, RateLimited),
        ({"message": "Spent", "statusCode": 402}, QuotaError),
        ({"message": "Who?", "statusCode": 401}, AuthError),
        ({"message": "Busy", "statusCode": 503}, Overloaded),
        ({"message": "Odd", "statusCode": "x"}, ServerError),
        ({"message": "No output was generated. Something went wrong."}, Truncated),
        ({}, ServerError),
    ],
)
def test_an_error_in_the_stream_is_typed_and_keeps_what_came_before(fields: Any, kind: type[ProviderError]) -> None:
    events = said(STARTED, token("a"), {"type": "status", "status": "error", **fields})
    assert events[0] == Delta("a")
    error = end_of(events).error
    assert type(error) is kind
    assert error.message == fields.get("message", "the service gave no reason")


def test_a_tool_that_asks_something_is_an_error_that_says_so() -> None:
    asked = {"type": "elicitation", "subtype": "request", "message": "Which?"}
    error = end_of(said(STARTED, token("a"), asked, FINISHED)).error
    assert isinstance(error, ServerError)
    assert "ask" in error.message and not error.retryable
    assert end_of(said(asked, {**asked, "subtype": "resolved"}, token("a"), final("a"))).error is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"type": "news", "token": "a"},
        {"type": None},
        {"type": "stream"},
        {"type": "stream", "token": None},
        {"type": "stream", "token": 5},
        {"type": "status", "status": "odd"},
        {"type": "title", "title": None},
        {"type": "title", "title": "<think> </think>"},
        {"type": "webSearch", "sources": None},
        {"type": "tool"},
        {"type": "reasoning", "token": "x"},
        {"type": "routerMetadata", "model": 5},
    ],
)
def test_an_update_of_another_kind_is_passed_over(value: Any) -> None:
    events = said(value, token("a"), final("a"))
    assert (events[0], end_of(events).status) == (Delta("a"), Status.FINISHED)


@pytest.mark.parametrize(
    "value", [5, [], {"type": []}, {"type": "file"}, {"type": "webSearch", "sources": [5]}, b"junk\n"]
)
def test_a_line_of_the_wrong_shape_is_a_protocol_error(value: Any) -> None:
    sent = value if isinstance(value, bytes) else lines(value)
    events = read(lines(token("a")), sent, send=SEND)
    assert (events[0], type(end_of(events).error)) == (Delta("a"), ProtocolError)


def test_a_web_page_is_no_answer() -> None:
    assert type(end_of(read(b"<!doctype html>")).error) is NotAStream


def test_a_line_without_end_is_too_large() -> None:
    assert type(end_of(read(lines(STARTED), *[b" " * (1 << 20)] * 9)).error) is TooLarge


def test_thousands_of_keep_alives_are_not_decoded() -> None:
    reader = AnswerReader(HEAD)
    reader.feed(lines(STARTED))
    assert [reader.feed(KEEP_ALIVE * 100) for _ in range(100)] == [[]] * 100
    assert reader.feed(KEEP_ALIVE + lines(token("a")) + KEEP_ALIVE) == [Delta("a")]
    assert read(KEEP_ALIVE, KEEP_ALIVE[:9], KEEP_ALIVE[9:], lines(final("a")))[:-1] == [Delta("a")]


def test_half_an_emoji_waits_for_the_other() -> None:
    updates = b'{"type":"stream","token":"\\ud83c"}\n{"type":"stream","token":"\\udf1f\\u0000"}\n'
    events = read(updates, lines(final("🌟")))
    assert events == [Delta("🌟"), End(Status.FINISHED, "stop")]


@given(st.lists(st.sampled_from(["<", "think>", "/think>", "<think>", "</think>", "a", "<t", "hink>"]), max_size=12))
@settings(deadline=None)
def test_tags_lose_no_text(pieces: list[str]) -> None:
    tags = ThinkTags()
    events = [event for piece in pieces for event in tags.split(piece)] + tags.close()
    bare = "".join(event.text for event in events if isinstance(event, Delta | Reasoning))
    whole = ThinkTags()
    assert joined(events) == joined(whole.split("".join(pieces)) + whole.close())
    marks = "".join(pieces)
    assert len(bare) <= len(marks) and (bare == marks or "<think>" in marks)


NAMES = [
    *("type", "token", "text", "status", "subtype", "interrupted", "message", "statusCode", "title", "sources"),
    *("webSources", "link", "uri", "sha", "mime", "name", "model", "error"),
]
WORDS = ["stream", "finalAnswer", "status", "error", "finished", "reasoning", "title", "file", "webSearch", "tool"]
ODD = odd_json(NAMES, [*WORDS, "<think>", "text", "request", "elicitation", "routerMetadata"])


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), max_size=5))
@settings(deadline=None, max_examples=100)
def test_no_stream_is_too_odd(values: list[dict[str, Any]]) -> None:
    assert_sound(read("\n".join(map(json.dumps, values)).encode(), send=SEND))
