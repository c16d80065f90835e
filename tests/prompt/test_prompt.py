from pathlib import Path
from typing import Any

import pytest

from fanout.errors import UsageError
from fanout.prompt import Media, Message, Options, Prompt, ToolUse


def test_a_string_is_one_user_message() -> None:
    assert Prompt.of("hi").messages == (Message("user", "hi"),)


def test_a_system_text_goes_first() -> None:
    assert Prompt.of("hi", system="be brief").messages == (Message("system", "be brief"), Message("user", "hi"))


def test_openai_messages_become_messages() -> None:
    prompt = Prompt.of(
        [
            {"role": "user", "content": [{"type": "text", "text": "what is "}, {"type": "text", "text": "this?"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
        ]
    )
    assert prompt.messages == (
        Message("user", "what is this?"),
        Message("user", "", media=(Media(b"\0", media_type="image/png"),)),
        Message("assistant", "", tool_uses=(ToolUse("c1", "add", "{}"),)),
        Message("tool", "3", tool_call_id="c1"),
    )


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_content": "a"}, "a"),
        ({"reasoning": "a"}, "a"),
        ({"reasoning_content": "a", "reasoning": "b"}, "a"),
        ({"reasoning_content": "", "reasoning": "b"}, "b"),
        ({"reasoning_content": None, "reasoning": {"effort": "low"}}, ""),
        ({}, ""),
    ],
)
def test_the_reasoning_of_a_message_has_two_names(fields: dict[str, object], reasoning: str) -> None:
    assert Message.of({"role": "assistant", "content": "x", **fields}) == Message("assistant", "x", reasoning=reasoning)


def test_pictures_files_and_sound_come_from_addresses_bytes_and_paths(tmp_path: Path) -> None:
    (tmp_path / "page.pdf").write_bytes(b"%PDF")
    assert Media.from_file(tmp_path / "page.pdf") == Media(b"%PDF", media_type="application/pdf", name="page.pdf")
    message = Message.of(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            ],
        }
    )
    assert message.media == (
        Media(url="https://x/y.png"),
        Media(b"hi", media_type="text/plain", name="a.txt"),
        Media(b"hi", media_type="audio/wav"),
    )


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"cannot read nowhere\.png: No such file"):
        Media.from_file("nowhere.png")


def test_a_prompt_is_taken_as_it_is() -> None:
    prompt = Prompt.of("hi")
    assert Prompt.of(prompt) is prompt


@pytest.mark.parametrize("empty", ["", "  \n", []])
def test_an_empty_prompt_is_refused(empty: str | list[Message]) -> None:
    with pytest.raises(UsageError, match="empty"):
        Prompt.of(empty)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "'robot'"),
        ({"role": "user", "content": [{"type": "video"}]}, "video"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x,%41"}}]}, "base64"),
        ({"role": "assistant", "tool_calls": [{"id": 1}]}, "tool call"),
    ],
)
def test_what_is_no_message_is_refused_and_named(message: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Prompt.of([message])


def test_a_lanes_options_go_over_the_prompts() -> None:
    base = Options(temperature=0.5, max_tokens=10, body={"top_k": 1, "min_p": 2})
    lane = Options(temperature=0.0, stop=("x",), body={"top_k": 9})
    prompt = Prompt((Message("user", "hi"),), base).with_options(lane)
    assert prompt.options == Options(temperature=0.0, max_tokens=10, stop=("x",), body={"top_k": 9, "min_p": 2})


def test_bytes_stay_out_of_the_repr() -> None:
    assert "secret" not in repr(Media(data=b"secret picture"))


OPAQUE = {"wire": "w", "service": "s", "model": "m", "parts": [{"text": 0, "reasoning": 0, "calls": 0, "data": {}}]}


def test_a_message_dict_may_have_what_is_opaque() -> None:
    [message] = Prompt.of([{"role": "assistant", "content": "Hi", "opaque": OPAQUE}]).messages
    assert message == Message("assistant", "Hi", opaque=OPAQUE)
    assert hash(message) == hash(Message("assistant", "Hi"))


@pytest.mark.parametrize(
    "odd",
    [
        *(5, "x", [], {}, {**OPAQUE, "model": 5}, {**OPAQUE, "parts": None}),
        {**OPAQUE, "parts": [{"data": {}}]},
        {**OPAQUE, "parts": [{"call": 5, "data": {}}]},
        {**OPAQUE, "parts": [{"call": "c"}]},
        {**OPAQUE, "parts": [{"text": -1, "reasoning": 0, "calls": 0, "data": {}}]},
    ],
)
def test_something_else_for_what_is_opaque_is_refused(odd: Any) -> None:
    with pytest.raises(UsageError, match=r"opaque is what .* \(wire, service, model and parts\), unchanged; got "):
        Message("assistant", "Hi", opaque=odd)
    with pytest.raises(UsageError, match="opaque is what"):
        Prompt.of([{"role": "assistant", "content": "Hi", "opaque": odd}])
