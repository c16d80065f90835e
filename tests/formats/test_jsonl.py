import json
from typing import Any

import pytest

from fanout.events import (
    Conversation,
    Delta,
    End,
    Event,
    File,
    LoginNeeded,
    Reasoning,
    Refusal,
    Replace,
    Source,
    Sources,
    Started,
    Status,
    Tagged,
    Title,
    ToolCall,
    Usage,
)
from fanout.formats.json import Json
from fanout.formats.jsonl import JsonLines
from tests.formats.runs import LIMITED, RUN

CASES: list[tuple[Event, dict[str, Any]]] = [
    (Started(2), {"type": "started", "attempt": 2}),
    (Delta("x"), {"type": "delta", "text": "x"}),
    (Reasoning("x"), {"type": "reasoning", "text": "x"}),
    (Refusal("x"), {"type": "refusal", "text": "x"}),
    (ToolCall(0, "1", "f", "{"), {"type": "tool_call", "index": 0, "id": "1", "name": "f", "arguments": "{"}),
    (File("f", "image/png", None, b"x"), {"type": "file", "name": "f", "media_type": "image/png", "data": "eA=="}),
    (Sources([Source("u", "t")]), {"type": "sources", "items": [{"url": "u", "title": "t"}]}),
    (Title("x"), {"type": "title", "text": "x"}),
    (Replace("x"), {"type": "replace", "text": "x"}),
    (Conversation({"id": 1}), {"type": "conversation", "state": {"id": 1}}),
    (LoginNeeded("fanout login x"), {"type": "login_needed", "command": "fanout login x"}),
    (Usage(1, 2), {"type": "usage", "input": 1, "output": 2, "cached": None, "estimated": False}),
    (End(Status.FINISHED, "stop"), {"type": "end", "status": "finished", "finish_reason": "stop", "error": None}),
    (
        End(Status.FAILED, error=LIMITED),
        {
            "status": "failed",
            "error": {"kind": "rate_limit", "status": 429, "retry_after": 12, "message": "slow\x1b[31m\ndown"},
        },
    ),
]


@pytest.mark.parametrize(("event", "told"), CASES, ids=[type(event).__name__ for event, _ in CASES])
def test_an_event_is_a_line_with_its_own_fields(event: Event, told: dict[str, Any]) -> None:
    line = JsonLines().event(Tagged("a", 0.2130004, event))
    value = json.loads(line)
    assert line.isascii()
    assert line.count("\n") == 1
    assert list(value)[:3] == ["type", "lane", "at"]
    assert value.items() >= {"lane": "a", "at": 0.213, **told}.items()


def test_a_delta_reads_as_documented() -> None:
    line = JsonLines().event(Tagged("a", 0.213, Delta("…")))
    assert line == '{"type":"delta","lane":"a","at":0.213,"text":"\\u2026"}\n'


def test_the_run_comes_last() -> None:
    assert JsonLines().run(RUN) == Json().run(RUN)


def test_a_lane_whose_turn_never_came_is_not_called_cancelled() -> None:
    lines = JsonLines()
    events = [Tagged("a", 0.0, Started()), *(Tagged(lane, 0.1, End(Status.CANCELLED)) for lane in "ab")]
    assert [json.loads(lines.event(event)).get("status") for event in events] == [None, "cancelled", "not_started"]
