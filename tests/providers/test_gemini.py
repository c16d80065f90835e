from base64 import b64encode
from typing import Any

import pytest

import fanout
from fanout.errors import InvalidRequest
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from tests.providers.wires.gemini import body, lane, request
from tests.servers import gemini


@pytest.mark.parametrize(
    ("model", "path"),
    [("tunedModels/mine", "/tunedModels/mine:"), ("models/a", "/models/a:"), ("a?b", "/models/a%3Fb:")],
)
def test_a_model_is_a_path(model: str, path: str) -> None:
    assert path in request(model=model, base_url="http://127.0.0.1:1/v1beta/").url


async def test_a_picture_goes_to_the_service_as_bytes() -> None:
    picture = Media(data=b"a picture", media_type="image/png")
    async with gemini.open_server() as server:
        (answer,) = await fanout.gather(Prompt((Message("user", "u", media=(picture,)),)), [lane(server)])
        assert b64encode(b"a picture") in server.requests[0].body
    assert answer.error is None


def test_without_a_model_nothing_is_asked() -> None:
    with pytest.raises(InvalidRequest, match="gemini needs a model"):
        request(model=None)


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
