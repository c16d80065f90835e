import json

import pytest
import trio

from fanout.credentials.secret import Secret
from fanout.gateway.guard import Guard, check_tokens, is_loopback, shown_token
from tests.gateway.serving import Served, asking, config_of, exchange, raw, serving
from tests.servers.openai import OpenAIServer, open_server

LOCAL = Guard(frozenset({"localhost", "127.0.0.1", "[::1]"}))
TOKEN = "a-token-of-enough-characters"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8080"}, None),
        ({"host": "LOCALHOST"}, None),
        ({"host": "[::1]:8080"}, None),
        ({}, 421),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:8080"}, 421),
        ({"host": "localhost@evil.example"}, 421),
        ({"host": "192.0.2.1"}, 421),
        ({"host": "localhost", "origin": "http://localhost:8080"}, None),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"host": "localhost", "origin": "https://evil.example"}, 403),
        ({"host": "localhost", "origin": "http://localhost.evil.example"}, 403),
        ({"host": "localhost", "origin": ""}, 403),
        ({"host": "localhost", "origin": "file://localhost"}, 403),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, None),
    ],
)
def test_only_this_machines_names_and_pages_come_in(headers: dict[str, str], status: int | None) -> None:
    fault = LOCAL.check_caller(headers)
    assert (fault and fault.status) == status


def test_a_gateway_for_others_is_called_by_addresses_too_but_by_no_foreign_name() -> None:
    public = Guard(frozenset({"gate.example"}), addressed=True)
    assert public.check_caller({"host": "192.0.2.1:80"}) is None
    assert public.check_caller({"host": "gate.example"}) is None
    assert public.check_caller({"host": "evil.example"}) is not None


def test_a_token_comes_as_either_client_sends_it() -> None:
    assert shown_token({"authorization": f"Bearer {TOKEN}"}) == TOKEN
    assert shown_token({"authorization": f"bearer  {TOKEN} "}) == TOKEN
    assert shown_token({"x-api-key": TOKEN}) == TOKEN
    assert shown_token({"authorization": f"Basic {TOKEN}"}) == ""


def test_users_are_told_apart_by_names_that_tell_nothing_of_their_tokens() -> None:
    guard = Guard(frozenset(), (Secret("token-of-the-first-user"), Secret("token-of-the-second-user")))
    first = guard.find_user({"authorization": "Bearer token-of-the-first-user"})
    second = guard.find_user({"x-api-key": "token-of-the-second-user"})
    assert first and second and first != second
    assert "token" not in first
    assert guard.find_user({"x-api-key": "token-of-the-first-use"}) is None
    assert guard.find_user({"x-api-key": "täken"}) is None
    assert guard.find_user({}) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json"}, None),
        ({"content-type": "Application/JSON; charset=utf-8"}, None),
        ({"content-type": "text/plain"}, 415),
        ({}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "content-length": str(1 << 40)}, 413),
    ],
)
def test_a_body_is_json_as_it_is_and_not_too_large(headers: dict[str, str], status: int | None) -> None:
    fault = LOCAL.check_form(headers)
    assert (fault and fault.status) == status


def test_an_address_that_others_reach_needs_a_token_that_nobody_guesses() -> None:
    assert check_tokens([], public=False) is None
    assert check_tokens(["short"], public=False) is None
    assert check_tokens([], public=True)
    assert check_tokens(["short"], public=True)
    assert check_tokens([TOKEN], public=True) is None
    assert check_tokens(["with space in it, and long"], public=True)


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.com")))


# On real sockets: refused, and nothing dialled.

BODY = json.dumps(asking("a")).encode()


async def refused(served: Served, upstream: OpenAIServer, request: bytes, *statuses: int) -> None:
    answered = await exchange(served.port, request)
    assert answered.status in statuses, (answered.status, answered.body)
    assert upstream.connections == 0
    assert "error" in answered.json
    assert "access-control-allow-origin" not in answered.headers


REQUESTS = {
    "foreign host": (raw("POST", "/v1/chat/completions", BODY, host="evil.example"), 421),
    "no host": (raw("POST", "/v1/chat/completions", BODY, host=None), 400),
    "foreign host to look": (raw("GET", "/v1/models", host="evil.example"), 421),
    "no origin at all": (raw("POST", "/v1/chat/completions", BODY, origin="null"), 403),
    "foreign origin": (raw("POST", "/v1/messages", BODY, origin="https://evil.example"), 403),
    "a page that asks first": (raw("OPTIONS", "/v1/chat/completions", origin="https://evil.example"), 403),
    "a form": (raw("POST", "/v1/chat/completions", BODY, content_type="text/plain"), 415),
    "no type": (raw("POST", "/v1/chat/completions", BODY, content_type=None), 415),
    "packed": (raw("POST", "/v1/chat/completions", BODY, content_encoding="gzip"), 415),
    "too large, as it says": (raw("POST", "/v1/chat/completions", b"", content_length="999999999"), 413),
    "too large, as it turns out": (
        raw("POST", "/v1/chat/completions", b"", content_length=None, transfer_encoding="chunked")
        + b"10000\r\n" + b" " * 0x10000 + b"\r\n10000\r\n" + b" " * 0x10000 + b"\r\n0\r\n\r\n", 413,
    ),
    "no JSON": (raw("POST", "/v1/chat/completions", b"{"), 400),
    "a list": (raw("POST", "/v1/chat/completions", b"[]"), 400),
    "too deep": (raw("POST", "/v1/chat/completions", b'{"model":' + b"[" * 5000 + b"]" * 5000 + b"}"), 400),
    "no such path": (raw("POST", "/v1/embeddings", BODY), 404),
    "no such method": (raw("DELETE", "/v1/models"), 405),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_is_refused_is_refused_and_nothing_is_dialled(name: str) -> None:
    request, status = REQUESTS[name]
    with trio.fail_after(10):
        async with (
            open_server() as upstream,
            serving(config_of({"a": upstream.lane("a")}), most_bytes=100_000) as served,
        ):
            if name == "no host":
                answered = await exchange(served.port, request)
                assert answered.status in (400, 421)
                assert upstream.connections == 0
            else:
                await refused(served, upstream, request, status)


@pytest.mark.parametrize(
    "model",
    [
        "a?base_url=http://127.0.0.1:9/v1",
        "a?b%61se_url=http://127.0.0.1:9/v1",
        "openai/x?key_env=HOME",
        "openai/x?proxy=http://127.0.0.1:9",
        "openai/x?insecure=true",
        "openai/x?body.model=other",
        "race:a,openai/x?base_url=http://127.0.0.1:9/v1",
        "fallback:a,openai/x?key_env=PATH",
        "http://127.0.0.1:9/v1",
        "a?concurrency=1",
    ],
)
async def test_a_client_chooses_no_address_no_key_and_no_proxy(model: str) -> None:
    with trio.fail_after(10):
        async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
            body = json.dumps(asking(model)).encode()
            await refused(served, upstream, raw("POST", "/v1/chat/completions", body), 400)
            spare = json.dumps(asking("a", models=[model])).encode()
            await refused(served, upstream, raw("POST", "/v1/chat/completions", spare), 400)


@pytest.mark.parametrize("field", ["base_url", "api_base", "api_key", "file", "extra_headers", "proxy"])
async def test_a_field_that_there_is_not_is_named(field: str) -> None:
    with trio.fail_after(10):
        async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
            body = json.dumps(asking("a", **{field: "http://127.0.0.1:9"})).encode()
            answered = await exchange(served.port, raw("POST", "/v1/chat/completions", body))
            assert answered.status == 400
            assert field in answered.json["error"]["message"]
            assert upstream.connections == 0


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "ftp://example.com/x"])
async def test_a_picture_comes_from_no_path(url: str) -> None:
    with trio.fail_after(10):
        async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
            content = [{"type": "image_url", "image_url": {"url": url}}]
            body = json.dumps({"model": "a", "messages": [{"role": "user", "content": content}]}).encode()
            await refused(served, upstream, raw("POST", "/v1/chat/completions", body), 400)


async def test_without_the_token_nothing_is_told_but_that_it_runs() -> None:
    with trio.fail_after(10):
        async with (
            open_server() as upstream,
            serving(config_of({"a": upstream.lane("a")}), tokens=[TOKEN, "another-token-for-another"]) as served,
        ):
            for method, path in (("POST", "/v1/chat/completions"), ("POST", "/v1/messages"), ("GET", "/v1/models")):
                for shown in (None, "Bearer ", "Bearer wrong", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"):
                    request = raw(method, path, BODY if method == "POST" else b"", authorization=shown)
                    await refused(served, upstream, request, 401)
            await refused(served, upstream, raw("GET", "/metrics"), 401)
            assert (await exchange(served.port, raw("GET", "/healthz"))).status == 200
            good = raw("POST", "/v1/chat/completions", BODY, authorization=f"Bearer {TOKEN}")
            assert (await exchange(served.port, good)).status == 200
            good = raw("POST", "/v1/chat/completions", BODY, x_api_key="another-token-for-another")
            assert (await exchange(served.port, good)).status == 200
            assert TOKEN not in "".join(served.log)


async def test_no_key_comes_back_and_no_word_goes_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", "bad")
    with trio.fail_after(10):
        async with open_server() as upstream:
            lane = upstream.lane("a").replace("key_env=", "key_env=CANARY_KEY")
            async with serving(config_of({"a": lane})) as served:
                answered = await exchange(served.port, raw("POST", "/v1/chat/completions", BODY))
                assert answered.status == 502  # the lane's key is the gateway's trouble, and no 401
                assert answered.headers["x-should-retry"] == "false"
                assert b"Bearer" not in answered.body
                assert "sky" not in "".join(served.log)
