import json
from base64 import b64encode
from typing import Any

import pytest

import fanout
from fanout.abc import Head, Reply, Request
from fanout.errors import (
    AllLanesFailed,
    AuthError,
    InvalidRequest,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
)
from fanout.events import Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers.gemini import Gemini
from fanout.secret import Secret
from tests.servers import gemini

KEY = "AIza-very-secret"


def provider(**fields: Any) -> Gemini:
    return Gemini(**{"model": "gemini-2.5-flash", "key": Secret(KEY), **fields})


def request(prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
    return provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    made = json.loads(request(*args, **fields).body)
    assert isinstance(made, dict)
    return made


def test_a_request_asks_for_a_stream_and_hides_the_key_from_the_address() -> None:
    made = request("Hi")
    assert (made.method, made.url) == (
        "POST",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    )
    assert json.loads(made.body) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "x-goog-api-key": KEY,
    }
    assert KEY not in made.url + repr(made) + repr(provider()) + str(dict(made.headers))


@pytest.mark.parametrize(
    ("model", "path"),
    [("tunedModels/mine", "/tunedModels/mine:"), ("models/a", "/models/a:"), ("a?b", "/models/a%3Fb:")],
)
def test_a_model_is_a_path(model: str, path: str) -> None:
    assert path in request(model=model, base_url="http://127.0.0.1:1/v1beta/").url


def test_without_a_model_nothing_is_asked() -> None:
    with pytest.raises(InvalidRequest, match="gemini needs a model"):
        request(model=None)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AuthError, match="no key: set GEMINI_API_KEY or GOOGLE_API_KEY"):
        request(key=None)
    with pytest.raises(AuthError, match="no key: set one"):
        provider(key=None, key_env=()).models_request()
    assert "x-goog-api-key" not in request(key=None, needs_key=False).headers


def test_every_role_has_its_form() -> None:
    prompt = Prompt(
        (
            Message("system", "s"),
            Message("user", "u"),
            Message("developer", "d"),
            Message("assistant", "a", tool_uses=(ToolUse("1", "add", '{"a":1}'), ToolUse("2", "now", ""))),
            Message("tool", '{"sum":2}', tool_call_id="1"),
            Message("tool", "noon", tool_call_id="2"),
            Message("assistant", ""),
            Message("tool", "[]", name="list"),
        )
    )
    made = body(prompt)
    assert made["systemInstruction"] == {"parts": [{"text": "s"}, {"text": "d"}]}
    assert made["contents"] == [
        {"role": "user", "parts": [{"text": "u"}]},
        {
            "role": "model",
            "parts": [
                {"text": "a"},
                {"functionCall": {"id": "1", "name": "add", "args": {"a": 1}}},
                {"functionCall": {"id": "2", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "1", "name": "add", "response": {"sum": 2}}},
                {"functionResponse": {"id": "2", "name": "now", "response": {"output": "noon"}}},
            ],
        },
        {"role": "model", "parts": [{"text": ""}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "list", "response": {"output": "[]"}}}]},
    ]


@pytest.mark.parametrize(
    ("model", "signed"),
    [("gemini-3-pro", True), ("gemini-flash-latest", True), ("gemini-2.5-pro", False), ("gemma-3-27b-it", False)],
)
def test_the_first_call_of_a_turn_has_a_signature_where_one_is_demanded(model: str, signed: bool) -> None:
    uses = (ToolUse("1", "f", "{}"), ToolUse("2", "g", "{}"))
    parts = body(Prompt((Message("assistant", "", tool_uses=uses),)), model=model)["contents"][0]["parts"]
    assert ["thoughtSignature" in part for part in parts] == [signed, False]


def test_media_are_parts_by_address_or_as_bytes() -> None:
    media = (
        Media(url="https://example.com/a.png?x=1"),
        Media(url="https://example.com/watch"),
        Media(url="https://example.com/b", media_type="video/mp4"),
        Media(data=b"\x89PNG", media_type="image/png"),
        Media(data=b"%PDF", media_type="application/pdf", name="a.pdf"),
    )
    parts = body(Prompt((Message("user", "Look", media=media),)))["contents"][0]["parts"]
    assert parts == [
        {"text": "Look"},
        {"fileData": {"fileUri": "https://example.com/a.png?x=1", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://example.com/watch"}},
        {"fileData": {"fileUri": "https://example.com/b", "mimeType": "video/mp4"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
    ]
    assert [*body(Prompt((Message("user", "", media=media[:1]),)))["contents"][0]["parts"][0]] == ["fileData"]


def test_the_options_have_their_names_of_this_protocol() -> None:
    schema = {"type": "object", "additionalProperties": False}
    options = Options(max_tokens=5, temperature=0.0, top_p=0.5, stop=("a", "b"), seed=0, schema=schema)
    assert body("Hi", options)["generationConfig"] == {
        "maxOutputTokens": 5,
        "temperature": 0.0,
        "topP": 0.5,
        "stopSequences": ["a", "b"],
        "seed": 0,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (Options(reasoning="low"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        (Options(reasoning_tokens=512), {"thinkingBudget": 512, "includeThoughts": True}),
        (Options(reasoning_tokens=0), {"thinkingBudget": 0, "includeThoughts": False}),
    ],
)
def test_thinking_has_a_level_or_a_budget(options: Options, config: dict[str, Any]) -> None:
    assert body("Hi", options)["generationConfig"] == {"thinkingConfig": config}


def test_tools_are_function_declarations() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    add = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": parameters}}
    now = {"type": "function", "function": {"name": "now"}}
    assert body("Hi", Options(tools=(add, now)))["tools"] == [
        {
            "functionDeclarations": [
                {"name": "add", "description": "Adds.", "parametersJsonSchema": parameters},
                {"name": "now"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "add"}}, {"mode": "ANY", "allowedFunctionNames": ["add"]}),
    ],
)
def test_the_choice_of_a_tool_is_a_mode(choice: Any, config: dict[str, Any]) -> None:
    assert body("Hi", Options(tool_choice=choice))["toolConfig"] == {"functionCallingConfig": config}


def test_the_body_of_the_options_comes_last_and_adds_to_the_generation_config() -> None:
    extra = {"generationConfig": {"topK": 4, "temperature": 0.3}, "tools": [{"googleSearch": {}}]}
    made = body("Hi", Options(temperature=1.0, seed=1, body=extra))
    assert made["generationConfig"] == {"temperature": 0.3, "seed": 1, "topK": 4}
    assert made["tools"] == [{"googleSearch": {}}]
    assert body("Hi", Options(body={"generationConfig": {"topK": 4}}))["generationConfig"] == {"topK": 4}
    assert body("Hi", Options(seed=1, body={"generationConfig": None}))["generationConfig"] is None


@pytest.mark.parametrize(
    ("message", "options", "words"),
    [
        (Message("user", "u", name="Ann"), Options(), "gemini cannot carry the name"),
        (Message("system", "", media=(Media(data=b"x"),)), Options(), "gemini cannot carry media in a system message"),
        (
            Message("tool", "", media=(Media(data=b"x"),), name="f"),
            Options(),
            "gemini cannot carry media in the result",
        ),
        (Message("tool", "2", tool_call_id="1"), Options(), "gemini needs to know which tool gave the result 1"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "[1]"),)), Options(), "the arguments of f"),
        (Message("assistant", "", tool_uses=(ToolUse("1", "f", "{"),)), Options(), "the arguments of f"),
        (Message("user", "u"), Options(tools=({"type": "web_search"},)), "gemini takes functions for tools"),
        (Message("user", "u"), Options(tool_choice="sometimes"), "gemini cannot carry the tool_choice sometimes"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request(Prompt((message,)), options)


def test_the_models_that_generate_content_are_listed() -> None:
    made = provider().models_request()
    assert (made.method, made.url) == ("GET", "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000")
    rows = [
        {"name": "models/b", "supportedGenerationMethods": ["generateContent", "countTokens"]},
        {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/a"},
        {"name": None},
        7,
    ]
    assert provider().models(Reply(Head(200), json.dumps({"models": rows}).encode())) == ["b", "a"]


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (403, b'{"error":{"code":403,"status":"PERMISSION_DENIED"}}', AuthError),
        (200, b"<html>", ProtocolError),
        (200, b"{}", ProtocolError),
        (200, b"[]", ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        provider().models(Reply(Head(status), reply))


def lane(server: gemini.GeminiServer, model: str = "stream", **fields: Any) -> Gemini:
    return Gemini(**{"model": model, "key": Secret(gemini.KEY), "base_url": f"{server.url}/v1beta", **fields})


@pytest.mark.parametrize("model", ["stream", "array"])
async def test_it_wins_a_race_over_a_real_socket(model: str) -> None:
    async with gemini.open_server() as server:
        answer = await fanout.race("Hi", [lane(server, model)], system="Be brief.")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello", "hmm", "stop")
    assert (answer.lane, answer.provider, answer.model) == (f"gemini/{model}", "gemini", "g-1")
    assert answer.usage == Usage(3, 2)


async def test_the_service_takes_all_that_it_sends() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    options = Options(
        *(5, 0.5, 0.5, ("x",), 1), reasoning_tokens=9, tools=(tool,), tool_choice="auto", schema={"type": "object"}
    )
    messages = (
        Message("system", "s"),
        Message("user", "u", media=(Media(data=b"x", media_type="image/png"), Media(url="https://example.com/a.png"))),
        Message("assistant", "", tool_uses=(ToolUse("1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="1"),
    )
    async with gemini.open_server() as server:
        (answer,) = await fanout.gather(Prompt(messages, options), [lane(server)])
        assert b64encode(b"x") in server.requests[0].body
    assert (answer.error, answer.text) == (None, "Hello")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({"model": "missing"}, NotFound), ({"model": "busy"}, RateLimited), ({"key": Secret("wrong")}, AuthError)],
)
async def test_what_the_service_says_is_the_lanes_error(fields: dict[str, Any], kind: type[ProviderError]) -> None:
    async with gemini.open_server() as server:
        with pytest.raises(AllLanesFailed) as failed:
            await fanout.race("Hi", [lane(server, **fields)], retries=0)
    (error,) = failed.value.exceptions
    assert type(error) is kind
    assert isinstance(error, ProviderError) and error.retry_after == (7.0 if kind is RateLimited else None)


async def test_a_wrong_request_is_refused_in_the_services_words() -> None:
    async with gemini.open_server() as server:
        prompt = Prompt.of("Hi").with_options(Options(body={"topk": 4}))
        (answer,) = await fanout.gather(prompt, [lane(server)])
    assert isinstance(answer.error, InvalidRequest) and 'Unknown name "topk"' in answer.error.message
