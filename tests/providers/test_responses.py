import json
from typing import Any

import pytest

import fanout
from fanout.abc import Head, Reply, Request
from fanout.errors import AuthError, InvalidRequest
from fanout.events import Source, Status
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.responses import Responses
from fanout.secret import Secret
from fanout.transports.fetch import fetch
from tests.local.conftest import model  # noqa: F401  # a fixture
from tests.providers.test_responses_reader import TRANSCRIPT
from tests.servers.responses import KEY, MODELS, open_server

TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
ADD = ToolUse("call_1", "add", '{"a":1}')
CONVERSATION = Prompt(
    (
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "1+1?", name="Ann"),
        Message("developer", "In German."),
        Message("assistant", "Let me see.", tool_uses=(ADD,)),
        Message("tool", "2", tool_call_id="call_1"),
        Message("assistant", "", tool_uses=(ToolUse("call_2", "add", "{}"), ToolUse("call_3", "add", "{}"))),
        Message("tool", "", media=(Media(b"x", media_type="image/png"),), tool_call_id="call_2"),
        Message("tool", "4", tool_call_id="call_3"),
        Message("user", "Thanks"),
    )
)
MEDIA = Prompt(
    (
        Message(
            "user",
            "Look",
            media=(
                Media(url="https://example.com/a.png"),
                Media(b"\x89PNG", media_type="image/png"),
                Media(b"%PDF", media_type="application/pdf", name="a.pdf"),
                Media(b"a,b", media_type="text/csv"),
                Media(url="https://example.com/a.pdf"),
                Media(b"RIFF", media_type="audio/x-wav"),
                Media(b"ID3", media_type="audio/mpeg"),
            ),
        ),
    )
)
OPTIONS = Options(
    max_tokens=500,
    temperature=0.0,
    top_p=0.5,
    reasoning="low",
    tools=(TOOL,),
    tool_choice={"type": "function", "function": {"name": "add"}},
    schema={"type": "object"},
)


def provider(**fields: Any) -> Responses:
    return Responses(**{"model": "m-1", "key": Secret(KEY), **fields})


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def test_a_request_asks_for_a_stream() -> None:
    made = request("Hi")
    assert (made.method, made.url) == ("POST", "https://api.openai.com/v1/responses")
    assert json.loads(made.body) == {
        "model": "m-1",
        "input": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
    }
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
    }


def test_organization_and_project_are_headers() -> None:
    headers = request("Hi", organization="org-1", project="proj-1").plain_headers()
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


def test_the_base_url_is_taken_as_it_is() -> None:
    assert request("Hi", base_url="https://example.com/api/v3/").url == "https://example.com/api/v3/responses"


def test_a_conversation_becomes_instructions_and_items() -> None:
    made = body(CONVERSATION)
    assert made["instructions"] == "Be brief.\n\nBe kind."
    assert made["input"] == [
        {"role": "user", "content": "1+1?"},
        {"role": "developer", "content": "In German."},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "2"},
        {"type": "function_call", "call_id": "call_2", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_3", "name": "add", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,eA=="}],
        },
        {"type": "function_call_output", "call_id": "call_3", "output": "4"},
        {"role": "user", "content": "Thanks"},
    ]


def test_a_system_message_alone_is_the_input() -> None:
    made = body(Prompt((Message("system", "s"),)))
    assert made == {"model": "m-1", "input": [{"role": "system", "content": "s"}], "stream": True, "store": False}


def test_media_are_parts_of_the_message() -> None:
    assert body(MEDIA)["input"][0]["content"] == [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
        {"type": "input_file", "filename": "file.csv", "file_data": "data:text/csv;base64,YSxi"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
    ]


@pytest.mark.parametrize(
    ("role", "media", "words"),
    [
        ("user", Media(b"x", media_type="audio/ogg"), "audio/ogg"),
        ("user", Media(b"x", media_type="video/mp4"), "video/mp4"),
        ("user", Media(url="https://example.com/a.mp3"), "bytes only"),
        ("assistant", Media(b"x"), "only text"),
    ],
)
def test_media_it_cannot_carry_are_refused(role: str, media: Media, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((Message(role, "a", media=(media,)),)))


def test_the_options_have_their_names_of_this_protocol() -> None:
    made = body("Hi", OPTIONS, summary="auto")
    assert {name: made[name] for name in made if name not in ("model", "input", "stream", "store")} == {
        "max_output_tokens": 500,
        "temperature": 0.0,
        "top_p": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [{"type": "function", "strict": False, **TOOL["function"]}],  # type: ignore[dict-item]
        "tool_choice": {"type": "function", "name": "add"},
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}},
    }


def test_a_summary_can_be_asked_for_alone() -> None:
    assert body("Hi", summary="concise")["reasoning"] == {"summary": "concise"}


def test_a_tool_in_this_wires_own_form_is_left_alone() -> None:
    made = body("Hi", Options(tools=({"type": "web_search"}, {"type": "function", "function": {"name": "f"}})))
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    assert made["tools"] == [{"type": "web_search"}, function]
    assert body("Hi", Options(tool_choice="required"))["tool_choice"] == "required"
    assert body("Hi", Options(tool_choice={"type": "web_search"}))["tool_choice"] == {"type": "web_search"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (Options(stop=("a",)), "stop"),
        (Options(seed=0), "seed"),
        (Options(reasoning_tokens=9), "reasoning_tokens"),
        (Options(stop=("a",), seed=1), "stop or seed"),
    ],
)
def test_an_option_that_the_wire_lacks_is_refused_by_name(options: Options, names: str) -> None:
    with pytest.raises(InvalidRequest, match=f"responses has no option {names};"):
        request("Hi", options)


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "store": False}))
    assert (made["temperature"], made["store"]) == (0.3, False)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AuthError, match="no key: set OPENAI_API_KEY"):
        request("Hi", key=None)
    assert "authorization" not in request("Hi", key=None, needs_key=False).headers


def test_the_key_stays_out_of_repr() -> None:
    made = request()
    assert KEY not in repr(provider()) + repr(made) + str(dict(made.headers))


def test_the_models_are_listed() -> None:
    made = provider().models_request()
    assert (made.method, made.url) == ("GET", "https://api.openai.com/v1/models")
    assert made.plain_headers()["authorization"] == f"Bearer {KEY}"
    assert provider().models(Reply(Head(200), b'{"data":[{"id":"b"}]}')) == ["b"]


@pytest.mark.parametrize("prompt", ["Hi", CONVERSATION, MEDIA], ids=["words", "conversation", "media"])
async def test_the_service_takes_what_is_sent_and_its_answer_wins(prompt: Any) -> None:
    async with open_server(*TRANSCRIPT) as server:
        lane = provider(base_url=server.base_url, summary="auto")
        answer = await fanout.race(Prompt.of(prompt).with_options(OPTIONS), [lane, lane])
        assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hé🎈", "hmm", "tool_calls")
        assert answer.tool_calls == (ADD,)
        assert answer.sources == (Source("https://example.com/a", "A"),)
        assert (answer.provider, answer.model, answer.request_id) == ("responses", "m-1-2026", "r1")
        assert json.loads(server.taken[0].body)["stream"] is True


async def test_what_the_service_refuses_is_told_lane_by_lane() -> None:
    async with open_server(*TRANSCRIPT) as server:
        lanes = [
            provider(base_url=server.base_url),
            provider(base_url=server.base_url, key=Secret("sk-wrong")),
            provider(base_url=f"{server.base_url}/v2"),
        ]
        wrong = Prompt.of("Hi").with_options(Options(body={"stop": ["a"]}))
        answers = [*await fanout.gather("Hi", lanes), *await fanout.gather(wrong, lanes[0])]
    assert [answer.error and answer.error.kind for answer in answers] == [None, "auth", "not_found", "invalid_request"]
    assert "Unknown parameter: the body: ['stop']" in str(answers[-1].error)


async def test_the_services_models_are_listed_over_the_wire() -> None:
    async with open_server() as server, fanout.open_transport() as transport:
        lane = provider(base_url=server.base_url)
        reply = await fetch(transport, lane.models_request(), connect=5)
        assert lane.models(reply) == MODELS


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_the_embedded_model_answers_on_this_wire() -> None:
    """llama.cpp: no output_index, and an answer that was cut for its length is called completed."""
    lane = Responses("smollm2", base_url="local://smollm2/v1", needs_key=False)
    options = Options(max_tokens=8, temperature=0.0, tools=(TOOL,))
    prompt = Prompt.of("Why is the sky blue?", system="Be brief.").with_options(options)
    answer = await fanout.race(prompt, [lane], timeouts=fanout.Timeouts(first=60))
    assert (answer.status, answer.model) == (Status.FINISHED, "local")
    assert answer.text
    assert answer.usage and answer.usage.output == 8
