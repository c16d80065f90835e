import json
from typing import Any

import pytest

import fanout
from fanout.abc import Head, Reply
from fanout.answers import Answer
from fanout.errors import InvalidRequest
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.openai import OpenAI
from tests.providers.wires.chat import body, provider, request
from tests.servers.openai import open_server


def test_organization_and_project_are_headers() -> None:
    headers = request("Hi", organization="org-1", project="proj-1").plain_headers()
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


def test_the_models_may_come_as_a_bare_list() -> None:
    assert provider().models(Reply(Head(200), b'[{"id":"c"}]')) == ["c"]


def test_the_options_have_their_names_of_this_protocol() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    options = Options(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=0,
        reasoning="low",
        tools=(tool,),
        tool_choice="auto",
        schema={"type": "object"},
    )
    made = body("Hi", options)
    assert {name: made[name] for name in made if name not in ("model", "messages", "stream", "stream_options")} == {
        "max_completion_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 0,
        "reasoning_effort": "low",
        "tools": [tool],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
    }


def test_most_hosts_have_another_name_for_max_tokens() -> None:
    made = body("Hi", Options(max_tokens=5), max_tokens="max_tokens")
    assert made["max_tokens"] == 5
    assert "max_completion_tokens" not in made


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "stream_options": None, "n": 2}))
    assert (made["temperature"], made["stream_options"], made["n"]) == (0.3, None, 2)


def test_every_role_has_its_form() -> None:
    use = ToolUse("call_1", "add", '{"a":1}')
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("developer", "d"),
            Message("user", "u", name="Ann"),
            Message("assistant", "", tool_uses=(use,)),
            Message("tool", "2", tool_call_id="call_1"),
            Message("assistant", ""),
        )
    )
    function = {"name": "add", "arguments": '{"a":1}'}
    assert body(prompt)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "Ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
        {"role": "assistant", "content": ""},
    ]


def test_pictures_are_parts_of_the_message() -> None:
    media = (Media(url="https://example.com/a.png"), Media(data=b"\x89PNG", media_type="image/png"), Media(data=b"x"))
    assert body(Prompt((Message("user", "Look", media=media),)))["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
    ]


def test_a_picture_may_come_without_words() -> None:
    content = body(Prompt((Message("user", "", media=(Media(url="https://x/y"),)),)))["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url"]


def test_sounds_and_files_go_as_bytes_in_their_own_parts() -> None:
    media = (
        Media(data=b"x", media_type="audio/mpeg"),
        Media(data=b"x", media_type="application/pdf", name="page.pdf"),
    )
    content = body(Prompt((Message("user", "Look", media=media),)))["messages"][0]["content"]
    assert content[1:] == [
        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "page.pdf", "file_data": "data:application/pdf;base64,eA=="}},
    ]


def test_a_prompt_with_half_a_surrogate_pair_can_be_sent() -> None:
    assert json.loads(request("a\ud83c").body)["messages"][0]["content"] == "a\ud83c"


def test_without_streaming_nothing_is_asked_that_only_a_stream_has() -> None:
    made = request("Hi", stream=False, timings=True)
    assert made.headers["accept"] == "application/json"
    asked = json.loads(made.body)
    assert asked["stream"] is False
    assert not asked.keys() & {"stream_options", "timings_per_token"}


@pytest.mark.parametrize(
    ("said", "form"),
    [
        ("Unrecognized request argument supplied: stream_options", provider(stream_usage=False)),
        ("Unrecognized request argument supplied: max_completion_tokens", provider(max_tokens="max_tokens")),
        ("Your organization must be verified to stream this model.", provider(stream=False)),
        ("max_completion_tokens: 99999 is more than this model supports", None),
        ("nothing that we know", None),
    ],
)
def test_a_refusal_leads_to_another_form(said: str, form: OpenAI | None) -> None:
    assert provider().adapted(InvalidRequest(said)) == form


@pytest.mark.parametrize(
    "said", ["unknown field stream_options", "must be verified to stream", "Tool call id must have a length of 9"]
)
def test_a_form_that_is_refused_has_no_other_for_the_same_words(said: str) -> None:
    error = InvalidRequest(said)
    form = provider().adapted(error)
    assert form is not None and form.adapted(error) is None


ASKED = Prompt(
    (
        Message("user", "?"),
        Message("assistant", "", tool_uses=(ToolUse("call_1", "f", "{}"),), reasoning="Let me see."),
        Message("tool", "x", tool_call_id="call_1"),
    ),
    Options(max_tokens=9),
)


async def asked(**script: Any) -> tuple[Answer, list[dict[str, Any]]]:
    """The answer of a scripted server to ASKED, and the bodies that it was sent."""
    async with open_server() as server:
        run = await fanout.ask(ASKED, [server.lane("a", **script)], retries=0)
        return run.answers[0], [json.loads(served.request.body) for served in server.served]


async def test_an_account_that_may_not_stream_gets_its_answer_whole() -> None:
    answer, bodies = await asked(whole=True)
    assert (answer.text, answer.finish_reason, answer.tokens) == ("w0 w1 w2 ", "stop", 3)
    assert [body["stream"] for body in bodies] == [True, False]
    assert "stream_options" not in bodies[-1]


@pytest.mark.parametrize(
    ("knows", "names"),
    [
        ("stream_options,max_tokens", ["max_tokens"]),
        ("stream_options,max_completion_tokens", ["max_tokens", "max_completion_tokens"]),
        ("stream_options", ["max_tokens", "max_completion_tokens"]),
    ],
)
async def test_a_server_of_ones_own_is_asked_by_each_name_of_max_tokens_at_most_once(
    knows: str, names: list[str]
) -> None:
    answer, bodies = await asked(knows=knows)
    assert [next(name for name in body if name.startswith("max_")) for body in bodies] == names
    assert (answer.text == "w0 w1 w2 ") is ("max" in knows)


async def test_reasoning_goes_back_to_a_service_that_demands_it_and_to_no_other() -> None:
    for script, sent in (({"thinks": True}, [None, "Let me see."]), ({}, [None])):
        answer, bodies = await asked(**script)
        assert answer.text == "w0 w1 w2 "
        assert [body["messages"][1].get("reasoning_content") for body in bodies] == sent
