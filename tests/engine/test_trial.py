"""One try: what its End means, and what of a service's answer is paid for once and not twice."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

import fanout
from fanout import Race, Status
from fanout.abc import Head, Provider, Reader, Request
from fanout.engine.trial import judge
from fanout.errors import ProtocolError, ProviderError, TimedOut, Truncated
from fanout.events import Delta, End, Event, ToolCall, Usage
from fanout.providers.anthropic import Anthropic
from fanout.providers.openai import OpenAI
from fanout.settings.timeouts import Timeouts
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.engine.test_attempt import Lane
from tests.servers.http import read_request, serve
from tests.words import Words, WordsReader, memory, said

# What an End is to the lane.


@pytest.mark.parametrize("reason", [None, "stop", "unknown"])
def test_an_answer_with_nothing_in_it_is_truncated_and_may_be_repeated(reason: str | None) -> None:
    end = judge([End(Status.FINISHED, reason, request_id="r1", headers={"x": "1"})], had_content=False)
    assert isinstance(end.error, Truncated)
    assert (end.status, end.error.retryable, end.error.request_id, end.headers) == (
        Status.FAILED,
        True,
        "r1",
        {"x": "1"},
    )
    assert end.finish_reason is None


def test_a_note_is_a_sign_of_an_answer_and_the_finish_reason_without_raw_words_is_not_looked_for() -> None:
    end = judge([End(Status.FINISHED, "stop", notes=("None of its parts is known",))], had_content=False)
    assert str(end.error) == "protocol: nothing of the answer is known: None of its parts is known"


@pytest.mark.parametrize("usage", [Usage(9, 0), Usage(9), Usage(9, 5, estimated=True)])
def test_what_is_not_counted_is_not_paid_for(usage: Usage) -> None:
    assert isinstance(judge([usage, End(Status.FINISHED, "stop")], had_content=False).error, Truncated)


@pytest.mark.parametrize("reason", [None, "stop", "unknown"])
def test_an_answer_that_was_counted_and_has_nothing_that_is_known_is_not_repeated(reason: str | None) -> None:
    end = judge([Usage(9, 48), End(Status.FINISHED, reason, request_id="r1")], had_content=False)
    assert isinstance(end.error, ProtocolError)
    assert (end.status, end.error.retryable, end.error.request_id) == (Status.FAILED, False, "r1")
    assert "48 tokens were counted" in str(end.error)


def test_an_answer_of_a_kind_that_is_not_known_is_not_repeated_and_says_the_kind() -> None:
    notes = ("a part of the answer is a hologram, which is not known",)
    end = judge([Usage(9, 48), End(Status.FINISHED, "stop", notes=notes)], had_content=False)
    assert isinstance(end.error, ProtocolError)
    assert "hologram" in str(end.error) and "48 tokens" in str(end.error)
    uncounted = judge([End(Status.FINISHED, "stop", notes=notes)], had_content=False)
    assert isinstance(uncounted.error, ProtocolError) and "hologram" in str(uncounted.error)


def test_a_finish_reason_that_is_not_known_is_no_part_of_an_answer() -> None:
    notes = ("the service ended with the reason 'odd', which is not known",)
    end = judge([End(Status.FINISHED, "unknown", raw="odd", notes=notes)], had_content=False)
    assert isinstance(end.error, Truncated)
    counted = judge([Usage(9, 3), End(Status.FINISHED, "unknown", raw="odd", notes=notes)], had_content=False)
    assert isinstance(counted.error, ProtocolError) and "'odd'" in str(counted.error)


@pytest.mark.parametrize("reason", ["length", "tool_calls", "content_filter"])
def test_an_end_that_explains_itself_needs_no_content(reason: str) -> None:
    end = End(Status.FINISHED, reason)
    assert judge([Usage(9, 48), end], had_content=False) is end


def test_an_answer_with_content_is_taken_as_it_is_however_it_was_counted() -> None:
    for notes in ((), ("a part of the answer is a hologram, which is not known",)):
        end = End(Status.FINISHED, "stop", notes=notes)
        assert judge([Delta("x"), Usage(9, 48), end], had_content=True) is end


def test_a_clock_of_ours_is_a_time_out_and_a_services_own_is_a_failure() -> None:
    for clock, status in (("first", Status.TIMED_OUT), (None, Status.FAILED)):
        assert judge([End(Status.FAILED, error=TimedOut("late", clock=clock))], had_content=False).status is status


def test_a_complete_answer_with_nothing_in_it_is_a_time_out_if_a_clock_cut_it_off_unless_it_was_counted() -> None:
    fired = TimedOut("late", clock="idle")
    late = judge([End(Status.FINISHED, "stop")], had_content=False, fired=fired)
    assert (late.status, late.error) == (Status.TIMED_OUT, fired)
    counted = judge([Usage(9, 48), End(Status.FINISHED, "stop")], had_content=False, fired=fired)
    assert (counted.status, type(counted.error)) == (Status.FAILED, ProtocolError)


def test_the_last_count_is_the_one_that_is_told() -> None:
    end = judge([Usage(9, 3), Usage(9, 5), Usage(9, 48), End(Status.FINISHED, "stop")], had_content=False)
    assert "known: 48 tokens were counted" in str(end.error)


@pytest.mark.parametrize("raw", [None, "odd"])
def test_a_note_on_the_reason_hides_none_on_a_part(raw: str | None) -> None:
    notes = ("the service ended with the reason 'odd', which is not known", "a part is None, which is not known")
    end = judge([End(Status.FINISHED, "unknown", raw=raw, notes=notes)], had_content=False)
    assert isinstance(end.error, ProtocolError)
    assert "'odd', which is not known; a part is None" in str(end.error)


# What is paid for is asked for once: counted at the server.

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@define
class Till:
    """A server that gives every request the same answer and counts them."""

    answer: bytes
    url: str = ""
    requests: list[dict[str, Any]] = field(factory=list)


@asynccontextmanager
async def open_till(*values: Any) -> AsyncGenerator[Till]:
    """Answers with these values, each as one event of a stream."""
    events = [f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n" for value in values]
    till = Till(SSE + "".join(events).encode())

    async def handle(stream: trio.SocketStream) -> None:
        if (request := await read_request(stream)) is not None:
            till.requests.append(json.loads(request.body))
            await stream.send_all(till.answer)

    async with serve(handle) as till.url:
        yield till


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    } | more


COUNTED = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 48, "total_tokens": 57}}


async def ask(provider: Provider) -> fanout.Answer:
    (answer,) = await fanout.gather("?", [provider], retries=2)
    return answer


async def test_an_answer_that_was_billed_and_has_nothing_known_costs_one_request() -> None:
    async with open_till(chunk({"role": "assistant", "hologram": [1]}), chunk({}, "stop"), COUNTED, "[DONE]") as till:
        answer = await ask(OpenAI("m", base_url=till.url, needs_key=False))
        assert len(till.requests) == 1
    assert answer.error and (answer.status, answer.error.kind) == (Status.FAILED, "protocol")
    assert "48 tokens" in answer.error.message
    assert answer.usage and answer.usage.output == 48


async def test_a_kind_of_part_that_is_not_known_costs_one_request_and_is_named() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "hologram", "data": "AAAA"}}
    events = (
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 9}}},
        block,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )
    async with open_till(*events) as till:
        answer = await ask(Anthropic("m", base_url=till.url, needs_key=False))
        assert len(till.requests) == 1
    assert answer.error and answer.error.kind == "protocol"
    assert "hologram" in answer.error.message


async def test_an_answer_with_nothing_in_it_that_nobody_counted_is_asked_for_again() -> None:
    async with open_till(chunk({"role": "assistant"}), chunk({}, "stop"), "[DONE]") as till:
        answer = await ask(OpenAI("m", base_url=till.url, needs_key=False))
        assert len(till.requests) == 3
    assert answer.error and answer.error.kind == "truncated"


# After a finish reason.


class FinishingReader(WordsReader):
    """`F` is a finish reason, after which more may come; `.` is the end of the stream."""

    def _event(self, word: str) -> Event | None:
        if word == "F":
            self.complete = True
            return None
        return super()._event(word)

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        return [End(Status.FINISHED, "stop")] if self.complete and not self.ended else super().close(error)


class Finishing(Words):
    def read(self, head: Head, request: Request | None = None) -> Reader:
        return FinishingReader(head)


async def test_content_after_a_finish_reason_is_the_answers_and_restarts_the_wait(autojump_clock: MockClock) -> None:
    script: Script = [1, b"a F", 1.9, b"b", 1.9, b"c", HANG]
    lane = await Lane(MemoryTransport({"a": script}), Finishing("a")).run()
    assert (lane.end.status, lane.attempt.answer.text) == (Status.FINISHED, "abc")
    assert lane.took == pytest.approx(6.8)


async def test_what_is_no_content_does_not_restart_the_wait(autojump_clock: MockClock) -> None:
    alive: list[float | bytes] = [0.5, b"~"]
    lane = await Lane(MemoryTransport({"a": [1, b"a F", *alive * 20]}), Finishing("a")).run()
    assert lane.end.status is Status.FINISHED
    assert lane.took == pytest.approx(3)


async def test_a_finish_reason_before_any_content_is_no_end(autojump_clock: MockClock) -> None:
    lane = await Lane(MemoryTransport({"a": [1, b"F", 9, b"late", 1, b"r", HANG]}), Finishing("a")).run()
    assert (lane.end.status, lane.attempt.answer.text) == (Status.FINISHED, "later")
    assert lane.took == pytest.approx(13)


async def test_after_a_finish_reason_before_any_content_the_other_clocks_rule(autojump_clock: MockClock) -> None:
    lane = await Lane(MemoryTransport({"a": [1, b"F", HANG]}), Finishing("a"), timeouts=Timeouts(first=5)).run()
    assert (lane.end.status, lane.error.clock) == (Status.TIMED_OUT, "first")
    assert lane.took == pytest.approx(5)


class CallingReader(FinishingReader):
    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        return [ToolCall(0, "c", "f", "{}"), End(Status.FINISHED, "tool_calls")]


class Calling(Words):
    def read(self, head: Head, request: Request | None = None) -> Reader:
        return CallingReader(head)


async def test_when_another_clock_fires_a_complete_answer_stays_whole(autojump_clock: MockClock) -> None:
    lane = await Lane(MemoryTransport({"a": [1, b"F", HANG]}), Calling("a"), timeouts=Timeouts(first=5)).run()
    assert (lane.end.status, lane.end.finish_reason) == (Status.FINISHED, "tool_calls")
    assert lane.took == pytest.approx(5)


# The usage of a lane that is cut off.


def sse(*values: dict[str, Any]) -> bytes:
    return b"".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values)


def thinking(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}


MESSAGE = {"id": "m", "type": "message", "model": "m", "content": [], "usage": {"input_tokens": 43, "output_tokens": 1}}
BEGUN = sse(
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
)


async def test_what_a_service_counts_before_its_answer_is_not_what_a_loser_wasted(autojump_clock: MockClock) -> None:
    pieces = [step for number in range(69) for step in (0.01, sse(thinking(f"thought {number}")))]
    transport = MemoryTransport({"loser": [0.1, BEGUN, *pieces, HANG], "a": [1, b"x ."]})
    loser = Anthropic("m", base_url="http://loser", needs_key=False)
    run = await fanout.ask("?", Race(loser, Words("a")), transport=transport)
    answer = run.answers[0]
    assert run.winner and run.winner.lane == "a"
    assert (answer.status, answer.chunks) == (Status.CANCELLED, 69)
    assert answer.usage and (answer.usage.input, answer.usage.estimated) == (43, True)
    assert answer.usage.output and answer.usage.output >= 69
    assert run.wasted.tokens == answer.tokens == answer.usage.output


async def test_what_a_service_has_counted_of_what_it_sent_is_the_losers_count(autojump_clock: MockClock) -> None:
    counted = sse({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}})
    transport = MemoryTransport({"loser": [0.1, BEGUN + sse(thinking("hm")) + counted, HANG], "a": [1, b"x ."]})
    loser = Anthropic("m", base_url="http://loser", needs_key=False)
    run = await fanout.ask("?", Race(loser, Words("a")), transport=transport)
    usage = run.answers[0].usage
    assert usage and (usage.input, usage.output, usage.estimated) == (43, 7, False)
    assert run.wasted.tokens == 7


async def test_the_counts_of_a_lane_that_is_still_running_are_not_asked_of_its_reader(
    autojump_clock: MockClock,
) -> None:
    transport = MemoryTransport({"a": [0.1, BEGUN + sse(thinking("hm")), 1, sse(thinking("so")), HANG]})
    lane = Anthropic("m", base_url="http://a", needs_key=False)
    async with fanout.open_fanout("?", [lane], transport=transport) as running:
        await trio.sleep(0.5)
        assert running.run.answers[0].usage is None
        await trio.sleep(1)
        assert running.run.answers[0].reasoning == "hmso"


class FirstVersion(Words):
    """A plug-in whose `read` takes the head alone, as it did in 0.1.0."""

    def read(self, head: Head) -> Reader:  # type: ignore[override]
        return super().read(head)


async def test_a_reader_that_is_made_of_the_head_alone_reads_too(autojump_clock: MockClock) -> None:
    answer = await fanout.race("?", FirstVersion("a"), transport=memory(a=said("x")))
    assert answer.text == "x"


class TalkativeFirstVersion(Words):
    """A plug-in whose `read` takes whatever it is given."""

    def read(self, head: Head, *more: Any) -> Reader:
        assert [type(value) for value in more] == [Request]
        return super().read(head)


class Callable_:  # noqa: N801
    """Something that may be called, and is no function."""

    def __call__(self, head: Head, request: Request) -> Reader:
        assert isinstance(request, Request)
        return WordsReader(head)


class FromAnObject(Words):
    """A plug-in whose `read` is no function."""

    read = Callable_()  # type: ignore[assignment]


@pytest.mark.parametrize("provider", [TalkativeFirstVersion("a"), FromAnObject("a")])
async def test_a_reader_is_made_with_the_request_wherever_it_can_be_given(
    provider: Provider, autojump_clock: MockClock
) -> None:
    answer = await fanout.race("?", provider, transport=memory(a=said("x")))
    assert answer.text == "x"


class Recounting(Words):
    """Counts again and again, as some services do."""

    def read(self, head: Head, request: Request | None = None) -> Reader:
        return RecountingReader(head)


class RecountingReader(WordsReader):
    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        return [Usage(3, 1), Usage(3, 2), Usage(3, 4), End(Status.FAILED, error=error)]


async def test_the_last_count_is_that_of_a_lane_that_was_cut_off(autojump_clock: MockClock) -> None:
    seen = await fanout.ask("?", Race(Recounting("a"), Words("b")), transport=memory(a=[b"x", HANG], b=said("y")))
    assert seen.answers[0].usage == Usage(3, 4)
