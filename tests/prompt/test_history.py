"""Conversations, kept as JSON and put before a later prompt."""

import json
from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.prompt.history import History, Turns

ASKED = (Message("system", "be brief"), Message("user", "hi"))
OPAQUE = {
    "wire": "anthropic",
    "service": "https://a.example",
    "model": None,
    "parts": [
        {"text": 0, "reasoning": 2, "calls": 0, "data": {"signature": "Ü/+==", "n": [1, None, {"x": True}]}},
        {"call": "c1", "data": {"signature": ""}},
    ],
}
TURNS = Turns.after(ASKED, "hello", (), {"chat": "12"})


def again(history: History) -> History:
    return History.from_json(json.loads(json.dumps(history.to_json())))


def test_a_prompt_goes_on_after_all_that_was_said() -> None:
    prompt = TURNS.before(Prompt.of("and now?"))
    assert [(message.role, message.text) for message in prompt.messages] == [
        ("system", "be brief"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "and now?"),
    ]
    assert prompt.state == {"chat": "12"}


def test_the_options_of_the_prompt_stay() -> None:
    prompt = Prompt.of("?").with_options(Options(seed=3))
    assert TURNS.before(prompt).options == Options(seed=3)


def test_a_new_system_text_replaces_the_old_one_and_ends_what_the_service_keeps() -> None:
    prompt = TURNS.before(Prompt.of("and now?", "be long"))
    assert [message.text for message in prompt.messages] == ["be long", "hi", "hello", "and now?"]
    assert prompt.state is None


def test_the_same_system_text_once_more_is_no_new_one() -> None:
    prompt = TURNS.before(Prompt.of("and now?", "be brief"))
    assert [message.text for message in prompt.messages] == ["be brief", "hi", "hello", "and now?"]
    assert prompt.state == {"chat": "12"}


def test_a_lane_without_its_own_conversation_goes_on_from_the_usual_one() -> None:
    usual = Turns(TURNS.messages)
    history = History({"a": TURNS}, usual)
    assert history.turns("a") is TURNS
    assert history.turns("new") is usual
    assert History({"a": TURNS}).turns("new") is None


@pytest.mark.parametrize(
    "message",
    [
        Message("user", "Grüße 🐳 \ud83d\n"),
        Message("user", "", (Media(b"\x89PNG", media_type="image/png"),)),
        Message("user", "look", (Media(b"\x89PNG", media_type="image/png", name="a.png"),)),
        Message("user", "look", (Media(url="https://example.org/a.png"),)),
        Message("user", "look", (Media(url="https://example.org/a", media_type="image/png", name="a.png"),)),
        Message("user", "hear", (Media(b"RIFF", media_type="audio/wav"), Media(b"%PDF", media_type="application/pdf"))),
        Message("user", "odd", (Media(b"?"), Media(b"", name="empty.bin"), Media(b"t", media_type="text/plain;x=y"))),
        Message("assistant", "", tool_uses=(ToolUse("c1", "add", '{"a":1}'), ToolUse("c2", "add", ""))),
        Message("tool", "2", tool_call_id="c1", name="add"),
        Message("developer", "be brief", name="d"),
        Message("assistant", "", tool_uses=(ToolUse("c1", "add", "{}"),), reasoning="hm"),
        Message("assistant", "signed", reasoning="hm", opaque=OPAQUE),
    ],
    ids=lambda message: f"{message.role} {message.text[:5]}",
)
def test_every_message_comes_back_from_json_as_it_was(message: Message) -> None:
    history = History({"a": Turns((message,), {"n": [1, None, {"x": True}]})}, Turns((message,)))
    assert again(history) == history


def test_the_reasoning_of_a_turn_with_tool_calls_is_kept() -> None:
    use = ToolUse("c1", "add", "{}")
    called = Turns.after(ASKED, "", (use,), None, "let me see")
    assert called.messages[-1] == Message("assistant", "", tool_uses=(use,), reasoning="let me see")
    result = (*called.messages, Message("tool", "2", tool_call_id="c1"))
    assert Turns.after(result, "It is 2.", (), None, "so it is").messages[-1].reasoning == "so it is"
    assert Turns.after(ASKED, "hello", (), None, "hm").messages[-1].reasoning == ""
    assert again(History({"a": called})) == History({"a": called})


def test_a_history_of_nothing_is_one_too() -> None:
    assert again(History({})) == History({})


def test_what_a_service_keeps_is_not_shown() -> None:
    assert "12" not in repr(History({"a": TURNS}))


GOOD = History({"a": TURNS}, Turns(TURNS.messages)).to_json()


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        "text",
        [],
        {},
        {**GOOD, "version": 2},
        {**GOOD, "version": None},
        {**GOOD, "lanes": []},
        {**GOOD, "lanes": None},
        {**GOOD, "lanes": {"a": None}},
        {**GOOD, "lanes": {"a": {"messages": []}}},
        {**GOOD, "lanes": {"a": {"messages": None, "state": None}}},
        {**GOOD, "lanes": {"a": {"messages": "hi", "state": None}}},
        {**GOOD, "lanes": {"a": {"messages": ["hi"], "state": None}}},
        *(
            {**GOOD, "lanes": {"a": {"messages": [message], "state": None}}}
            for message in (
                {"role": "nobody", "text": ""},
                {"role": ["user"], "text": ""},
                {"role": "user"},
                {"role": "user", "text": 5},
                {"role": "user", "text": "", "name": 5},
                {"role": "assistant", "text": "", "reasoning": 5},
                {"role": "user", "text": "", "media": 5},
                {"role": "user", "text": "", "media": [{"url": "x"}]},
                {"role": "user", "text": "", "media": [{"data": "-"}]},
                {"role": "user", "text": "", "media": [{"data": None, "more": 1}]},
                {"role": "assistant", "text": "", "tool_uses": [{"id": "x"}]},
            )
        ),
        {**GOOD, "lanes": {"a": {"messages": [], "state": "text"}}},
        {**GOOD, "usual": 5},
        {"version": 1, "lanes": {}},
    ],
    ids=lambda data: json.dumps(data)[-60:],
)
def test_anything_else_is_no_saved_conversation(data: Any) -> None:
    with pytest.raises(UsageError):
        History.from_json(data)


def test_a_newer_form_is_named() -> None:
    with pytest.raises(UsageError, match="version 2; this fanout reads 1"):
        History.from_json({**GOOD, "version": 2})


def test_what_is_opaque_is_kept_with_the_reasoning_that_belongs_to_it() -> None:
    kept = Turns.after(ASKED, "hello", (), None, "hm", OPAQUE).messages[-1]
    assert (kept.reasoning, kept.opaque) == ("hm", OPAQUE)
    mark = {**OPAQUE, "parts": []}
    for uses, expected in (((), ("", None)), ((ToolUse("c1", "add", "{}"),), ("hm", mark))):
        last = Turns.after(ASKED, "hello", uses, None, "hm", mark).messages[-1]
        assert (last.reasoning, last.opaque) == expected


@pytest.mark.parametrize("odd", [5, "x", [], {}, {**OPAQUE, "parts": [5]}])
def test_a_history_with_something_else_for_what_is_opaque_is_refused(odd: Any) -> None:
    data = History({"a": Turns((Message("assistant", "hi"),))}).to_json()
    data["lanes"]["a"]["messages"][0]["opaque"] = odd
    with pytest.raises(UsageError, match="opaque is what an answer had there"):
        History.from_json(data)
