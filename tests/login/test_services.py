import json
import shlex
from typing import Any

import pytest

from fanout.abc import Head, Reply
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import LoginRequired, ProviderError, ServerError, UsageError
from fanout.login.services import SERVICES, check_address, user, user_request

CHAT = SERVICES["huggingchat"]
LOGIN = Credentials(
    "huggingchat",
    "http://127.0.0.1:8000/chat/",
    cookies={"hf-chat": Secret("s"), "token": Secret("t")},
    headers={"user-agent": "Mozilla/5.0"},
)


def reply(body: object, status: int = 200, media_type: str = "application/json") -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(Head(status, {"content-type": media_type}), data)


def test_every_service_names_what_it_needs_among_what_is_kept() -> None:
    for name, site in SERVICES.items():
        assert name == site.name
        assert set(site.needs + site.needs_at_home) <= set(site.cookies + site.secrets)
        assert site.required_names(site.base_url)
        assert check_address(site.base_url) == site.base_url
        assert site.variable.startswith(f"FANOUT_{name.upper()}_")


def test_only_huggingface_co_asks_for_the_account_s_own_cookie() -> None:
    assert CHAT.required_names("https://huggingface.co/chat/") == ("hf-chat", "token")
    assert CHAT.required_names("https://chat.example.org") == ("hf-chat",)


def test_the_commands_name_the_service() -> None:
    for home in (CHAT.base_url, f"{CHAT.base_url}/"):
        commands = CHAT.command(home), CHAT.import_command(home)
        assert commands == ("fanout login huggingchat", "fanout auth import huggingchat")


def test_the_commands_name_an_address_that_is_not_the_service_s_own() -> None:
    there = "--base-url http://127.0.0.1:3040"
    assert CHAT.command("http://127.0.0.1:3040/") == f"fanout login huggingchat {there}"
    assert CHAT.import_command("http://127.0.0.1:3040") == f"fanout auth import huggingchat {there}"
    odd = "https://chat.test/a b;$(rm -r ~)'`"
    for typed in (CHAT.command(odd), CHAT.import_command(odd)):
        assert shlex.split(typed)[-2:] == ["--base-url", odd]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://chat.example.org", "in clear; use https"),
        ("https://me:secret@chat.example.org", "no user or password"),
        ("chat.example.org", "an http or https address"),
        ("ftp://chat.example.org", "an http or https address"),
        ("https://", "an http or https address"),
        ("https://chat.example.org/?a=1", "without query"),
        ("https://[::1", "base URL"),
    ],
)
def test_a_base_url_that_would_give_the_login_away_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_address(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://chat.example.org/x", "http://127.0.0.1:1/x", "http://[::1]/x", "http://10.0.0.5:3000/x", "http://chat/x"],
)
def test_https_goes_anywhere_and_http_to_this_machine_and_its_networks(url: str) -> None:
    assert check_address(f"{url}/") == url


def test_the_question_who_is_logged_in_carries_the_login_and_its_browser() -> None:
    request = user_request(CHAT, LOGIN)
    assert request is not None
    assert (request.method, request.url) == ("GET", "http://127.0.0.1:8000/chat/api/v2/user")
    assert request.plain_headers() == {
        "user-agent": "Mozilla/5.0",
        "accept": "application/json",
        "cookie": "hf-chat=s; token=t",
    }
    assert user_request(SERVICES["hailuo"], LOGIN) is None


@pytest.mark.parametrize(
    ("person", "name"),
    [
        ({"username": "ada", "id": "1"}, "ada"),
        ({"id": "1"}, "somebody"),
        ({"username": "a\x1b[2Jda"}, "somebody"),
        ({"username": "x" * 65}, "somebody"),
    ],
)
def test_the_answer_names_who_is_logged_in_if_the_name_is_safe_to_print(person: dict[str, Any], name: str) -> None:
    assert user(CHAT, LOGIN.base_url, reply({"json": person})) == name


@pytest.mark.parametrize(
    "answer", [reply({"json": None}), reply("", 401), reply(b"", 302, "text/html"), reply({}, 303)]
)
def test_an_anonymous_visitor_is_nobody_logged_in(answer: Reply) -> None:
    with pytest.raises(LoginRequired) as caught:
        user(CHAT, LOGIN.base_url, answer)
    assert caught.value.command == "fanout login huggingchat --base-url http://127.0.0.1:8000/chat"


@pytest.mark.parametrize(
    "answer",
    [reply(b"<html>", media_type="text/html"), reply({}, 404), reply({}), reply([]), reply(b"{"), reply(None)],
)
def test_a_deployment_without_that_address_says_neither_yes_nor_no(answer: Reply) -> None:
    assert user(CHAT, LOGIN.base_url, answer) is None


@pytest.mark.parametrize(("status", "kind"), [(503, ProviderError), (500, ServerError), (403, ProviderError)])
def test_a_service_that_fails_says_nothing_of_the_login(status: int, kind: type[ProviderError]) -> None:
    with pytest.raises(kind) as caught:
        user(CHAT, LOGIN.base_url, reply(b"<title>Just a moment...</title>", status, "text/html"))
    assert not isinstance(caught.value, LoginRequired)
