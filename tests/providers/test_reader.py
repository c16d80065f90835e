from itertools import repeat
from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import (
    NotAStream,
    ProtocolError,
    ProviderError,
    RateLimited,
    RedirectRefused,
    ResetError,
    ServerError,
    TimedOut,
    TooLarge,
    Truncated,
)
from fanout.events import Delta, End, Event, Reasoning, Status, ToolCall, Usage
from fanout.providers.reader import MAX_TOOL_CALLS, JsonReader, count_of, text_of
from fanout.wire.sse import CAP
from tests.conformance.cases import cut_at_sizes

SSE = {"content-type": "text/event-stream", "x-request-id": "r1"}


class Words(JsonReader):
    """A protocol of one word an object: `text`, `thought`, `call`, `stop`, `last`."""

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        self.model = self.model or text_of(value.get("model"))
        if "text" in value:
            out.append(Delta(value["text"]))
        if "thought" in value:
            out.append(Reasoning(value["thought"]))
        if "call" in value:
            out.append(self.tool_call(value["call"], value.get("id"), None, value.get("arguments", "")))
        if "inner" in value:
            out.append(Delta(value["inner"]["text"].upper()))
        if "count" in value:
            self.count(Usage(*value["count"]), out)
        if "stop" in value:
            self.finish("stop", value["stop"])
        if "odd" in value:
            self.finish("unknown", value["odd"])
            self.note("n")
        if "last" in value:
            self.end()


class Lines(Words):
    lines = True


class Done(Words):
    done_ends = True


class Whole(Words):
    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        out.append(Delta(value["answer"]))

    def rest(self, out: list[Event], /) -> list[Event]:
        out.append(Delta("rest"))
        return out


def read(
    *chunks: bytes,
    kind: type[JsonReader] = Words,
    status: int = 200,
    headers: dict[str, str] = SSE,
    error: ProviderError | None = None,
) -> list[Event]:
    reader = kind(Head(status, headers))
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.close(error)


def end_of(events: list[Event]) -> End:
    assert [type(event) is End for event in events] == [False] * (len(events) - 1) + [True]
    end = events[-1]
    assert isinstance(end, End)
    return end


def error_of(events: list[Event]) -> ProviderError:
    end = end_of(events)
    assert end.status in (Status.FAILED, Status.TIMED_OUT)
    assert end.error is not None
    return end.error


TEXT = b'data: {"text":"a","model":"m"}\n\n'
STOP = b'data: {"stop":"done"}\n\n'


def test_after_the_end_mark_the_answer_is_finished() -> None:
    assert read(TEXT, STOP) == [
        Delta("a"),
        End(Status.FINISHED, "stop", raw="done", model="m", request_id="r1", headers={"x-request-id": "r1"}),
    ]


def test_without_the_end_mark_it_is_truncated() -> None:
    events = read(TEXT)
    assert events[0] == Delta("a")
    assert isinstance(error_of(events), Truncated)
    assert end_of(events).model == "m"


@pytest.mark.parametrize("after", [b"data: oops\n\n", b'data: {"error":"late"}\n\n', b"data: [1]\n\n", b"data: cut"])
def test_whatever_follows_the_end_mark_leaves_the_answer_whole(after: bytes) -> None:
    assert end_of(read(TEXT, STOP, after)).status is Status.FINISHED


def test_a_connection_lost_after_the_end_mark_leaves_the_answer_whole() -> None:
    assert end_of(read(TEXT, STOP, error=ResetError("gone"))).error is None


def test_complete_tells_of_the_end_mark() -> None:
    reader = Words(Head(200, SSE))
    reader.feed(TEXT)
    before = reader.complete
    reader.feed(STOP)
    assert (before, reader.complete) == (False, True)


def test_a_last_object_ends_at_once_and_nothing_follows() -> None:
    reader = Words(Head(200, SSE))
    events = reader.feed(TEXT + b'data: {"stop":"s","last":1}\n\n' + TEXT)
    assert [type(event) for event in events] == [Delta, End]
    assert reader.feed(TEXT) == reader.close() == reader.close(ResetError("gone")) == []


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", b"data:[DONE] \n\n", b"data: [DONE]", b"data: [DONE]\n"])
def test_done_ends_the_protocols_that_have_it(data: bytes) -> None:
    assert end_of(read(TEXT, data, kind=Done)) == End(
        Status.FINISHED, "unknown", model="m", request_id="r1", headers={"x-request-id": "r1"}
    )
    assert isinstance(error_of(read(TEXT, data)), Truncated)


def test_done_does_not_take_back_the_reason() -> None:
    assert end_of(read(TEXT, STOP, b"data: [DONE]\n\n", kind=Done)).finish_reason == "stop"


@pytest.mark.parametrize(
    "data",
    [
        b"data:\n\n",
        b"data:  \n\n",
        b"event: ping\ndata: 1\n\n",
        b"event: ping\ndata: x\n\n",
        b'event: ping\ndata: {"text":"no","error":"no"}\n\n',
        b": c\n\n",
        b"data: {}\n\n",
    ],
)
def test_signs_of_life_are_nothing(data: bytes) -> None:
    assert read(data, TEXT, data, STOP)[0] == Delta("a")
    assert end_of(read(data, TEXT, data, STOP)).status is Status.FINISHED


@pytest.mark.parametrize(
    "data",
    [
        b"oops",
        b'{"text":',
        b'"x"',
        b"null",
        b"[1]",
        b"5",
        b'{"inner":null}',
        b'{"inner":{}}',
        b'{"inner":{"text":1}}',
        b'{"call":"x"}',
        b"[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_a_protocol_error_after_the_text_before_it(data: bytes) -> None:
    events = read(TEXT + b"data: " + data + b"\n\n" + TEXT)
    assert events[:-1] == [Delta("a")]
    assert type(error_of(events)) is ProtocolError
    assert error_of(events).request_id == "r1"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'data: {"error":{"message":"m","code":429}}\n\n', RateLimited),
        (b'data: {"error":"text"}\n\n', ServerError),
        (b'event: error\ndata: {"message":"m","code":"429"}\n\n', RateLimited),
        (b"event: error\ndata: all is lost\n\n", ServerError),
        (b"event: error\ndata: {}\n\n", ServerError),
        (b'event: error\ndata: {"message":"m","code":"429"}', RateLimited),
        (b'data: {"error":{"code":429}}\n', RateLimited),
        (b'error: {"code":429,"message":"m"}\n\n', RateLimited),
        (b'{\n "error": {\n"code": 429\n}\n}\n', RateLimited),
        (b"\n<html>", NotAStream),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_error_inside_the_stream_has_its_kind(data: bytes, kind: type[ProviderError], size: int) -> None:
    events = read(*cut_at_sizes(TEXT + data, repeat(size)))
    assert events[0] == Delta("a")
    assert type(error_of(events)) is kind


def test_an_error_that_is_null_is_none() -> None:
    assert end_of(read(b'data: {"error":null,"text":"a"}\n\n', STOP)).status is Status.FINISHED


def test_an_unfinished_text_is_never_delivered() -> None:
    events = read(TEXT, b'data: {"text":"lost"}\n')
    assert events[:-1] == [Delta("a")]
    assert isinstance(error_of(events), Truncated)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("mark", ["[DONE]", '{"stop":"done"}'])
def test_events_without_blank_lines_between_them_are_read_all_the_same(mark: str, size: int) -> None:
    data = f'data: {{"text":"a"}}\ndata: {{"text":"b"}}\ndata: {mark}\n'.encode()
    events = read(*cut_at_sizes(data, repeat(size)), kind=Done)
    assert events[:-1] == [Delta("a"), Delta("b")]
    assert end_of(events).status is Status.FINISHED


@pytest.mark.parametrize("between", [" ", "", "\t", "\ndata: "])
def test_several_values_in_one_event_are_several_objects(between: str) -> None:
    events = read(f'data: {{"text":"a"}}{between}{{"text":"b"}}{between}[DONE]\n\n'.encode(), kind=Done)
    assert events[:-1] == [Delta("a"), Delta("b")]
    assert end_of(events).status is Status.FINISHED


def test_what_cut_the_body_off_is_the_error() -> None:
    lost = ResetError("gone")
    assert error_of(read(TEXT, error=lost)) is lost
    assert error_of(read(TEXT, b'data: {"error":{"code":429}}', error=lost)) is lost
    assert type(error_of(read(TEXT, b'error: {"code":429}\n', error=lost))) is RateLimited
    assert error_of(read(b'{"text":"a"}\n{"te', kind=Lines, error=lost)) is lost


def test_only_a_clock_of_ours_times_a_lane_out() -> None:
    assert end_of(read(TEXT, error=TimedOut("idle", clock="idle", seconds=1.0))).status is Status.TIMED_OUT
    assert end_of(read(b"", status=504)).status is Status.FAILED


@pytest.mark.parametrize("data", [b"", b"\n\n\n", b": only a comment\n\n"])
def test_nothing_at_all_is_truncated(data: bytes) -> None:
    assert isinstance(error_of(read(data)), Truncated)


@pytest.mark.parametrize(
    ("status", "kind"), [(204, Truncated), (307, RedirectRefused), (429, RateLimited), (500, ServerError)]
)
def test_another_status_is_an_error_with_the_words_of_the_service(status: int, kind: type[ProviderError]) -> None:
    events = read(b'{"error":{"mess', b'age":"no"}}', status=status, error=ResetError("gone"))
    assert len(events) == 1
    error = error_of(events)
    assert type(error) is kind
    assert (error.status, error.request_id) == (status, "r1")
    assert status < 400 or error.message == "no"


def test_a_web_page_is_not_a_stream_and_its_title_says_which() -> None:
    assert isinstance(error_of(read(b"<html>Sign in</html>")), NotAStream)
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>"
    for pieces in ([page], [page[:3], page[3:40], page[40:]], [page + b"x" * 100_000]):
        assert error_of(read(*pieces)).message == "a web page in the place of an answer: Sign in"


@pytest.mark.parametrize("status", [200, 201, 203, 206])
def test_a_2xx_with_an_answer_in_it_is_an_answer(status: int) -> None:
    assert end_of(read(TEXT, STOP, status=status)).status is Status.FINISHED
    assert type(error_of(read(b'{"error":{"code":429}}', status=status))) is RateLimited


@pytest.mark.parametrize("status", [202, 204, 205])
def test_a_2xx_that_promises_an_answer_or_none_is_not_one(status: int) -> None:
    assert error_of(read(TEXT, STOP, status=status)).status == status


def test_lines_are_read_without_a_label_by_a_protocol_of_lines() -> None:
    assert read(b'{"text":"a"}\n{"stop":"s"}', kind=Lines, headers={})[0] == Delta("a")
    assert isinstance(error_of(read(b'{"text":"a"}\n{"te', kind=Lines)), Truncated)
    assert isinstance(error_of(read(b'{"text":"a"}\noops\n', kind=Lines)), ProtocolError)


def test_an_array_is_read_element_by_element() -> None:
    events = read(b'[{"text":"a"},', b'{"stop":"s"}]', headers={"content-type": "application/json"})
    assert [type(event) for event in events] == [Delta, End]
    assert end_of(events).finish_reason == "stop"
    assert type(error_of(read(b'[{"error":{"code":429}}]'))) is RateLimited


def test_one_document_is_a_complete_answer() -> None:
    assert read(b'{"text":"a"}') == [
        Delta("a"),
        End(Status.FINISHED, "unknown", request_id="r1", headers={"x-request-id": "r1"}),
    ]
    assert end_of(read(b'{"text":"a","stop":"s"}')).finish_reason == "stop"


def test_a_document_may_mean_something_else_than_an_object_of_the_stream() -> None:
    assert read(b'{"answer":"a"}', kind=Whole)[:-1] == [Delta("a"), Delta("rest")]


def test_what_was_held_back_comes_before_the_end() -> None:
    assert read(TEXT, STOP, kind=Whole)[:-1] == [Delta("a"), Delta("rest")]
    assert read(TEXT, kind=Whole)[:-1] == [Delta("a"), Delta("rest")]


def test_a_document_that_holds_no_answer_is_not_a_stream() -> None:
    assert isinstance(error_of(read(b'{"status":"ok"}')), NotAStream)
    assert type(error_of(read(b'{"error":{"code":429}}'))) is RateLimited
    assert isinstance(error_of(read(b'{"text":"a')), Truncated)


def test_a_line_without_end_is_too_large() -> None:
    events = read(TEXT, b"data: " + b"x" * (CAP + 1))
    assert events[0] == Delta("a")
    assert isinstance(error_of(events), TooLarge)


def test_there_is_a_limit_to_tool_calls() -> None:
    calls = [b'data: {"call":%d}\n\n' % index for index in range(MAX_TOOL_CALLS)]
    assert end_of(read(*calls, *calls, STOP)).status is Status.FINISHED
    assert isinstance(error_of(read(*calls, b'data: {"call":-1}\n\n', STOP)), ProtocolError)


@pytest.mark.parametrize("arguments", ["", "null", " null "])
def test_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    call = b'data: {"call":0,"id":"c","arguments":"%b"}\n\n' % arguments.encode()
    events = read(call, b'data: {"call":1,"id":"d","arguments":"{}"}\n\n', STOP)
    assert events[-2] == ToolCall(0, arguments="{}")
    assert events[:-2] == [ToolCall(0, "c"), ToolCall(1, "d", arguments="{}")]


def test_a_null_within_arguments_is_theirs_and_a_call_that_is_cut_off_gets_none() -> None:
    pieces = [b'data: {"call":0,"arguments":"%b"}\n\n' % piece for piece in (b"[", b"null", b"]")]
    assert read(*pieces, STOP)[:-1] == [ToolCall(0, arguments=piece) for piece in ("[", "null", "]")]
    assert read(b'data: {"call":0,"id":"c"}\n\n')[:-1] == [ToolCall(0, "c")]


def test_a_null_in_pieces_is_no_argument_and_what_only_begins_like_one_is() -> None:
    pieces = [b'data: {"call":0,"arguments":"%b"}\n\n' % piece for piece in (b"n", b"ul", b"l")]
    assert "".join(e.arguments for e in read(*pieces, STOP) if isinstance(e, ToolCall)) == "{}"
    assert "".join(e.arguments for e in read(*pieces[:2], STOP) if isinstance(e, ToolCall)) == "nul"
    other = b'data: {"call":0,"arguments":"o"}\n\n'
    assert "".join(e.arguments for e in read(pieces[0], other, STOP) if isinstance(e, ToolCall)) == "no"


def counted(*counts: str, text: bytes = TEXT, first: str = "") -> Usage | None:
    """The counts that are told of an answer, with those that come before its text."""
    before = b'data: {"count":%b}\n\n' % first.encode() if first else b""
    events = read(before, text, *(b'data: {"count":%b}\n\n' % count.encode() for count in counts), STOP)
    usages = [event for event in events if isinstance(event, Usage)]
    assert usages == events[-1 - len(usages) : -1]
    return usages[0] if usages else None


def test_counts_are_told_once_before_the_end_and_a_0_or_nothing_leaves_them_as_they_were() -> None:
    assert counted("[3,1]", "[3,2,1,1]") == Usage(3, 2, 1, 1)
    assert counted("[3,2,1,1]", "[0,0,0,0]", "[null,null]") == Usage(3, 2, 1, 1)
    assert counted("[3]", "[null,2]") == Usage(3, 2)
    assert counted() is None


def test_output_that_was_counted_before_it_came_or_as_0_is_not_counted() -> None:
    assert counted(first="[3,1]") == Usage(3)
    assert counted("[0,5]", first="[3,1]") == Usage(3, 5)
    assert counted("[3,0]") == Usage(3)
    assert counted("[3,0]", text=b"") == Usage(3, 0)
    assert counted(first="[3,5]", text=b"") == Usage(3, 5)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_reason_before_any_content_ends_nothing_that_comes_after_it(size: int) -> None:
    reader = Words(Head(200, SSE))
    for piece in cut_at_sizes(STOP + TEXT, repeat(size)):
        reader.feed(piece)
    before = reader.complete
    reader.feed(STOP)
    assert (before, reader.complete) == (False, True)
    assert isinstance(error_of(read(*cut_at_sizes(STOP + TEXT, repeat(size)), error=ResetError("cut"))), ResetError)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_reason_before_any_content_is_that_of_a_whole_body(size: int) -> None:
    for data, kind in ((STOP + TEXT, Words), (STOP + TEXT + b"data: [DONE]\n\n", Done), (STOP, Words)):
        end = end_of(read(*cut_at_sizes(data, repeat(size)), kind=kind))
        assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, "stop", "done")


def test_an_error_before_any_content_is_the_error_whatever_follows() -> None:
    assert type(error_of(read(b'data: {"error":{"code":429}}\n\n' + TEXT + STOP))) is RateLimited


def test_a_reason_that_is_not_known_is_noted_once() -> None:
    end = end_of(read(TEXT, b'data: {"odd":"wow"}\n\n', b'data: {"odd":"wow"}\n\n'))
    assert (end.finish_reason, end.notes) == (
        "unknown",
        ("n", "the service ended with the reason 'wow', which is not known"),
    )
    assert end_of(read(TEXT, b'data: {"odd":"wow"}\n\n', STOP)).notes == ("n",)


def test_a_stop_after_tool_calls_is_because_of_them() -> None:
    assert end_of(read(b'data: {"call":0,"id":"c"}\n\n', STOP)).finish_reason == "tool_calls"


def test_a_surrogate_pair_cut_over_two_deltas_is_joined() -> None:
    events = read(b'data: {"text":"a\\ud83c"}\n\n', b": c\n\n", b'data: {"text":"\\udf88b"}\n\n', STOP)
    assert events[:-1] == [Delta("a"), Delta("\U0001f388b")]


def test_every_field_joins_its_own_halves() -> None:
    events = read(
        b'data: {"text":"\\ud83c","thought":"\\ud83d"}\n\n',
        b'data: {"call":0,"id":"c","arguments":"\\ud83c"}\n\n',
        b'data: {"call":1,"id":"\\udc00","arguments":"x"}\n\n',
        b'data: {"call":0,"arguments":"\\udf88"}\n\n',
        b'data: {"thought":"\\ude00","text":"\\udf88"}\n\n',
        STOP,
    )
    assert events[:-1] == [
        ToolCall(0, "c"),
        ToolCall(1, "\ufffd", None, "x"),
        ToolCall(0, None, None, "\U0001f388"),
        Delta("\U0001f388"),
        Reasoning("\U0001f600"),
    ]


def test_a_half_that_stays_alone_is_replaced_before_the_end() -> None:
    events = read(
        b'data: {"text":"a\\ud83c","model":"\\ud83c"}\n\n', b'data: {"call":0,"arguments":"\\ud83c"}\n\n', STOP
    )
    assert events[:-1] == [Delta("a"), Delta("\ufffd"), ToolCall(0, arguments="\ufffd")]
    assert end_of(events).model == "\ufffd"


def test_a_word_for_the_end_that_is_no_text_is_none() -> None:
    events = read(b'data: {"text":"a\\ud83c"}\n\n', b'data: {"stop":1.5}\n\n')
    assert (end_of(events).status, end_of(events).raw) == (Status.FINISHED, None)


def test_counts_may_be_written_as_floats() -> None:
    assert [count_of(value) for value in (3, 3.0, 0)] == [3, 3, 0]
    odd: list[Any] = [None, True, "3", -1, []]
    assert [count_of(value) for value in odd] == [None] * 5


@pytest.mark.parametrize("size", [1, 1000])
def test_an_error_behind_the_first_content_of_one_event_is_the_end_whatever_follows(size: int) -> None:
    data = b'data: {"text": "a"} oops\n\ndata: {"text": "b"}\n\ndata: {"stop": "stop"}\n\n'
    events = read(*cut_at_sizes(data, repeat(size)))
    assert events[0] == Delta("a")
    assert isinstance(end := events[-1], End)
    assert isinstance(end.error, ProtocolError)
    assert len(events) == 2
