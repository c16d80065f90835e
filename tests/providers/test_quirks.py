"""The ways in which services differ from OpenAI, each once: what the service does, and what becomes of it."""

import json
from typing import Any

import pytest

from fanout import catalog
from fanout.abc import Head
from fanout.answers import Answer, Fold
from fanout.credentials.secret import Secret
from fanout.prompt import Message, Options, Prompt
from fanout.providers.openai import OpenAI
from fanout.providers.quirks import ANY_SERVER, QUIRKS


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def stream(*chunks: Any) -> bytes:
    return b"".join(
        chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks
    )


HELLO = delta(content="Hello")
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
DONE = b"data: [DONE]\n\n"
COUNT = {"prompt_tokens": 3, "completion_tokens": 2}
EVENT = b'event: error\ndata: {"message":"busy","code":503}\n\n'

ANSWERS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "comments": (stream(b": PROCESSING\n\n", HELLO, STOP, DONE), {"text": "Hello"}),
    "cumulative_message": (
        stream(
            {"choices": [{"delta": {"content": "Hello"}, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
        ),
        {"text": "Hello"},
    ),
    "error_event": (stream(HELLO, EVENT), {"error": "overloaded"}),
    "error_field": (stream(HELLO, b'error: {"code":503,"message":"busy"}\n\n'), {"error": "overloaded"}),
    "error_flat": (stream(HELLO, {"object": "error", "message": "busy", "code": 503}), {"error": "overloaded"}),
    "error_string": (stream(HELLO, {"error": "boom"}), {"error": "server"}),
    "error_with_finish": (
        stream(
            HELLO, {"error": {"code": 503, "message": "busy"}, "choices": [{"delta": {}, "finish_reason": "error"}]}
        ),
        {"error": "overloaded"},
    ),
    "finish_eos": (stream(HELLO, {"choices": [{"delta": {}, "finish_reason": "eos"}]}, DONE), {"finish": "stop"}),
    "list_content": (stream(delta(content=[{"type": "text", "text": "Hello"}]), STOP, DONE), {"text": "Hello"}),
    "no_done": (stream(HELLO, STOP), {"finish": "stop"}),
    "reasoning": (stream(delta(reasoning="hm"), HELLO, STOP, DONE), {"reasoning": "hm"}),
    "reasoning_content": (stream(delta(reasoning_content="hm"), HELLO, STOP, DONE), {"reasoning": "hm"}),
    "reasoning_details": (
        stream(delta(reasoning="hm", reasoning_details=[{"text": "hm"}]), HELLO, STOP, DONE),
        {"reasoning": "hm"},
    ),
    "usage_in_choice": (
        stream(HELLO, {"choices": [{"delta": {}, "finish_reason": "stop", "usage": COUNT}]}, DONE),
        {"usage": (3, 2)},
    ),
    "usage_in_x_groq": (stream(HELLO, {**STOP, "x_groq": {"usage": COUNT}}, DONE), {"usage": (3, 2)}),
    "usage_repeated": (
        stream({**HELLO, "usage": {**COUNT, "completion_tokens": 1}}, {**STOP, "usage": COUNT}, DONE),
        {"usage": (3, 2)},
    ),
}
REQUESTS: dict[str, dict[str, Any]] = {
    "max_completion_tokens": {"max_completion_tokens": 9, "stream_options": {"include_usage": True}},
    "no_stream_options": {"max_tokens": 9},
    "random_seed": {"max_tokens": 9, "stream_options": {"include_usage": True}, "random_seed": 7},
    "timings_per_token": {"max_tokens": 9, "stream_options": {"include_usage": True}, "timings_per_token": True},
}
CALL: dict[str, Any] = {
    "id": "toolu_01ABCDEFghijklmnop",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
}
SAID: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "?", "name": "Ann"},
    {"role": "assistant", "content": None, "reasoning_content": "Let me see.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": CALL["id"], "content": "x", "name": "f"},
]
SHORT = {**CALL, "id": "XdicDsd1H"}
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "": [
        {"role": "system", "content": "Be brief."},
        SAID[1],
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        SAID[3],
    ]
}
MESSAGES |= {
    "developer_role": [SAID[0], *MESSAGES[""][1:]],
    "reasoning_back": [MESSAGES[""][0], *SAID[1:]],
    "tool_names_only": [MESSAGES[""][0], {"role": "user", "content": "?"}, *MESSAGES[""][2:]],
    "short_call_ids": [
        *MESSAGES[""][:2],
        {"role": "assistant", "content": None, "tool_calls": [SHORT]},
        {**SAID[3], "tool_call_id": SHORT["id"]},
    ],
}
"""The forms of SAID, by quirk."""

CREDENTIALS: dict[str, dict[str, str]] = {"api_key_header": {"api-key": "canary"}}


def read(data: bytes) -> Answer:
    reader = OpenAI("m").read(Head(200, {"content-type": "text/event-stream"}))
    fold = Fold("a")
    fold.add([*reader.feed(data), *reader.close()], 0.0)
    return fold.answer


@pytest.mark.parametrize("quirk", ANSWERS)
def test_an_answer_with_this_quirk_is_read_right(quirk: str) -> None:
    data, expected = ANSWERS[quirk]
    answer = read(data)
    usage = answer.usage
    got = {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "finish": answer.finish_reason,
        "usage": (usage.input, usage.output) if usage else None,
        "error": answer.error.kind if answer.error else None,
    }
    assert {key: got[key] for key in expected} == expected
    assert answer.text == "Hello"


@pytest.mark.parametrize("quirk", REQUESTS)
def test_a_request_heeds_this_quirk(quirk: str) -> None:
    settings: dict[str, Any] = {**ANY_SERVER, **QUIRKS[quirk]}
    provider = OpenAI("m", needs_key=False, **settings)
    seed = 7 if "seed" in quirk else None
    body = json.loads(provider.request(Prompt((Message("user", "hi"),), Options(max_tokens=9, seed=seed))).body)
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "stream")} == REQUESTS[quirk]


@pytest.mark.parametrize("quirk", MESSAGES)
def test_the_messages_heed_this_quirk(quirk: str) -> None:
    settings: dict[str, Any] = {**ANY_SERVER, **QUIRKS.get(quirk, {})}
    provider = OpenAI("m", needs_key=False, **settings)
    assert json.loads(provider.request(Prompt.of(SAID)).body)["messages"] == MESSAGES[quirk]


@pytest.mark.parametrize("quirk", CREDENTIALS)
def test_the_credentials_heed_this_quirk(quirk: str) -> None:
    settings: dict[str, Any] = dict(QUIRKS[quirk])
    headers = OpenAI("m", key=Secret("canary"), **settings).request(Prompt.of("?")).plain_headers()
    assert {name: value for name, value in headers.items() if "canary" in value} == CREDENTIALS[quirk]


def test_every_quirk_has_its_test_and_every_row_names_only_these() -> None:
    assert {*REQUESTS, *MESSAGES, *CREDENTIALS} - {""} == set(QUIRKS)
    assert {quirk for entry in catalog.providers() for quirk in entry.quirks} <= set(QUIRKS)
    assert len(catalog.providers()) > 35


def test_a_rows_quirks_reach_its_provider() -> None:
    openai, groq = catalog.find("openai/m").provider, catalog.find("groq/m").provider
    assert isinstance(openai, OpenAI)
    assert isinstance(groq, OpenAI)
    assert (openai.max_tokens, groq.max_tokens) == ("max_completion_tokens", "max_tokens")


HOSTS = [entry.name for entry in catalog.providers() if entry.wire == "openai" and not entry.unofficial]
ASKED = Prompt.of(SAID).with_options(Options(max_tokens=9, seed=7))


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_is_asked_in_its_own_way(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in catalog.providers():
        for name in entry.keys[:1]:
            monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.example.com")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "me")
    spec = "local" if host == "local" else f"{host}/m"  # which has one model alone
    body = json.loads(catalog.find(spec).provider.request(ASKED).body)
    system, user, called, result = body["messages"]
    assert (system["role"] == "developer") is (host in ("openai", "azure"))
    assert ("max_completion_tokens" in body) is (host in ("openai", "azure"))
    assert ("max_tokens" in body) is (host not in ("openai", "azure"))
    assert ("reasoning_content" in called) is (host in ("deepseek", "moonshot"))
    assert called["content"] is None
    assert called["tool_calls"][0]["id"] == result["tool_call_id"] == (SHORT if host == "mistral" else CALL)["id"]
    if host == "mistral":
        assert body.keys() == {"model", "messages", "stream", "max_tokens", "random_seed"}
        assert (user.get("name"), result["name"]) == (None, "f")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "https://proxy.example.org/v1", "https://openai.example/v1"]
)
def test_at_another_address_openai_is_any_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    lanes = [f"openai/m?base_url={url}&key_env="]
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    lanes.append("openai/m")
    for lane in lanes:
        body = json.loads(catalog.find(lane).provider.request(ASKED).body)
        assert (body["messages"][0]["role"], body["max_tokens"]) == ("system", 9)


def test_openais_regions_are_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://eu.api.openai.com/v1")
    body = json.loads(catalog.find("openai/m").provider.request(ASKED).body)
    assert (body["messages"][0]["role"], body["max_completion_tokens"]) == ("developer", 9)


WIRES = [entry.name for entry in catalog.providers() if entry.wire != "openai" and not entry.unofficial]


@pytest.mark.parametrize("host", WIRES)
def test_no_other_wire_sends_reasoning_back(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in catalog.providers():
        for name in entry.keys[:1]:
            monkeypatch.setenv(name, "canary")
    said = [{key: value for key, value in message.items() if key != "name"} for message in SAID]
    body = catalog.find(f"{host}/m").provider.request(Prompt.of(said)).body
    assert b"Be brief." in body
    assert b"Let me see." not in body
