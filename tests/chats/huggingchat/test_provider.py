import json
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reader, Reply, Request
from fanout.chats.huggingchat.faults import ConversationLost
from fanout.chats.huggingchat.provider import BASE_URL, FILE_BYTES, HuggingChat
from fanout.chats.huggingchat.reader import Send
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import (
    AuthError,
    InvalidRequest,
    LoginRequired,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    Truncated,
)
from fanout.errors.parsing import PARSE_ERRORS
from fanout.events import Conversation, Delta, End, Event, File, Reasoning, Replace, Status, Title
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.transports.fetch import fetch
from fanout.transports.httpx import HttpxTransport
from tests.providers.exchange import Exchange, exchange, text_in
from tests.servers import huggingchat as server_of
from tests.servers.http import Received
from tests.servers.huggingchat import (
    BLANKS,
    FINISHED,
    HANG,
    NO_ACCESS,
    STARTED,
    Generation,
    HuggingChatServer,
    Refusal,
    answer,
    final,
    form_of,
    open_server,
    recorded,
    token,
)

GENERATIONS: tuple[Generation, ...] = (2025, 202506, 2026)
RECORDED_GENERATIONS: tuple[Generation, ...] = (2025, 2026)
BEGINNING = {2025: ["create", "leaf data"], 202506: ["create", "leaf data", "leaf v2"], 2026: ["create"]}
LEAF = {2025: "leaf data", 202506: "leaf v2", 2026: "leaf v2"}
COMMAND = "fanout login huggingchat"
CHAT = "c0ffee000000000000000001"
ROOT = "aaaaaaaa-0000-4000-8000-000000000001"
LOGIN = Credentials(
    "huggingchat", BASE_URL, {"hf-chat": Secret("session-1"), "token": Secret("account-1"), "lb": Secret("a")}
)
COOKIE = "hf-chat=session-1; Path=/chat; Expires=Thu, 15 Jan 2026 00:00:00 GMT; HttpOnly; SameSite=Lax"
EXPIRES = datetime(2026, 1, 15, tzinfo=UTC)


def provider(model: str | None = "org/text", **fields: Any) -> HuggingChat:
    numbers = count(1)
    return HuggingChat(model, uuid=lambda: f"bbbbbbbb-0000-4000-8000-{next(numbers):012}", **fields)


def prompt_of(*texts: str, **fields: Any) -> Prompt:
    """A conversation of the user and the assistant in turn."""
    roles = ("user", "assistant")
    return Prompt(tuple(Message(roles[i % 2], text) for i, text in enumerate(texts)), **fields)


def json_reply(value: Any, status: int = 200, *cookies: str) -> Reply:
    return Reply(Head(status, {"content-type": "application/json"}, cookies), json.dumps(value).encode())


def created(generation: Generation = 2026, *cookies: str) -> Reply:
    messages = [{"id": ROOT, "from": "system", "content": "", "ancestors": []}]
    whole = {"conversation": json.dumps({"json": {"messages": messages}})} if generation == 2026 else {}
    return json_reply({"conversationId": CHAT, **whole}, 200, *cookies)


def page(*messages: Any) -> Reply:
    nodes = [{"type": "skip"}, {"type": "data", "data": server_of.flattened({"messages": [*messages]})}]
    return json_reply({"type": "data", "nodes": nodes})


def run(provider: HuggingChat, prompt: Prompt | str, replies: Iterable[Reply] = ()) -> tuple[list[Request], Send]:
    """The requests of a flow that is given these replies, and the last one."""
    flow = provider.flow(Prompt.of(prompt))
    requests = [next(flow)]
    for reply in replies:
        try:
            requests.append(flow.send(reply))
        except StopIteration as last:
            sent = last.value
    assert isinstance(sent, Send)
    return requests, sent


def send(prompt: Prompt | str = "Hi", generation: Generation = 2026, **fields: Any) -> Send:
    leaf = [page({"id": ROOT, "from": "system", "content": ""})] if generation == 2025 else []
    return run(provider(**fields), prompt, [created(generation), *leaf])[1]


def parts_of(request: Request) -> list[server_of.Part]:
    return form_of(Received(request.method, request.url, request.plain_headers(), request.body))


def settings_of(request: Request) -> dict[str, Any]:
    found = json.loads(parts_of(request)[0].data)
    assert isinstance(found, dict)
    return found


def refusal(reply: Reply, **fields: Any) -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        run(provider(**fields), "Hi", [reply])
    return refused.value


def test_a_conversation_begins_with_a_request_for_one() -> None:
    (create,), _ = run(provider(), Prompt.of("Hi", "Be brief."), [created()])
    assert (create.method, create.url) == ("POST", "https://huggingface.co/chat/conversation")
    assert json.loads(create.body) == {"model": "org/text", "preprompt": "Be brief."}
    headers = create.plain_headers()
    assert headers["origin"] == "https://huggingface.co"
    assert (headers["accept"], headers["content-type"]) == ("*/*", "application/json")
    assert "cookie" not in headers


def test_a_message_is_a_form_from_the_page_of_its_conversation() -> None:
    request = send()
    assert (request.method, request.url) == ("POST", f"https://huggingface.co/chat/conversation/{CHAT}")
    headers = request.plain_headers()
    assert headers["origin"] == "https://huggingface.co"
    assert headers["referer"] == f"https://huggingface.co/chat/conversation/{CHAT}"
    (part,) = parts_of(request)
    assert (part.name, part.filename, part.media_type) == ("data", None, None)
    assert settings_of(request) == {
        "inputs": "Hi",
        "id": ROOT,
        "is_retry": False,
        "is_continue": False,
        "web_search": False,
        "tools": [],
        "generationId": "bbbbbbbb-0000-4000-8000-000000000001",
    }


def test_a_server_of_2025_is_given_no_name_for_the_run_and_may_search_the_web() -> None:
    assert "generationId" not in settings_of(send(generation=2025))
    assert settings_of(send(generation=2025, web_search=True))["web_search"] is True
    with pytest.raises(InvalidRequest, match="searches no web"):
        send(web_search=True)


RECORDED = {
    2025: ("create a conversation", "leaf id", "first message"),
    2026: ("create a conversation", None, "first message"),
}


@pytest.mark.parametrize("generation", RECORDED_GENERATIONS)
def test_the_requests_are_those_that_were_recorded(generation: Generation) -> None:
    found = {known.name: known for known in recorded(generation)}
    create, leaf, message = (found.get(name or "") for name in RECORDED[generation])
    assert create and message
    root = "http://127.0.0.1:8000"
    text = json.loads(message.request["multipart"][0]["text"])
    replies = [
        Reply(Head(200, known.headers, known.set_cookie), b"".join(known.chunks)) for known in (create, leaf) if known
    ]
    asked = provider(create.request["json"]["model"], base_url=root)
    requests, sent = run(asked, text["inputs"], replies)
    for request, known in zip([*requests, sent], filter(None, (create, leaf, message)), strict=True):
        assert (request.method, request.url) == (known.request["method"], root + known.request["target"])
        headers = request.plain_headers()
        for name in ("accept", "cookie", "origin", "referer"):
            if name in known.request["headers"]:
                assert headers[name] == known.request["headers"][name]
    assert json.loads(requests[0].body) == create.request["json"]
    assert settings_of(sent) == text


def test_the_path_of_the_base_url_is_no_part_of_the_origin() -> None:
    (create,), sent = run(provider(base_url="http://127.0.0.1:81/some/path/"), "Hi", [created()])
    assert create.url == "http://127.0.0.1:81/some/path/conversation"
    assert sent.url == f"http://127.0.0.1:81/some/path/conversation/{CHAT}"
    assert sent.plain_headers()["origin"] == "http://127.0.0.1:81"


def test_a_login_is_sent_with_its_browsers_headers() -> None:
    login = evolve(LOGIN, headers={"user-agent": "Mine"})
    (create,), sent = run(provider(credentials=login), "Hi", [created(2026, COOKIE)])
    for request in (create, sent):
        headers = request.plain_headers()
        assert headers["cookie"] == "hf-chat=session-1; token=account-1; lb=a"
        assert headers["user-agent"] == "Mine"
        assert "accept-language" not in headers
        assert "session-1" not in repr(request)


def test_a_session_that_the_server_begins_is_kept_for_the_conversation() -> None:
    _, sent = run(provider(), "Hi", [created(2026, COOKIE)])
    assert sent.plain_headers()["cookie"] == "hf-chat=session-1"
    _, sent = run(provider(cookie_name="mine"), "Hi", [created(2026, COOKIE, "mine=2; Path=/")])
    assert sent.plain_headers()["cookie"] == "mine=2"
    login = Credentials("huggingchat", BASE_URL, {"token": Secret("account-1")})
    _, sent = run(provider(credentials=login), "Hi", [created(2026, COOKIE)])
    assert sent.plain_headers()["cookie"] == "token=account-1; hf-chat=session-1"


@pytest.mark.parametrize("cookie", ["hf-chat=other; Path=/", "hf-chat=; Path=/", "hf-chat=session-1; Max-Age=0"])
def test_another_session_than_the_one_sent_means_that_the_login_is_over(cookie: str) -> None:
    error = refusal(created(2026, cookie), credentials=LOGIN)
    assert isinstance(error, LoginRequired)
    assert error.command == COMMAND


def test_a_login_goes_to_its_own_origin_only_and_over_https() -> None:
    with pytest.raises(LoginRequired, match=r"https://huggingface.co, and is not sent to http://127.0.0.1"):
        run(provider(credentials=LOGIN, base_url="http://127.0.0.1:1"), "Hi")
    plain = evolve(LOGIN, base_url="http://chat.test")
    with pytest.raises(InvalidRequest, match="over https only"):
        run(provider(credentials=plain, base_url="http://chat.test"), "Hi")
    run(provider(credentials=plain, base_url="http://chat.test", insecure=True), "Hi", [created()])
    for url in ("http://[::1]:8", "http://10.0.0.5:3000", "http://chat:3000"):
        run(provider(credentials=evolve(LOGIN, base_url=url), base_url=url), "Hi", [created()])


def test_a_new_conversation_is_given_the_whole_history_as_one_text() -> None:
    system = Message("system", "Be brief.")
    messages = (system, *prompt_of("Hi", "Hello", "And?").messages)
    (create,), sent = run(provider(), Prompt(messages), [created()])
    assert json.loads(create.body)["preprompt"] == "Be brief."
    assert settings_of(sent)["inputs"] == "User: Hi\nAssistant: Hello\nUser: And?\nAssistant:"


@pytest.mark.parametrize(
    ("prompt", "fields", "words"),
    [
        (prompt_of("Hi", options=Options(temperature=0.5)), {}, "no option temperature"),
        (prompt_of("Hi", options=Options(max_tokens=5, seed=1)), {}, "no option max_tokens or seed"),
        (Prompt((Message("system", "Be brief."),)), {}, "needs a user's message"),
        (Prompt((Message("user", " ", media=(Media(b"x"),)),)), {}, "needs a user's message"),
        (Prompt((Message("user", "Hi"), Message("tool", "5"))), {}, "knows no tools"),
        (Prompt((Message("user", "Hi"), Message("assistant", "", tool_uses=(ToolUse("1", "f", "{}"),)))), {}, "tools"),
        (Prompt((Message("user", "Hi", media=(Media(url="https://x.test/y.png"),)),)), {}, "as bytes only"),
        (Prompt((Message("user", "Hi", media=(Media(b""),)),)), {}, "files of 1 to"),
        (Prompt((Message("user", "Hi", media=(Media(b"x" * (FILE_BYTES + 1)),)),)), {}, "files of 1 to"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(prompt: Prompt, fields: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        next(provider(**fields).flow(prompt))


def test_files_go_as_base64_beside_the_text() -> None:
    old = Message("user", "Old", media=(Media(b"old"),))
    media = (Media(b"\x89PNG", media_type="image/png", name='a"b.png'), Media(b"x", media_type="image/svg+xml"))
    messages = (old, Message("assistant", "Yes"), Message("user", "Look", media=media))
    _, first, second = parts_of(send(Prompt(messages)))
    assert (first.name, first.filename, first.media_type) == ("files", "base64;a%22b.png", "image/png")
    assert first.data == b"iVBORw=="
    assert (second.filename, second.media_type, second.data) == ("base64;file.svg", "image/svg+xml", b"eA==")


def test_the_body_of_the_options_comes_last() -> None:
    body = {"tools": ["000000000000000000000001"], "timezone": "UTC"}
    made = settings_of(send(prompt_of("Hi", options=Options(body=body))))
    assert (made["tools"], made["timezone"], made["inputs"]) == (body["tools"], "UTC", "Hi")


def test_without_a_model_the_first_of_the_list_is_asked() -> None:
    (models, create), sent = run(provider(None), "Hi", [json_reply([{"id": "org/a"}, {"id": "org/b"}]), created()])
    assert (models.method, models.url) == ("GET", f"{BASE_URL}/api/models")
    assert json.loads(create.body)["model"] == sent.model == "org/a"
    with pytest.raises(ProtocolError, match="no model"):
        run(provider(None), "Hi", [json_reply([])])


@pytest.mark.parametrize("generation", RECORDED_GENERATIONS)
def test_the_recorded_models_are_listed(generation: Generation) -> None:
    exchange = next(found for found in recorded(generation) if found.name == "models, plain list")
    asked = provider(credentials=LOGIN)
    request = asked.models_request()
    assert request.url == BASE_URL + exchange.request["target"]
    assert request.headers["cookie"] == LOGIN.cookie
    names = asked.models(Reply(Head(200, exchange.headers), b"".join(exchange.chunks)))
    assert names == {2025: ["org/text", "org/vision"], 2026: ["smollm2"]}[generation]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (json_reply({}), ProtocolError),
        (Reply(Head(200, {"content-type": "text/html"}), b"<html>"), ProtocolError),
        (Reply(Head(401), b"You have to be logged in."), LoginRequired),
    ],
)
def test_a_reply_without_models_is_an_error(reply: Reply, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        provider().models(reply)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (json_reply({"message": "Invalid request"}, 400), NotFound, "no model org/text"),
        (json_reply({}), ProtocolError, "without an id"),
        (json_reply({"conversationId": "../x"}), ProtocolError, "without an id"),
        (json_reply({"conversationId": CHAT, "conversation": '{"json":{"messages":[]}}'}), ProtocolError, "without me"),
        (json_reply([]), ProtocolError, "no object"),
        (Reply(Head(200, {"content-type": "text/html"}), b"<!doctype html>"), NotAStream, "base URL"),
        (Reply(Head(302, {"location": "https://id.test"}, (COOKIE,)), b""), LoginRequired, "asks for a login"),
        (Reply(Head(401), b"You have to be logged in."), LoginRequired, "have to be logged in"),
    ],
)
def test_no_conversation_begins_without_a_sound_reply(reply: Reply, kind: type[ProviderError], words: str) -> None:
    error = refusal(reply)
    assert type(error) is kind
    assert words in error.message


ODD = st.recursive(
    st.none() | st.integers(-3, 9) | st.text(max_size=3) | st.sampled_from(["data", "error", "messages", ROOT]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "nodes", "data", "json", "messages", "id", "from", "error", "status"]), inner
        )
    ),
    max_leaves=20,
)


@given(st.lists(ODD, max_size=2), st.sampled_from([200, 403, 404]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_no_reply_is_too_odd(values: list[Any], status: int, begun: bool) -> None:
    state = send().state
    prompt = prompt_of("Hi", "Hello", "And?", state=None if begun else {**state, "api": "data"})
    flow = provider().flow(prompt)
    next(flow)
    try:
        for value in [{"conversationId": CHAT}, *values] if begun else values:
            flow.send(json_reply(value, status))
    except (ProviderError, StopIteration, *PARSE_ERRORS):
        pass  # what the engine makes typed errors of


# A conversation that goes on.


def later(state: Any, **fields: Any) -> Prompt:
    return prompt_of("Hi", "Hello", "And?", state=state, **fields)


ANSWERED = (
    {"id": ROOT, "from": "system", "content": "", "ancestors": []},
    {"id": "u1", "from": "user", "content": "Hi", "ancestors": [ROOT]},
    {"id": "a1", "from": "assistant", "content": "Hello", "ancestors": [ROOT, "u1"]},
)


def test_the_state_is_plain_data_without_secrets() -> None:
    _, sent = run(provider(credentials=LOGIN), "Hi", [created(2026, COOKIE)])
    text = json.dumps(sent.state)
    assert json.loads(text) == sent.state
    assert "session-1" not in text and "account-1" not in text
    assert sent.state["conversation"] == CHAT


@pytest.mark.parametrize(
    ("generation", "replies", "paths"),
    [
        (2026, [json_reply({"json": {"messages": ANSWERED}})], ["/api/v2/conversations/"]),
        (2025, [page(*ANSWERED)], ["/conversation/"]),
        (
            2026,
            [Reply(Head(200, {"content-type": "text/html"}), b"<!doctype html>"), page(*ANSWERED)],
            ["/api/v2/conversations/", "/conversation/"],
        ),
        (
            2025,
            [
                json_reply({"type": "data", "nodes": [{"type": "skip"}, None]}),
                json_reply({"json": {"messages": ANSWERED}}),
            ],
            ["/conversation/", "/api/v2/conversations/"],
        ),
    ],
)
def test_a_conversation_goes_on_also_at_a_server_of_the_other_generation(
    generation: Generation, replies: list[Reply], paths: list[str]
) -> None:
    state = send(generation=generation).state
    requests, sent = run(provider(), later(state), replies)
    assert [request.url.removeprefix(BASE_URL).partition(CHAT)[0] for request in requests] == paths
    assert (settings_of(sent)["inputs"], settings_of(sent)["id"]) == ("And?", "a1")
    assert ("generationId" in settings_of(sent)) == ("v2" in paths[-1])
    assert sent.conversation == CHAT
    assert sent.state["leaf"] == "a1"


def test_a_server_that_has_conversations_nowhere_is_a_protocol_error() -> None:
    elsewhere = Reply(Head(200, {"content-type": "text/html"}), b"<!doctype html>")
    with pytest.raises(ProtocolError, match="neither"):
        run(provider(), later(send().state), [elsewhere, elsewhere])


@pytest.mark.parametrize(
    "lost",
    [
        json_reply({"message": "Conversation not found."}, 404),
        json_reply({"message": NO_ACCESS}, 403),
        json_reply({"message": "Invalid conversation ID format"}, 400),
        Reply(Head(500, {"content-type": "text/plain"}), b"Conversation not found."),
        Reply(Head(500, {"content-type": "text/plain"}), NO_ACCESS.encode()),
        Reply(Head(500, {"content-type": "text/plain"}), b"Invalid conversation ID format"),
        json_reply({"message": "Conversation not found"}, 500),
        json_reply({"error": "Conversation not found."}, 410),
    ],
)
def test_a_lost_conversation_begins_anew_with_the_whole_history(lost: Reply) -> None:
    requests, sent = run(provider(), later(send().state), [lost, created()])
    assert [request.method for request in requests] == ["GET", "POST"]
    assert settings_of(sent)["inputs"] == "User: Hi\nAssistant: Hello\nUser: And?\nAssistant:"
    assert sent.conversation is None


@pytest.mark.parametrize("status", [{"status": 403}, {"status": 404}, {"status": 500}, {}])
@pytest.mark.parametrize("words", [NO_ACCESS, "Conversation not found."])
def test_a_lost_conversation_of_2025_is_told_by_the_page(words: str, status: dict[str, int]) -> None:
    node = {"type": "error", "error": {"message": words}, **status}
    lost = json_reply({"type": "data", "nodes": [{"type": "skip"}, node]})
    requests, _ = run(provider(), later(send(generation=2025).state), [lost, created()])
    assert [request.method for request in requests] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (json_reply({"message": "An error occurred", "errorId": "e"}, 500), ServerError),
        (Reply(Head(401), b"You have to be logged in."), LoginRequired),
        (json_reply({"json": {"messages": []}}), ProtocolError),
    ],
)
def test_a_conversation_that_is_not_lost_is_not_begun_anew(reply: Reply, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        run(provider(), later(send().state), [reply])


OTHER = evolve(LOGIN, cookies={**LOGIN.cookies, "hf-chat": Secret("session-2")})


@pytest.mark.parametrize(
    "other",
    [
        provider("org/other", credentials=LOGIN),
        provider(credentials=OTHER),
        provider(credentials=evolve(LOGIN, cookies={**LOGIN.cookies, "token": Secret("account-2")})),
        provider(),
        provider(credentials=evolve(LOGIN, base_url="https://chat.test"), base_url="https://chat.test"),
        provider(credentials=LOGIN, lost=frozenset({CHAT})),
    ],
)
def test_another_model_account_or_server_begins_anew(other: HuggingChat) -> None:
    _, sent = run(provider(credentials=LOGIN), "Hi", [created(2026, COOKIE)])
    (create,), sent = run(other, later(sent.state), [created()])
    assert (create.method, sent.conversation) == ("POST", None)
    assert settings_of(sent)["inputs"].startswith("User: Hi\n")


def test_a_cookie_that_is_none_of_the_logins_changes_no_account() -> None:
    _, first = run(provider(credentials=LOGIN), "Hi", [created(2026, COOKIE)])
    moved = evolve(LOGIN, cookies={**LOGIN.cookies, "lb": Secret("b")})
    _, sent = run(provider(credentials=moved), later(first.state), [json_reply({"json": {"messages": ANSWERED}})])
    assert sent.conversation == CHAT


def test_a_conversation_that_is_full_or_deleted_is_left_once() -> None:
    form = provider()
    lost = ConversationLost("full", conversation=CHAT)
    adapted = form.adapted(lost)
    assert adapted == evolve(form, lost=frozenset({CHAT}))
    assert adapted is not None and adapted.adapted(lost) is None
    assert form.adapted(ConversationLost("new", conversation=None)) is None
    assert form.adapted(NotFound("no model")) is None


# What else the engine asks of a provider.


def test_a_response_that_is_none_of_a_message_has_no_conversation() -> None:
    reader = provider().read(Head(200, {"content-type": "application/jsonl"}))
    data = b'{"type":"finalAnswer","text":"Hi","interrupted":false}\n'
    assert reader.feed(data) + reader.close() == [Delta("Hi"), End(Status.FINISHED, "stop")]


def test_a_gateway_may_answer_with_the_status_that_something_was_created() -> None:
    made = json_reply({"conversationId": CHAT}, 201)
    assert run(provider(), "Hi", [made, page({"id": ROOT, "from": "system", "content": ""})])[1].conversation is None
    reader = provider().read(Head(201, {"content-type": "application/jsonl"}))
    assert reader.feed(b'{"type":"finalAnswer","text":"Hi","interrupted":false}\n') == [Delta("Hi")]
    assert provider(credentials=LOGIN).renewed(Head(201, set_cookie=(COOKIE,))) is not None


def test_a_refused_message_is_judged_with_its_conversation() -> None:
    sent = run(provider(), later(send().state), [json_reply({"json": {"messages": ANSWERED}})])[1]
    reader = provider().read(Head(404, {"content-type": "application/json"}), sent)
    (end,) = reader.feed(b'{"message":"Conversation not found"}') + reader.close()
    assert isinstance(end, End) and isinstance(end.error, ConversationLost)
    assert end.error.conversation == CHAT


def reader_after(*data: bytes, status: int = 200) -> Reader:
    reader = provider().read(Head(status, {"content-type": "application/jsonl"}), send())
    for chunk in data:
        reader.feed(chunk)
    return reader


def test_an_answer_that_is_cut_off_is_stopped_at_the_service() -> None:
    _, sent = run(provider(), "Hi", [created(2026, COOKIE)])
    for reader in (None, reader_after(), reader_after(b'{"type":"stream","token":"a"}\n')):
        stop = provider().farewell(sent, reader)
        assert stop is not None
        assert (stop.method, stop.url, stop.body) == ("POST", f"{sent.url}/stop-generating", b"")
        headers = stop.plain_headers()
        assert (headers["cookie"], headers["origin"]) == ("hf-chat=session-1", "https://huggingface.co")
        assert "content-type" not in headers


def test_there_is_nothing_to_stop_before_the_message_or_after_the_answer() -> None:
    (create,), sent = run(provider(), "Hi", [created()])
    assert provider().farewell(create, None) is None
    done = reader_after(b'{"type":"finalAnswer","text":"a","interrupted":false}\n')
    assert provider().farewell(sent, done) is None
    assert provider().farewell(sent, reader_after(status=401)) is None


def test_a_response_renews_the_expiry_and_the_cookies_that_there_are() -> None:
    asked = provider(credentials=LOGIN)
    renewed = asked.renewed(Head(200, set_cookie=(COOKIE, "lb=b; Path=/", "stranger=1")))
    assert renewed == evolve(LOGIN, cookies={**LOGIN.cookies, "lb": Secret("b")}, expires=EXPIRES)
    assert evolve(asked, credentials=renewed).renewed(Head(200, set_cookie=(COOKIE,))) is None
    bare = Credentials("huggingchat", BASE_URL, {"token": Secret("account-1")})
    found = provider(credentials=bare).renewed(Head(200, set_cookie=("hf-chat=new; Expires=junk",)))
    assert found == evolve(bare, cookies={**bare.cookies, "hf-chat": Secret("new")})


@pytest.mark.parametrize(
    ("status", "cookie"),
    [
        (302, COOKIE),
        (401, COOKIE),
        (200, "hf-chat=other; Path=/"),
        (200, "hf-chat=; Path=/"),
        (200, "hf-chat=session-1; Max-Age=0"),
        (200, "hf-chat=session-1; Max-Age=-1"),
        (200, "lb=b"),
        (200, ""),
    ],
)
def test_a_refusal_or_another_session_renews_nothing(status: int, cookie: str) -> None:
    assert provider(credentials=LOGIN).renewed(Head(status, set_cookie=(cookie,))) is None


def test_a_session_without_login_is_worth_keeping_too() -> None:
    renewed = provider().renewed(Head(200, set_cookie=(COOKIE,)))
    cookies = {"hf-chat": Secret("session-1")}
    assert renewed == Credentials("huggingchat", BASE_URL, cookies, expires=EXPIRES, source="anonymous")
    assert provider().renewed(Head(200)) is None


# Over real sockets.


def state_of(done: Exchange) -> Any:
    (conversation,) = (event for event in done.events if isinstance(event, Conversation))
    return conversation.state


def logged_in(server: HuggingChatServer, user: str = "user-1", **fields: Any) -> HuggingChat:
    cookies = {name: Secret(value) for name, value in server.log_in(user).items()}
    login = Credentials("huggingchat", server.base_url, cookies)
    return HuggingChat("org/text", base_url=server.base_url, credentials=login, **fields)


@pytest.mark.parametrize("prefix", ["", "/chat"])
@pytest.mark.parametrize("generation", GENERATIONS)
async def test_it_wins_a_race_over_a_real_socket(generation: Generation, prefix: str) -> None:
    async with open_server(generation, prefix=prefix) as server:
        title = {"type": "title", "title": "Whales"}
        server.scripts.append(answer("Hello, world 🌟 of whales", title, generation=generation))
        won = await fanout.race("Hi", [HuggingChat("org/text", base_url=server.base_url)], system="Be brief.")
    assert (won.text, won.title, won.finish_reason) == ("Hello, world 🌟 of whales", "Whales", "stop")
    assert (won.provider, won.model) == ("huggingchat", "org/text")
    assert server.log == [*BEGINNING[generation], "send"]
    (talk,) = server.talks.values()
    assert [message["content"] for message in talk.messages] == ["Be brief.", "Hi", "Hello, world 🌟 of whales"]


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
async def test_bytes_may_be_cut_anywhere(piece: int) -> None:
    async with open_server(piece=piece) as server:
        script = [STARTED, token("<think>Hm</think>"), token("Grüße 🌟"), final("<think>Hm</think>Grüße 🌟"), FINISHED]
        server.scripts.append([*script[:-1], {"type": "title", "title": "Ünder"}, FINISHED])
        run = await fanout.ask("Hi", [HuggingChat("org/text", base_url=server.base_url)])
    (found,) = run.answers
    assert (found.text, found.reasoning, found.title, found.error) == ("Grüße 🌟", "Hm", "Ünder", None)


async def test_a_server_of_2026_that_does_not_tell_the_first_message_is_asked_for_it() -> None:
    async with open_server(tells_first=False) as server:
        ears = await exchange(HuggingChat("org/text", base_url=server.base_url), "Hi")
    assert text_in(ears.events) == "Hello there"
    assert server.log == ["create", "leaf data", "leaf v2", "send"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_conversation_goes_on_over_several_turns(generation: Generation) -> None:
    async with open_server(generation, login=True, prefix="/chat") as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        second = await exchange(asked, prompt_of("Hi", "Hello there", "And?", state=state_of(first)))
        texts = ["Hi", "Hello there", "And?", "Hello there", "So?"]
        await exchange(asked, prompt_of(*texts, state=state_of(second)))
    (talk,) = server.talks.values()
    assert [found["content"] for found in talk.messages] == ["", *texts, "Hello there"]
    line = [found["id"] for found in talk.messages]
    assert talk.messages[-1]["ancestors"] == line[:-1], "no branches"
    leaf = LEAF[generation]
    assert server.log[-4:] == [leaf, "send", leaf, "send"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_after_a_turn_that_failed_the_next_follows_the_last_good_answer(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        server.scripts.append([STARTED, {"type": "status", "status": "error", "message": "Connection error."}])
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        failed = (await exchange(asked, prompt)).events[-1]
        assert isinstance(failed, End) and type(failed.error) is ServerError
        again = await exchange(asked, prompt)
    assert text_in(again.events) == "Hello there"
    (talk,) = server.talks.values()
    good = talk.messages[2]["id"]
    assert [settings["id"] for settings in server.sent[1:]] == [good, good]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_deleted_conversation_is_begun_anew(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        server.talks.clear()
        again = await exchange(asked, prompt_of("Hi", "Hello there", "And?", state=state_of(first)))
    assert text_in(again.events) == "Hello there"
    assert server.sent[-1]["inputs"] == "User: Hi\nAssistant: Hello there\nUser: And?\nAssistant:"
    assert state_of(again)["conversation"] != state_of(first)["conversation"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_another_account_or_model_has_a_conversation_of_its_own(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(await exchange(asked, "Hi")))
        for other in (logged_in(server, "user-2"), evolve(asked, model="org/other")):
            assert text_in((await exchange(other, prompt)).events) == "Hello there"
    assert [talk.model for talk in server.talks.values()] == ["org/text", "org/text", "org/other"]
    assert len({talk.session for talk in server.talks.values()}) == 2


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_an_account_cannot_be_given_anothers_conversation(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked, other = logged_in(server), logged_in(server, "user-2")
        theirs = state_of(await exchange(asked, "Hi"))
        ours = state_of(await exchange(other, "Hi"))
        forged = {**theirs, "account": ours["account"]}
        again = await exchange(other, prompt_of("Hi", "Hello there", "And?", state=forged))
    assert text_in(again.events) == "Hello there"
    assert state_of(again)["conversation"] not in (theirs["conversation"], ours["conversation"])


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_two_prompts_at_once_in_one_conversation_are_two_branches_of_it(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        script = answer("One", 0.05, generation=generation)
        server.scripts += [script, script]
        found: list[Exchange] = []

        async def go_on(text: str) -> None:
            found.append(await exchange(asked, prompt_of("Hi", "Hello there", text, state=state_of(first))))

        async with trio.open_nursery() as nursery:
            for text in ("And?", "So?"):
                nursery.start_soon(go_on, text)
        assert [text_in(ears.events) for ears in found] == ["One", "One"]
        (talk,) = server.talks.values()
        good = talk.messages[2]["id"]
        assert [settings["id"] for settings in server.sent[1:]] == [good, good]
        states = [state_of(ears) for ears in found]
        for state in states:
            await exchange(asked, prompt_of("Hi", "Hello there", "?", "One", "More", state=state))
    leaves = [talk.message(settings["id"]) for settings in server.sent[-2:]]
    assert all(leaf and leaf["content"] == "One" for leaf in leaves)
    if generation == 2026:  # whose answers have names of ours
        assert leaves[0] is not leaves[1]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_without_a_login_the_service_asks_for_one_and_is_not_followed_elsewhere(generation: Generation) -> None:
    async with open_server(generation, login=True) as server:
        asked = HuggingChat("org/text", base_url=server.base_url)
        run = await fanout.ask("Hi", [asked, evolve(asked, credentials=None)])
        for found in run.answers:
            assert isinstance(found.error, LoginRequired)
            assert found.error.command == f"{COMMAND} --base-url {server.base_url}"
        assert {request.target for request in server.requests} == {"/conversation"}
        assert text_in((await exchange(logged_in(server), "Hi")).events) == "Hello there"


async def test_a_session_whose_account_cookie_is_missing_is_a_login_that_is_over() -> None:
    async with open_server(coupled=True) as server:
        asked = logged_in(server)
        assert asked.credentials
        assert text_in((await exchange(asked, "Hi")).events) == "Hello there"
        cookies = {name: value for name, value in asked.credentials.cookies.items() if name != "token"}
        with pytest.raises(LoginRequired, match="dropped the session"):
            await exchange(evolve(asked, credentials=evolve(asked.credentials, cookies=cookies)), "Hi")


async def test_cookies_that_the_service_rotates_are_renewed_and_the_conversation_goes_on() -> None:
    async with open_server() as server:
        asked = logged_in(server)
        assert asked.credentials
        login = evolve(asked.credentials, cookies={**asked.credentials.cookies, "lb": Secret("a")})
        server.cookies.append("lb=b; Path=/")
        asked = evolve(asked, credentials=login)
        first = await exchange(asked, "Hi")
        renewed = asked.renewed(first.heads[-1])
        assert renewed == evolve(login, cookies={**login.cookies, "lb": Secret("b")}, expires=EXPIRES)
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        await exchange(evolve(asked, credentials=renewed), prompt)
    assert len(server.talks) == 1
    assert "lb=b" in server.requests[-1].headers["cookie"]


async def test_a_session_without_login_that_was_kept_goes_on() -> None:
    async with open_server() as server:
        asked = HuggingChat("org/text", base_url=server.base_url)
        first = await exchange(asked, "Hi")
        kept = evolve(asked, credentials=asked.renewed(first.heads[-1]))
        await exchange(kept, prompt_of("Hi", "Hello there", "And?", state=state_of(first)))
        await exchange(asked, prompt_of("Hi", "Hello there", "And?", state=state_of(first)))
    assert [len(talk.messages) for talk in server.talks.values()] == [5, 3]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_files_go_in_and_come_out(generation: Generation) -> None:
    async with open_server(generation) as server:
        made = {"type": "file", "name": "cat.webp", "sha": "5ha", "mime": "image/webp"}
        server.scripts.append(answer("A cat", made, generation=generation))
        media = (Media(b"\x89PNG", media_type="image/png", name="dot.png"),)
        ears = await exchange(logged_in(server), Prompt((Message("user", "Draw", media=media),)))
        (file,) = (event for event in ears.events if isinstance(event, File))
        async with HttpxTransport() as transport:
            reply = await fetch(transport, file.fetch, 5.0)
    assert (reply.head.status, reply.body) == (200, b"bytes of 5ha")
    assert [(part.filename, part.data) for part in server.files] == [("base64;dot.png", b"iVBORw==")]


PICTURE = (Media(b"\x89PNG", media_type="image/png", name="dot.png"),)


def pictured(*texts: str, **fields: Any) -> Prompt:
    """A conversation whose last message has a picture."""
    prompt = prompt_of(*texts, **fields)
    return evolve(prompt, messages=(*prompt.messages[:-1], evolve(prompt.messages[-1], media=PICTURE)))


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_without_a_model_a_picture_goes_to_the_first_that_takes_it(generation: Generation) -> None:
    async with open_server(generation) as server:
        server.models.append(server_of.model("org/vision", multimodal=True))
        server.models.append(server_of.model("org/vision-2", multimodal=True))
        asked = HuggingChat(base_url=server.base_url)
        (found,) = (await fanout.ask(pictured("Look"), [asked])).answers
        (plain,) = (await fanout.ask("Hi", [asked])).answers
    assert (found.text, found.model) == ("Hello there", "org/vision")
    assert (plain.text, plain.model) == ("Hello there", "org/text")
    assert [talk.model for talk in server.talks.values()] == ["org/vision", "org/text"]
    assert [(part.filename, part.data) for part in server.files] == [("base64;dot.png", b"iVBORw==")]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_picture_that_no_model_takes_is_an_invalid_request(generation: Generation) -> None:
    async with open_server(generation) as server:
        (found,) = (await fanout.ask(pictured("Look"), [HuggingChat(base_url=server.base_url)])).answers
    assert isinstance(found.error, InvalidRequest)
    assert server.log == ["models"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_picture_leaves_the_conversation_of_a_model_that_does_not_take_it(generation: Generation) -> None:
    async with open_server(generation) as server:
        server.models.append(server_of.model("org/vision", multimodal=True))
        asked = evolve(logged_in(server), model=None)
        first = await exchange(asked, "Hi")
        second = await exchange(asked, pictured("Hi", "Hello there", "Look", state=state_of(first)))
        texts = ("Hi", "Hello there", "Look", "Hello there", "And this")
        third = await exchange(asked, pictured(*texts, state=state_of(second)))
        await exchange(asked, prompt_of(*texts, "Hello there", "So?", state=state_of(third)))
    assert [talk.model for talk in server.talks.values()] == ["org/text", "org/vision"]
    assert [sent["inputs"] for sent in server.sent] == [
        "Hi",
        "User: Hi\nAssistant: Hello there\nUser: Look\nAssistant:",
        "And this",
        "So?",
    ]


async def test_a_model_that_is_named_is_asked_whatever_the_list_says() -> None:
    async with open_server() as server:
        await exchange(logged_in(server), pictured("Look"))
    assert server.log == ["create", "send"]


STREAMS: list[tuple[list[server_of.Step], type[ProviderError] | None]] = [
    ([STARTED, final("Only at the end"), BLANKS], None),
    ([STARTED, token("Hel"), BLANKS[:100], token("lo"), FINISHED], None),
    ([STARTED, token("Hel"), {"type": "news"}, token("lo"), final("Hello"), BLANKS[:9]], None),
    ([STARTED, token("Hello"), final("Hello", interrupted=True), FINISHED], None),
    ([STARTED, server_of.KEEP_ALIVE * 3000, token("Hi"), final("Hi")], None),
    ([STARTED, token("Hel"), {"type": "status", "status": "error", "message": "Oh"}], ServerError),
    ([STARTED, {"type": "status", "status": "error", "message": "Oh", "statusCode": 429}], RateLimited),
    ([STARTED, {"type": "status", "status": "error", "message": "Oh", "statusCode": 402}], QuotaError),
    ([STARTED, final("", interrupted=True), BLANKS, FINISHED], ServerError),
    ([STARTED, final("")], Truncated),
    ([STARTED, FINISHED], Truncated),
    ([STARTED, token("Hel")], Truncated),
    ([STARTED], Truncated),
    ([], Truncated),
    ([STARTED, b'{"type":"stre'], Truncated),
    ([STARTED, b"junk\n", token("a")], ProtocolError),
    ([b"<!doctype html><title>chat</title>"], NotAStream),
]


@pytest.mark.parametrize(("script", "kind"), STREAMS)
async def test_every_end_of_a_stream_is_whole_or_typed(
    script: list[server_of.Step], kind: type[ProviderError] | None
) -> None:
    async with open_server() as server:
        server.scripts.append(script)
        asked = HuggingChat("org/text", base_url=server.base_url)
        (found,) = (await fanout.ask("Hi", [asked], retries=0)).answers
    assert type(found.error) is (kind or type(None))
    assert found.status is (Status.FAILED if kind else Status.FINISHED)
    assert found.text or kind


REFUSALS: list[tuple[str, Refusal, type[ProviderError]]] = [
    ("create", Refusal(400, {"message": "Invalid request"}), NotFound),
    ("create", Refusal(400, {"message": "Can't start a conversation with an unlisted model"}), InvalidRequest),
    ("create", Refusal(405, {"message": "You need to accept the welcome modal first"}), LoginRequired),
    ("create", Refusal(429, {"message": "You have reached the maximum number of conversations. Delete"}), QuotaError),
    ("create", Refusal(403, "<title>Just a moment...</title>"), NotAStream),
    ("create", Refusal(500, {"message": "An error occurred", "errorId": "e"}), ServerError),
    ("send", Refusal(401, "You have to be logged in."), LoginRequired),
    ("send", Refusal(302, "", ["location: https://id.test/"]), LoginRequired),
    ("send", Refusal(403, "Invalid referer for POST request"), ProtocolError),
    ("send", Refusal(403, {"message": "No."}), AuthError),
    ("send", Refusal(404, {"message": "Conversation not found"}), ConversationLost),
    ("send", Refusal(400, {"message": "Invalid request"}), ProtocolError),
    ("send", Refusal(400, {"message": "Message too long."}), InvalidRequest),
    ("send", Refusal(410, {"message": "Model not available anymore"}), NotFound),
    ("send", Refusal(413, {"message": "File too large, should be <10MB"}), InvalidRequest),
    ("send", Refusal(429, {"message": "You are sending too many messages. Try again later."}), RateLimited),
    ("send", Refusal(429, {"message": "This conversation has more than 500 messages. New"}), ConversationLost),
    ("send", Refusal(429, {"message": "Exceeded number of messages before login"}), LoginRequired),
    ("send", Refusal(500, {"message": "An error occurred", "errorId": "e"}), ServerError),
    ("send", Refusal(503, "<title>Attention Required! | Cloudflare</title>"), NotAStream),
]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("route", "refusal", "kind"), REFUSALS)
async def test_every_refusal_is_the_lanes_typed_error(
    route: str, refusal: Refusal, kind: type[ProviderError], generation: Generation
) -> None:
    async with open_server(generation) as server:
        server.refusals.append((route, refusal))
        asked = HuggingChat("org/text", base_url=server.base_url)
        (found,) = (await fanout.ask("Hi", [asked], retries=0)).answers
    assert type(found.error) is kind
    assert isinstance(found.error, ProviderError) and found.error.status == refusal.status
    assert server.log[-1] == route


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_stale_leaf_is_found_again_when_the_lane_tries_again(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        server.refusals.append(("send", Refusal(500, {"message": "An error occurred", "errorId": "e"})))
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        (found,) = (await fanout.ask(prompt, [asked], retries=1)).answers
    assert (found.text, found.error) == ("Hello there", None)
    leaf = LEAF[generation]
    assert server.log[-4:] == [leaf, "send", leaf, "send"]
    assert len(server.talks) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(429, {"message": "This conversation has more than 500 messages. Start a new one"}),
        Refusal(404, {"message": "Conversation not found"}),
        Refusal(500, "Conversation not found."),
        Refusal(410, {"error": "Conversation not found"}),
        Refusal(500, {"message": "Conversation not found"}),
    ],
)
async def test_a_conversation_that_is_full_or_lost_goes_on_in_a_new_one(refusal: Refusal) -> None:
    async with open_server() as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        server.refusals.append(("send", refusal))
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        with trio.fail_after(5):
            (found,) = (await fanout.ask(prompt, [asked], retries=0)).answers
    assert (found.text, found.error) == ("Hello there", None)
    assert server.log[-4:] == ["leaf v2", "send", "create", "send"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_conversation_that_is_lost_within_its_stream_goes_on_in_a_new_one(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        server.scripts.append([STARTED, {"type": "status", "status": "error", "message": "Conversation not found."}])
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        (found,) = (await fanout.ask(prompt, [asked], retries=0)).answers
    assert (found.text, found.error) == ("Hello there", None)
    assert server.sent[-1]["inputs"] == "User: Hi\nAssistant: Hello there\nUser: And?\nAssistant:"


async def test_a_server_that_loses_every_conversation_is_not_asked_for_ever() -> None:
    async with open_server() as server:
        server.refusals += [("send", Refusal(404, {"message": "Conversation not found"}))] * 9
        with trio.fail_after(5):
            asked = HuggingChat("org/text", base_url=server.base_url)
            (found,) = (await fanout.ask("Hi", [asked], retries=1)).answers
    assert isinstance(found.error, NotFound)
    assert server.log == ["create", "send"] * 2


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_lane_that_is_cut_off_closes_its_connection_and_stops_its_answer_at_the_service(
    generation: Generation,
) -> None:
    async with open_server(generation) as server:
        server.scripts.append([STARTED, token("Once"), HANG])
        asked = HuggingChat("org/text", base_url=server.base_url)
        with trio.fail_after(5):
            async with fanout.open_fanout("Hi", [asked]) as events:
                async for tagged in events:
                    if isinstance(tagged.event, Delta):
                        break
            await server.left.wait()
            await server.stopped.wait()
    assert (server.stops, server.gone) == (1, 1)
    assert [step for step in server.log if "leaf" not in step] == ["create", "send", "stop"]


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_stop_reaches_the_service(generation: Generation) -> None:
    async with open_server(generation) as server:
        server.scripts.append([STARTED, token("Once"), HANG])
        asked = logged_in(server)
        with trio.fail_after(5):
            ears: list[Exchange] = []

            async def ask() -> None:
                ears.append(await exchange(asked, "Hi"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await server.began.wait()
                (talk,) = server.talks.values()
                last = server.requests[-1]
                request = Send("POST", server.origin + last.target, {k: last.headers[k] for k in ("cookie", "origin")})
                stop = asked.farewell(request, None)
                assert stop is not None
                async with HttpxTransport() as transport:
                    reply = await fetch(transport, stop, 5.0)
                if generation != 2026:  # which take no notice
                    nursery.cancel_scope.cancel()
    assert (reply.head.status, server.stops) == (200, 1)
    if generation == 2026:
        end = ears[0].events[-1]
        assert isinstance(end, End) and (end.status, end.raw) == (Status.FINISHED, "interrupted")
        assert talk.messages[-1]["content"] == "Once"


async def test_a_stop_that_meets_with_no_answer_makes_the_next_one_an_error_that_may_be_repeated() -> None:
    async with open_server() as server:
        asked = logged_in(server)
        first = await exchange(asked, "Hi")
        stop = asked.farewell(first.request, None)
        assert stop is not None
        async with HttpxTransport() as transport:
            await fetch(transport, stop, 5.0)
        prompt = prompt_of("Hi", "Hello there", "And?", state=state_of(first))
        end = (await exchange(asked, prompt)).events[-1]
        assert isinstance(end, End) and isinstance(end.error, ServerError)
        assert (end.error.retryable, end.error.retry_after) == (True, 5.0)
        assert text_in((await exchange(asked, prompt)).events) == "Hello there"


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_lane_goes_on_with_what_its_answer_told(generation: Generation) -> None:
    async with open_server(generation) as server:
        asked = logged_in(server)
        (first,) = (await fanout.ask("Hi", [asked])).answers
        assert first.conversation is not None
        prompt = prompt_of("Hi", first.text, "And?", state=first.conversation.state)
        (second,) = (await fanout.ask(prompt, [asked])).answers
    assert (second.text, len(server.talks)) == ("Hello there", 1)
    assert server.sent[-1]["inputs"] == "And?"


async def test_its_lanes_race_and_titles_and_replacements_arrive() -> None:
    async with open_server(2025) as old, open_server(2026) as new:
        old.scripts.append([STARTED, 0.5, token("late"), final("late")])
        script = [STARTED, {"type": "reasoning", "subtype": "stream", "token": "Hm"}, token("Helo"), final("Hello")]
        new.scripts.append([*script, BLANKS, {"type": "title", "title": "T"}, FINISHED])
        lanes = [HuggingChat("org/text", base_url=server.base_url) for server in (old, new)]
        seen: list[Event] = []
        async with fanout.open_fanout("Hi", lanes) as events:
            seen += [tagged.event async for tagged in events]
            run = events.run
    assert run.winner is not None
    assert (run.winner.text, run.winner.reasoning, run.winner.title) == ("Hello", "Hm", "T")
    assert Replace("Hello") in seen and Title("T") in seen and Reasoning("Hm") in seen
