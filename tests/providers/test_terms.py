import pytest
from attrs import fields_dict

from fanout import catalog
from fanout.abc import Head, Reply
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, InvalidRequest, ProtocolError, ProviderError
from fanout.prompt import Options, Prompt
from fanout.providers.terms import ask, ask_for_models, bearer, check_key, model_names, refuse

TOOL = {"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}}


def test_a_missing_key_is_named_where_one_is_needed() -> None:
    for names, message in ((("A", "B"), "no key: set A or B"), ((), "no key: set one")):
        with pytest.raises(AuthError, match=f"^auth: {message}$"):
            check_key(None, names, needed=True)
    check_key(None, ("A",), needed=False)
    check_key(Secret("k"), ("A",), needed=True)


def test_a_request_has_the_service_s_headers_beside_those_of_all() -> None:
    made = ask("https://x.test/v1/", "/chat", {**bearer(Secret("k-1")), "x-own": "1"}, {"a": 1})
    assert (made.method, made.url, made.body) == ("POST", "https://x.test/v1/chat", b'{"a":1}')
    assert made.plain_headers() == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "authorization": "Bearer k-1",
        "x-own": "1",
    }
    assert "k-1" not in repr(made)
    listed = ask_for_models("https://x.test/v1", "/models", bearer(None))
    assert (listed.method, listed.url) == ("GET", "https://x.test/v1/models")
    assert listed.plain_headers() == {"accept": "application/json", "accept-encoding": "identity"}


def test_an_option_that_the_wire_lacks_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="here has no option stop or seed; ask without"):
        refuse(Options(stop=("a",), seed=0, top_p=0.5), ("stop", "seed"), "here")
    refuse(Options(top_p=0.5), ("stop", "seed"), "here")


GIVEN = {
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ("a",),
    "seed": 1,
    "reasoning": "low",
    "reasoning_tokens": 2048,
    "tools": (TOOL,),
    "tool_choice": "required",
    "schema": {"type": "object"},
    "body": {"extra": 1},
}
"""A value for each option."""


@pytest.mark.parametrize("option", GIVEN)
@pytest.mark.parametrize("wire", ["openai", "responses", "anthropic", "gemini", "ollama", "cohere"])
def test_every_wire_sends_an_option_or_refuses_it(wire: str, option: str) -> None:
    # What goes nowhere without a word makes a comparison wrong.
    spec = f"{wire}/m?base_url=http://127.0.0.1:1/v1&key_env="
    provider = catalog.find(spec).provider
    tools = (TOOL,) if option == "tool_choice" else ()
    plain = Prompt.of("hi").with_options(Options(tools=tools))
    given = plain.with_options(Options(**{option: GIVEN[option]}))  # type: ignore[arg-type]  # each of its own type
    try:
        sent = provider.request(given).body
    except InvalidRequest as refused:
        told = str(refused)
    else:
        told = option if sent != provider.request(plain).body else "nothing"
    assert option in told


def test_every_option_has_a_value_here() -> None:
    assert set(GIVEN) == set(fields_dict(Options))


def test_model_names_are_read_from_a_list() -> None:
    reply = b'{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":null},7]}'
    assert model_names(Reply(Head(200), reply)) == ["b", "a"]
    assert model_names(Reply(Head(200), b'[{"id":"c"}]')) == ["c"]
    assert model_names(Reply(Head(200), b'{"models":[{"name":"d"},{"name":""}]}'), "models", "name") == ["d"]


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (401, b'{"error":{"message":"no"}}', AuthError),
        (200, b"<html>", ProtocolError),
        (200, b"{}", ProtocolError),
        (200, b'"x"', ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        model_names(Reply(Head(status), reply))
