import json

from attrs import evolve

from fanout.answers import Answer
from fanout.events import Conversation, File, Reasoning, Source, Status, Tagged
from fanout.formats import Output
from fanout.formats.columns import Columns
from fanout.formats.headed import Headed
from fanout.formats.json import Json
from fanout.formats.jsonl import JsonLines
from fanout.formats.markdown import Markdown
from fanout.formats.plain import Plain
from fanout.formats.text import Raw, Text
from fanout.prompt import ToolUse
from tests.formats.runs import NOBODY, RUN, WON
from tests.formats.test_columns import drawn


def test_a_run_is_one_object_on_one_line() -> None:
    line = Json().run(RUN)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    run = json.loads(line)
    judged = ["overhead", "votes", "verdicts", "analysis"]
    assert list(run) == ["type", "winner", "kept", "elapsed", "wasted", *judged, "answers"]
    assert run["type"] == "run"
    assert run["winner"] == "a"
    assert run["wasted"] == {"chunks": 1, "tokens": 2, "cost": None, "input": 0, "at_least": True}
    assert [answer["lane"] for answer in run["answers"]] == ["a", "b", "c", "d"]


def test_an_answer_has_all_its_fields() -> None:
    assert json.loads(Json().run(RUN))["answers"][0] == {
        "lane": "a",
        "provider": "p",
        "model": "m",
        "status": "finished",
        "text": "Blue.\nVery.",
        "reasoning": "",
        "refusal": "",
        "tool_calls": [],
        "files": [],
        "sources": [],
        "title": None,
        "usage": {"input": 3, "output": 11, "cached": None, "reasoning": None, "estimated": False},
        "finish_reason": "stop",
        "notes": [],
        "error": None,
        "reason": None,
        "ttft": 0.25,
        "ttfo": 0.25,
        "itl": 0.1,
        "elapsed": 1.25,
        "conversation": None,
        "cost": None,
        "request_id": None,
        "chunks": 5,
        "tokens": 11,
        "repeated": 0,
        "opaque": None,
        "value": None,
    }


def test_what_hangs_on_an_answer_is_told() -> None:
    answer = Answer(
        lane="a",
        status=Status.FINISHED,
        tool_calls=(ToolUse("1", "look", "{}"),),
        files=(File(name="f", data=b"\x00\xff"),),
        sources=(Source("https://example.com"),),
        conversation=Conversation({"id": 7}),
    )
    told = json.loads(Json().run(evolve(RUN, answers=(answer,))))["answers"][0]
    assert told["tool_calls"] == [{"id": "1", "name": "look", "arguments": "{}"}]
    assert told["files"] == [{"name": "f", "media_type": None, "url": None, "data": "AP8="}]
    assert told["sources"] == [{"url": "https://example.com", "title": None}]
    assert told["conversation"] == {"id": 7}


def test_an_error_has_its_kind_status_and_message() -> None:
    run = json.loads(Json().run(NOBODY))
    assert run["winner"] is None
    assert run["answers"][0]["error"] == {
        "kind": "auth",
        "status": 401,
        "retry_after": None,
        "message": "no key: set C_KEY",
    }


def test_the_line_is_ascii_whatever_the_text_is() -> None:
    line = Json().run(evolve(RUN, answers=(evolve(WON, text="\x1b[31m\x7f\x9b你\ud83d\u2028"),)))
    assert line.isascii()
    assert line.strip().isprintable()
    assert json.loads(line)["answers"][0]["text"] == "\x1b[31m\x7f\x9b你\ud83d\u2028"


def test_notes_are_a_list() -> None:
    answer = evolve(WON, notes=("of a kind that is not known",))
    run = json.loads(Json().run(evolve(RUN, answers=(answer,), winner=answer)))
    assert run["answers"][0]["notes"] == ["of a kind that is not known"]


def test_every_end_is_explained() -> None:
    thought = Answer("a", status=Status.FINISHED, reasoning="Hm", finish_reason="length")
    run = json.loads(Json().run(evolve(RUN, answers=(thought, *NOBODY.answers))))
    assert [answer["reason"] for answer in run["answers"]] == [
        "its answer was empty: max_tokens went into reasoning",
        "auth (401): no key: set C_KEY",
        "timeout: no content within 1 s",
    ]


def test_a_lane_whose_turn_never_came_is_not_called_cancelled() -> None:
    answers = (Answer("a", status=Status.CANCELLED), Answer("b", status=Status.CANCELLED, elapsed=1.0))
    run = json.loads(Json().run(evolve(RUN, answers=answers)))
    assert [answer["status"] for answer in run["answers"]] == ["not_started", "cancelled"]


SECRET = "c2lnbmVk"
OPAQUE = {"wire": "w", "service": "https://a.example", "model": "m", "parts": [{"call": "c", "data": {"s": SECRET}}]}


def test_what_is_opaque_is_in_json_and_in_nothing_that_people_read() -> None:
    event = Tagged("a", 0.1, Reasoning("", {**OPAQUE, "data": {"s": SECRET}}))
    won = evolve(WON, opaque=OPAQUE)
    run = evolve(RUN, answers=(won, *RUN.answers[1:]), winner=won, kept=(won,))
    assert json.loads(Json().run(run))["answers"][0]["opaque"] == OPAQUE
    assert json.loads(JsonLines().event(event))["opaque"]["data"] == {"s": SECRET}
    columns = Columns(["a"])
    columns.event(event)
    shown = drawn(columns, 80, 24)
    outputs: list[Output] = [Text("winner"), Headed(80, "all"), Raw(), Plain("all"), Markdown("?")]
    for output in outputs:
        shown += [output.event(event), output.answer(won), output.run(run)]
    assert SECRET not in "".join(map(str, shown))
    assert SECRET not in repr(event) + repr(won) + repr(won.message) + repr(run)
