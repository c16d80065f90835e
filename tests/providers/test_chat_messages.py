import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.prompt import Message, ToolUse
from fanout.providers.chat_messages import MessageForm


def called(*ids: str, text: str = "", reasoning: str = "") -> Message:
    return Message("assistant", text, tool_uses=tuple(ToolUse(one, "f", "{}") for one in ids), reasoning=reasoning)


def result(of: str) -> Message:
    return Message("tool", "x", tool_call_id=of)


def ids_of(messages: list[Message]) -> list[str]:
    """The ids in the written messages, in their order."""
    written = MessageForm(short_ids=True).write(messages)
    return [
        call_id
        for message in written
        for call_id in [*(call["id"] for call in message.get("tool_calls", ())), message.get("tool_call_id")]
        if call_id
    ]


def test_short_ids_are_the_same_in_calls_and_results_and_every_time() -> None:
    messages = [called("toolu_01", "call_2"), result("toolu_01"), result("call_2"), called("call_2")]
    first, second, *rest = ids_of(messages)
    assert rest == [first, second, second]
    assert first != second
    assert ids_of(messages) == [first, second, first, second, second]
    assert ids_of(messages[:2])[0] == first  # what is sent again is the same, so that it is found in a cache


def test_an_id_that_is_short_stays_and_is_nobody_elses() -> None:
    [made] = ids_of([called("toolu_01")])
    assert ids_of([called(made)]) == [made]
    ids = ids_of([called("toolu_01", made), called("toolu_02")])
    assert ids[1] == made
    assert len(set(ids)) == 3


def test_an_id_of_nine_other_characters_is_not_short() -> None:
    for call_id in ("call_0001", "äöüäöüäöü", "", "123456789a", "١٢٣٤٥٦٧٨٩"):
        assert re.fullmatch("[0-9A-Za-z]{9}", ids_of([called(call_id), result("abcdefgh9")])[0])
        assert ids_of([called(call_id)]) != [call_id]


@given(st.lists(st.text(max_size=12), unique=True, max_size=8))
def test_no_two_calls_get_the_same_id(ids: list[str]) -> None:
    made = ids_of([called(*ids)])
    assert len(set(made)) == len(ids)
    assert all(re.fullmatch("[0-9A-Za-z]{9}", call_id) for call_id in made)


TURNS = [
    Message("system", "Be brief."),
    Message("user", "1"),
    Message("assistant", "one", reasoning="r1"),
    Message("user", "2"),
    called("c", reasoning="r2"),
    result("c"),
    called("d"),
    result("d"),
    Message("assistant", "two", reasoning="r3"),
    Message("user", "3"),
    Message("assistant", "three", reasoning="r4"),
]


def test_only_who_demands_it_gets_reasoning_back() -> None:
    sent = {
        form: [message.get("reasoning_content") for message in MessageForm(reasoning=form).write(TURNS)]
        for form in ("none", "tool turns", "all")
    }
    assert sent["none"] == [None] * len(TURNS)
    assert sent["tool turns"] == [None, None, None, None, "r2", None, None, None, "r3", None, None]
    assert sent["all"] == [None, None, "r1", None, "r2", None, "", None, "r3", None, "r4"]


@pytest.mark.parametrize(("nulls", "content"), [(True, None), (False, "")])
def test_a_message_of_calls_alone_always_has_its_content(nulls: bool, content: str | None) -> None:
    form = MessageForm(nulls=nulls)
    [alone, both, empty] = form.write([called("c"), called("c", text="a"), Message("assistant", "")])
    assert alone["content"] == content
    assert (both["content"], empty["content"]) == ("a", "")


def test_a_call_without_arguments_is_sent_with_none() -> None:
    [message] = MessageForm().write([Message("assistant", "", tool_uses=(ToolUse("c", "f", ""),))])
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_roles_and_names_are_those_that_the_service_knows() -> None:
    messages = [Message("developer", "d", name="x"), Message("user", "u", name="y"), Message("tool", "t", name="f")]
    assert [m["role"] for m in MessageForm(developer=False).write(messages)] == ["system", "user", "tool"]
    assert [m.get("name") for m in MessageForm().write(messages)] == ["x", "y", "f"]
    assert [m.get("name") for m in MessageForm(names=False).write(messages)] == [None, None, "f"]
