import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve

from fanout.abc import Head, Reader, Receiver, Request
from fanout.addresses.proxy import Proxy
from fanout.events import End, Event, File, Sources, Status, ToolCall
from fanout.providers.openai import OpenAI
from fanout.transports.httpx import HttpxTransport
from fanout.wire.sse import ServerSentEvent, ServerSentEvents
from tests.conformance import lanes, subjects
from tests.conformance.cases import FURTHER_FILE, PROJECT_FILE, REPORTED_FILE, Case, load
from tests.conformance.judge import judge
from tests.conformance.lanes import WIRES, Lane
from tests.conformance.own import SUBJECTS
from tests.conformance.runner import examine, run
from tests.conformance.sockets import Http1
from tests.conformance.subjects import Subject

CASES = load(PROJECT_FILE)
REPORTED = load(REPORTED_FILE)
ALL_CASES = CASES + load(FURTHER_FILE) + REPORTED


@pytest.mark.parametrize("case", [case for case in ALL_CASES if case.format in SUBJECTS], ids=lambda case: case.name)
def test_the_case_passes_in_every_cut(case: Case) -> None:
    failure = examine(case, SUBJECTS[case.format])
    assert failure is None, str(failure)


def test_every_case_has_a_name_of_its_own_and_a_format_that_is_run() -> None:
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES)
    assert {case.format for case in ALL_CASES} <= SUBJECTS.keys()


def test_every_wire_has_reported_cases_and_what_they_say_of_lanes_is_compared() -> None:
    assert {case.format for case in REPORTED} == {*WIRES, "http1"}
    assert not [case.name for case in REPORTED if "lane" in case.also and case.lane is None]


def failing(name: str, subject: Subject) -> set[str]:
    report = run((case for case in CASES if case.format == name), {name: subject})
    return {failure.case.name for failure in report.failures}


class Unsuspecting(OpenAI):
    """Takes a stream without its end mark for a success."""

    def read(self, head: Head, request: Request | None = None) -> Any:
        return _Silenced(super().read(head, request))


class _Silenced:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.complete = False
        self.feed = reader.feed

    def close(self) -> list[Event]:
        return [
            End(Status.FINISHED, "stop")
            if isinstance(event, End) and event.error and event.error.kind == "truncated"
            else event
            for event in self._reader.close()
        ]


def test_a_reader_that_is_silent_about_truncation_fails() -> None:
    expected = {c.name for c in CASES if c.format == "openai-chat" and c.expect.get("error") == "truncated"}
    assert failing("openai-chat", subjects.chat(Unsuspecting("m-1"))) == expected
    assert expected


class Phantom(ServerSentEvents):
    """Dispatches events without data."""

    def _whole_events(self, data: bytes) -> list[ServerSentEvent]:
        return []

    def _dispatch(self, messages: list[ServerSentEvent]) -> None:
        messages.append(self._message())
        self._data = []
        super()._dispatch(messages)


def test_a_framing_that_dispatches_events_without_data_fails() -> None:
    assert len(failing("sse", subjects.sse(Phantom))) >= 8


class Late(ServerSentEvents):
    """Is one chunk late with everything."""

    def __init__(self, *caps: int) -> None:
        super().__init__(*caps)
        self._late: list[ServerSentEvent] = []

    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        due, self._late = self._late, super().feed(data)
        return due

    def close(self) -> list[ServerSentEvent]:
        return self._late + super().close()


def test_a_framing_that_is_one_chunk_late_fails_where_time_counts() -> None:
    assert failing("sse", subjects.sse(Late)) == {case.name for case in CASES if case.format == "sse" and case.deadline}


class Cautious(ServerSentEvents):
    """Waits after a CR, to see whether LF follows."""

    def __init__(self, *caps: int) -> None:
        super().__init__(*caps)
        self._held = b""

    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        return super().feed(data.removesuffix(self._held))

    def close(self) -> list[ServerSentEvent]:
        return super().feed(self._held) + super().close()


def test_a_framing_that_waits_after_a_cr_fails_where_time_counts() -> None:
    assert failing("sse", subjects.sse(Cautious)) == {"sse-cr-cr-immediate"}


class Splitlines(ServerSentEvents):
    """Ends lines where str.splitlines does."""

    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        text = data.decode("utf-8", "surrogateescape")
        lines = "".join(
            line.rstrip("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029") + "\n" for line in text.splitlines(keepends=True)
        )
        ended = not text or text[-1] in "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"
        return super().feed((lines if ended else lines[:-1]).encode("utf-8", "surrogateescape"))


def test_a_framing_that_splits_lines_like_str_fails() -> None:
    assert "sse-c1-separators" in failing("sse", subjects.sse(Splitlines))


class Quadratic(ServerSentEvents):
    """Looks through all that it has at every chunk."""

    def __init__(self) -> None:
        super().__init__()
        self._all = b""

    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        self._all += data
        self._all.count(b"\n")
        return super().feed(data)


def test_a_framing_that_is_not_linear_fails() -> None:
    assert not subjects.is_linear(Quadratic, 1 << 19)


class Broken(ServerSentEvents):
    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        raise UnicodeDecodeError("utf-8", data, 0, 1, "oops")


def test_a_foreign_exception_fails() -> None:
    assert len(failing("sse", subjects.sse(Broken))) == sum(case.format == "sse" for case in CASES)


def chat_case(**expect: Any) -> Case:
    return Case("x", "openai-chat", expect, {})


GOOD: dict[str, Any] = {
    "text": "a",
    "finish": "stop",
    "error": None,
    "usage": {"input": 3, "output": None},
    "tool_calls": [],
}


@pytest.mark.parametrize(
    ("expect", "got"),
    [
        ({"text": "a", "finish": "stop", "usage": {"input": 3}, "tool_calls": []}, GOOD),
        ({"text_any": ["", "a"], "error_any": [None, "reset"]}, GOOD),
        ({"finish": None, "error": "reset"}, {**GOOD, "error": "reset"}),
        ({"finish_any": [None, "stop"]}, {**GOOD, "finish": None, "complete": True}),
        ({"usage": None}, {**GOOD, "usage": None}),
        (
            {"tool_calls": [{"id": None, "name": "f", "arguments": '{"a": 1}'}]},
            {**GOOD, "tool_calls": [{"id": "own", "name": "f", "arguments": '{"a":1}'}]},
        ),
    ],
)
def test_the_judge_accepts_what_is_right(expect: dict[str, Any], got: dict[str, Any]) -> None:
    assert judge(chat_case(**expect), got) == []


@pytest.mark.parametrize(
    ("expect", "got"),
    [
        ({"text": "b"}, GOOD),
        ({"text_any": ["b", "c"]}, GOOD),
        ({"finish": "length"}, GOOD),
        ({"usage": {"output": 2}}, GOOD),
        ({"usage": None}, GOOD),
        ({"usage": {"input": 3}}, {**GOOD, "usage": None}),
        ({"error": "reset"}, GOOD),
        ({}, {**GOOD, "error": "UnicodeDecodeError"}),
        ({}, {**GOOD, "text": "\ud83c"}),
        ({}, {**GOOD, "finish": None, "complete": True}),
        ({"finish_any": [None, "stop"]}, {**GOOD, "finish": None, "complete": False}),
        ({}, {**GOOD, "problems": ["2 Ends"]}),
        ({"tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]}, GOOD),
        (
            {"tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]},
            {**GOOD, "tool_calls": [{"id": "d", "name": "f", "arguments": "{}"}]},
        ),
        (
            {"tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]},
            {**GOOD, "tool_calls": [{"id": "c", "name": "f", "arguments": "{"}]},
        ),
        ({"retryable": False}, {**GOOD, "retryable": 0}),
    ],
)
def test_the_judge_sees_what_is_wrong(expect: dict[str, Any], got: dict[str, Any]) -> None:
    assert judge(chat_case(**expect), got) != []


FULL: dict[str, Any] = {
    **GOOD,
    "files": [{"media_type": "image/png", "bytes": 5, "url": None, "name": None}],
    "sources": [["https://a.example/", "A"], ["https://b.example/", None]],
    "tool_calls": [{"index": 1, "id": "c", "name": "sh", "arguments": "ls"}],
    "message": "too many of them",
    "notes": ["the word 'banana' is not known"],
    "lane": {
        "requests": 1,
        "status": "finished",
        "answered": True,
        "estimated": False,
        "usage": {"input": 3, "output": 20, "cached": None, "reasoning": None},
        "elapsed": 2.5,
    },
}


def case_with(also: dict[str, Any]) -> Case:
    return Case("x", "openai-chat", {}, {"also": also})


@pytest.mark.parametrize(
    "also",
    [
        {"files": [{"media_type": "image/png", "bytes": 5}]},
        {"sources": [["https://a.example/", "A"], ["https://b.example/", None]]},
        {"tool_calls_raw": [{"id": "c", "name": "sh", "arguments": "ls"}]},
        {"tool_calls_raw": [{"id": None, "index": 1}]},
        {"message_has": ["too many", "them"], "message_lacks": ["{"]},
        {"notes": ["banana"]},
        {"lane": "asked once, in words for the reader"},
        {"lane": {"requests": 1, "status": "finished", "answered": True, "estimated": False}},
        {"lane": {"usage": {"output": 20}, "output_at_least": 20, "elapsed_at_most": 2.5}},
    ],
)
def test_the_judge_accepts_what_is_right_beside_the_answer(also: dict[str, Any]) -> None:
    assert judge(case_with(also), FULL) == []


@pytest.mark.parametrize(
    "also",
    [
        {"files": []},
        {"files": [{"media_type": "image/jpeg"}]},
        {"files": [{"bytes": 4}]},
        {"files": [{"size": 5}]},
        {"sources": []},
        {"sources": [["https://a.example/", "A"]]},
        {"sources": [["https://b.example/", None], ["https://a.example/", "A"]]},
        {"tool_calls_raw": []},
        {"tool_calls_raw": [{"id": "d"}]},
        {"tool_calls_raw": [{"arguments": "ls "}]},
        {"tool_calls_raw": [{"index": 0}]},
        {"message_has": ["too many", "of us"]},
        {"message_lacks": ["{", "many"]},
        {"notes": []},
        {"notes": ["banana", "apple"]},
        {"lane": {"requests": 2}},
        {"lane": {"status": "failed"}},
        {"lane": {"answered": False}},
        {"lane": {"estimated": True}},
        {"lane": {"usage": {"output": 19}}},
        {"lane": {"output_at_least": 21}},
        {"lane": {"elapsed_at_most": 2.4}},
        {"lane": {"reqests": 1}},
        {"file": []},
    ],
)
def test_the_judge_sees_what_is_wrong_beside_the_answer(also: dict[str, Any]) -> None:
    assert judge(case_with(also), FULL) != []


def test_what_is_missing_beside_the_answer_is_seen() -> None:
    for key, want in {"files": [{}], "sources": [["x", None]], "message_has": ["x"], "notes": ["x"]}.items():
        assert judge(case_with({key: want}), GOOD) != []


def test_a_key_that_nobody_knows_is_a_failure() -> None:
    assert judge(chat_case(texts="a"), GOOD) == ["expect: no such key: texts"]
    assert judge(chat_case(texts_any=["a"]), GOOD) == ["expect: no such key: texts_any"]
    with pytest.raises(AssertionError, match="no such field: expects"):
        Case.of(b'{"name": "x", "format": "sse", "expect": {}, "expects": {}}')


def reported(*names: str) -> list[Case]:
    found = [case for case in REPORTED if case.name in names]
    assert len(found) == len(names)
    return found


def test_the_outcome_of_a_lane_that_no_subject_runs_is_a_failure() -> None:
    (case,) = reported("file-chat-with-text")
    failure = examine(case, subjects.chat(OpenAI("m-1")))
    assert failure is not None
    assert "no lane is run" in str(failure)


class Dropping:
    """A reader that gives everything but the events of one kind."""

    def __init__(self, reader: Reader, kind: type) -> None:
        self._reader = reader
        self._kind = kind

    @property
    def complete(self) -> bool:
        return self._reader.complete

    def feed(self, data: bytes, /) -> list[Event]:
        return [event for event in self._reader.feed(data) if not isinstance(event, self._kind)]

    def close(self, *error: Any) -> list[Event]:
        return [event for event in self._reader.close(*error) if not isinstance(event, self._kind)]


@pytest.mark.parametrize(("kind", "key"), [(File, "files"), (Sources, "sources"), (ToolCall, "tool_calls_raw")])
def test_a_reader_that_drops_what_comes_beside_the_text_fails(kind: type, key: str) -> None:
    class Forgetful(OpenAI):
        def read(self, head: Head, request: Request | None = None) -> Any:
            return Dropping(super().read(head, request), kind)

    wanting = {case.name for case in REPORTED if case.format == "openai-chat" and case.also.get(key)}
    report = run((c for c in REPORTED if c.name in wanting), {"openai-chat": subjects.chat(Forgetful("m-1"))})
    assert {failure.case.name for failure in report.failures} >= wanting
    assert len(wanting) > 1


class Insisting(OpenAI):
    """Calls every failure one that may pass."""

    def read(self, head: Head, request: Request | None = None) -> Any:
        return _Insisting(super().read(head, request))


class _Insisting(Dropping):
    def __init__(self, reader: Reader) -> None:
        super().__init__(reader, int)

    def close(self, *error: Any) -> list[Event]:
        events = super().close(*error)
        for event in events:
            if isinstance(event, End) and event.error:
                event.error.retryable = True
        return events


def test_a_lane_that_asks_twice_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lanes.WIRES, "openai-chat", lambda url: Insisting("m-1", base_url=url, needs_key=False))
    cases = reported("quota-deepseek", "413-empty")
    failures = run(cases, {"http1": Lane()}).failures
    assert len(failures) == len(cases)
    assert "got {'requests': 2" in str(failures[0])


def test_a_lane_that_does_not_wait_after_a_finish_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanout.engine.clocks.LINGER", 1.0)
    assert {failure.case.name for failure in run(reported("fin-chat-slow-each"), SUBJECTS).failures}


def test_a_lane_that_waits_too_long_after_a_finish_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanout.engine.clocks.LINGER", 3.0)
    assert {failure.case.name for failure in run(reported("fin-chat-hold-after-finish"), SUBJECTS).failures}


def test_a_case_of_raw_http_is_read_by_the_wire_that_it_names() -> None:
    (case,) = reported("2xx-201-gem")
    other = Case(case.name, case.format, case.expect, {k: v for k, v in case.fields.items() if k != "wire"})
    assert examine(case, SUBJECTS["http1"]) is None
    assert examine(other, SUBJECTS["http1"]) is not None


def test_a_case_without_its_decoder_is_judged_by_what_holds_then() -> None:
    case = Case("x", "http1", {"text": "a"}, {"needs": "br", "expect_without": {"text": "", "error_any": ["protocol"]}})
    assert judge(case, {**GOOD, "text": "", "error": "protocol"}, lacks=True) == []
    assert judge(case, GOOD, lacks=False) == []


def test_publishing_the_tail_is_tolerated_where_the_case_says_so() -> None:
    event, tail = ({"event": "message", "data": data, "id": ""} for data in ("a", "[DONE]"))
    case = Case("x", "sse", {"events": [event]}, {"tolerate_tail": True})
    assert judge(case, {"events": [event]}) == judge(case, {"events": [event, tail]}) == []
    assert judge(case, {"events": [tail, event]}) != []
    assert judge(Case("x", "sse", {"events": [event]}, {}), {"events": [event, tail]}) != []


def test_a_format_without_a_subject_is_not_run_and_never_passed() -> None:
    report = run(CASES, {})
    assert report.passed.total() == 0
    assert report.not_run.total() == len(CASES)


def test_the_command_prints_a_table_and_its_status_tells(tmp_path: Path) -> None:
    right = {"name": "right", "format": "sse", "chunks": ["ZGF0YTogYQoK"], "expect": {"event_lens": [1]}}
    wrong = {**right, "name": "wrong", "expect": {"event_lens": [2]}}
    other = {**right, "name": "other", "format": "no-such-format"}
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, (right, other))))
    assert command(path).returncode == 0
    path.write_bytes(b"\n".join(map(orjson.dumps, (right, wrong, other))))
    failed = command(path)
    assert failed.returncode == 1
    assert failed.stdout.splitlines() == [
        "wrong [as given] event_lens: expected [2], got [1]",
        "format              passed  failed  not run",
        "no-such-format           0       0        1",
        "sse                      1       1        0",
        "all                      1       1        1",
    ]


def command(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )


class Following(HttpxTransport):
    """Follows redirects, as the libraries do unless told otherwise."""

    def _make_client(self, secure: bool, proxy: Proxy | None) -> Any:
        client = super()._make_client(secure, proxy)
        client.follow_redirects = True
        return client


def test_a_transport_that_follows_redirects_fails() -> None:
    cases = [case for case in CASES if case.name == "http-redirect-cross-host"]
    (failure,) = run(cases, {"http1": Http1(Following)}).failures
    assert "a request reached /steal" in str(failure)


class Cheerful(HttpxTransport):
    """Says 200 whatever the service said."""

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        await super().exchange(request, _Blind(receiver), connect)


class _Blind:
    def __init__(self, receiver: Receiver) -> None:
        self.data = receiver.data
        self._receiver = receiver

    def head(self, head: Head) -> None:
        self._receiver.head(evolve(head, status=200))


def test_a_transport_that_hides_the_status_fails() -> None:
    cases = [case for case in CASES if case.name.startswith("http-status-4")]
    assert len(run(cases, {"http1": Http1(Cheerful)}).failures) == len(cases)
