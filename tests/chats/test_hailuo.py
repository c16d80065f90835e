import json
import time
from collections.abc import Callable
from functools import partial
from hashlib import md5
from typing import Any

import pytest
import trio
from attrs import define, evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply, Request
from fanout.answers import Answer
from fanout.catalog import LaneSpec
from fanout.chats.hailuo import FILE_BYTES, Device, Hailuo, search_params, signature, signed_form
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import (
    InvalidRequest,
    LoginRequired,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
    ResetError,
    ServerError,
    Truncated,
)
from fanout.events import Conversation, Delta, End, Event, Replace, Source, Sources, Status, Title
from fanout.policies.all import All
from fanout.prompt import Media, Message, Options, Prompt
from fanout.transports.fetch import fetch
from tests.providers.exchange import end_of, error_of, exchange, read_by, state_of, text_in
from tests.providers.odd import assert_sound, odd_json
from tests.servers import hailuo, website
from tests.servers.hailuo import CLOSE, OK, Account, HailuoServer, event, failure, said, sent
from tests.servers.http import running
from tests.servers.website import BREAK, EVENTS, HANG, HTML, JSON, WALL

CHAT = "333222111000999888"
UUID = "11111111-2222-3333-4444-555555555555"
TALK = (Message("user", "Hi"), Message("assistant", "A whale sings 🐳"), Message("user", "More"))


@define
class Ticking:
    """A clock that is never the same twice, and can be put forward."""

    time: float = 0.0

    def __call__(self) -> float:
        self.time = max(self.time + 0.001, time.time())
        return self.time


def login(base_url: str = "https://www.hailuo.ai", token: str = "t-1", **fields: str) -> Credentials:
    return Credentials("hailuo", base_url, secrets={"token": Secret(token)}, fields=fields)


def provider(**fields: Any) -> Hailuo:
    known = {"credentials": login(uuid=UUID, device_id="123456789"), "now": lambda: 1737774000.0, "uuid": lambda: UUID}
    return Hailuo(**{**known, **fields})


def first(hailuo: Hailuo, prompt: str | Prompt = "Hi", **options: Any) -> Request:
    """The first request, which is the last where a device is known."""
    flow = hailuo.flow(Prompt.of(prompt).with_options(Options(**options)))
    try:
        return next(flow)
    except StopIteration as last:
        request: Request = last.value
        return request


def form(request: Request) -> dict[str, str]:
    """The fields of a request's form."""
    _, _, boundary = request.plain_headers()["content-type"].partition("boundary=")
    fields = {}
    for part in request.body.split(f"--{boundary}".encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        fields[head.decode().partition('name="')[2].rstrip('"')] = value.removesuffix(b"\r\n").decode()
    return fields


# The signature

V1 = (
    f"/v4/api/chat/msg?device_platform=web&biz_id=2&app_id=3001&version_code=22201&lang=en&uuid={UUID}"
    "&device_id=123456789&os_name=Linux&browser_name=chrome&cpu_core_num=8&browser_language=en-US"
    "&browser_platform=Linux+x86_64&screen_width=1920&screen_height=1080&unix=1737774000000"
)
VECTORS: dict[str, tuple[str, str, str | tuple[str, str], str]] = {
    "V1": (V1, "1737774000000", ("Hello, world!", "0"), "7c07107561be6d4b868f3f7847930040"),
    "V2": (
        "/v4/api/chat/msg?a=1",
        "1700000000123",
        ("line one\r\nline two\nline three\rend", "9007199254740993"),
        "a5fa07fb724864fd9ef810f49416b068",
    ),
    "V3": ("/v4/api/chat/msg?q=a%20b&s=%C3%A9", "1", ("Привет, 世界 🐳", "42"), "205322177e3f5a4bc5faa3d966c37f2b"),
    "V4": (
        "/v1/api/user/device/register?unix=1700000000123",
        "1700000000123",
        f'{{"uuid":"{UUID}"}}',
        "28822f76e738951f61aaf9e2b61700e3",
    ),
    "V5": (
        "/v1/api/chat/history/333222111000999888?unix=1700000000123",
        "1700000000123",
        "{}",
        "ec1ac29bdd409f4ffb2ca5a3b8b6d8d0",
    ),
    "V6": ("/v4/api/chat/msg?x=(a)'b'!*~c", "1", ("hi", "0"), "b00f2243414e5691418250444a1fc0b2"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_signature_is_that_of_the_vectors(name: str) -> None:
    target, unix, signed, yy = VECTORS[name]
    if isinstance(signed, tuple):
        text, chat = signed
        signed = signed_form({"characterID": "1", "msgContent": text, "chatID": chat})
        assert len(signed) == 128
    assert signature(target, signed, unix) == yy
    assert hailuo.signed(target, signed, unix) == yy  # the server's own, which shares no code


def test_the_hashes_on_the_way_are_those_of_the_vectors() -> None:
    signed = signed_form({"characterID": "1", "msgContent": "Hello, world!", "chatID": "0"})
    assert signed == (
        "c4ca4238a0b923820dcc509a6f75849b6cd3556deb0da54bca060b4c39479839"
        "cfcd208495d565ef66e7dff9f98764dad41d8cd98f00b204e9800998ecf8427e"
    )
    with_form = signed_form({"characterID": "1", "msgContent": "a", "chatID": "0", "form": "[]"})
    assert with_form[96:] == md5(b"[]").hexdigest()


def test_a_request_is_the_first_vector() -> None:
    request = first(provider(), "Hello, world!")
    assert (request.method, request.url) == ("POST", f"https://www.hailuo.ai{V1}")
    headers = request.plain_headers()
    assert headers.pop("content-type").startswith("multipart/form-data; boundary=----")
    assert headers.pop("user-agent").startswith("Mozilla/5.0 (X11; Linux x86_64)")
    assert headers == {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "accept-language": "en-US,en;q=0.9",
        "origin": "https://www.hailuo.ai",
        "referer": "https://www.hailuo.ai/",
        "token": "t-1",
        "yy": "7c07107561be6d4b868f3f7847930040",
    }
    assert form(request) == {"characterID": "1", "msgContent": "Hello, world!", "chatID": "0", "searchMode": "0"}


def test_a_query_is_encoded_as_by_the_browser() -> None:
    assert search_params({"a b": "~!'()*-._ +&=/é🐳", "n": ""}) == (
        "a+b=%7E%21%27%28%29*-._+%2B%26%3D%2F%C3%A9%F0%9F%90%B3&n="
    )


@given(st.text())
def test_a_query_is_encoded_as_by_the_server(text: str) -> None:
    encoded = search_params({"a": text}).removeprefix("a=")
    assert hailuo.decoded(encoded) == text and hailuo.encoded(text, hailuo._FORM) == encoded


def test_each_request_is_signed_at_its_own_moment() -> None:
    moments = iter([1.0, 2.0])
    made = provider(now=lambda: next(moments))
    assert [first(made).url.partition("&unix=")[2] for _ in range(2)] == ["1000", "2000"]


def test_line_ends_are_sent_though_not_signed() -> None:
    text = "one\r\ntwo\nthree\rfour"
    request = first(provider(), text)
    assert form(request)["msgContent"] == text
    assert request.headers["yy"] == first(provider(), "onetwothreefour").headers["yy"]


def test_half_a_surrogate_pair_in_the_text_is_no_obstacle() -> None:
    assert form(first(provider(), "a\ud83d"))["msgContent"] == "a?"


def test_the_query_tells_of_the_credentials_browser() -> None:
    fields = {"uuid": UUID, "device_id": "7", "os_name": "Mac OS (X)", "screen_width": "800", "unknown": "x"}
    credentials = evolve(
        login(**fields), cookies={"c": Secret("d")}, headers={"user-agent": "Mine", "sec-ch-ua": '"Chrome"'}
    )
    request = first(provider(credentials=credentials))
    assert "&device_id=7&os_name=Mac+OS+%28X%29&browser_name=chrome&" in request.url
    assert "&screen_width=800&screen_height=1080&unix=" in request.url
    headers = request.plain_headers()
    assert (headers["user-agent"], headers["sec-ch-ua"], headers["cookie"]) == ("Mine", '"Chrome"', "c=d")
    assert "accept-language" not in headers


# What is asked


def test_web_search_is_a_mode() -> None:
    assert form(first(provider(web_search=True)))["searchMode"] == "1"


def test_a_conversation_of_messages_is_one_text() -> None:
    messages = (Message("system", "Be brief."), *TALK)
    text = "System: Be brief.\nUser: Hi\nAssistant: A whale sings 🐳\nUser: More\nAssistant:"
    assert form(first(provider(), Prompt(messages)))["msgContent"] == text


STATE = {
    "origin": "https://www.hailuo.ai",
    "account": provider().credentials.account,  # type: ignore[union-attr]
    "character": "1",
    "chat": CHAT,
}


def test_a_conversation_goes_on_with_what_is_new() -> None:
    messages = (*TALK[:2], Message("user", " one "), Message("user", ""), Message("user", "two"))
    request = first(provider(), Prompt(messages, state=STATE))
    assert form(request)["msgContent"] == "one\ntwo"
    assert form(request)["chatID"] == CHAT
    assert request.headers["referer"] == f"https://www.hailuo.ai/?chat={CHAT}"


@pytest.mark.parametrize(
    "other",
    [
        {"origin": "https://hailuoai.com"},
        {"account": "another"},
        {"character": "2"},
        {"chat": 5},
        {"more": 1},
        {"chat": ""},
    ],
)
def test_the_conversation_of_another_account_or_address_begins_anew(other: dict[str, Any]) -> None:
    made = form(first(provider(), Prompt(TALK, state={**STATE, **other})))
    assert made["chatID"] == "0" and made["msgContent"].startswith("User: Hi\n")


@pytest.mark.parametrize(
    ("messages", "options", "words"),
    [
        (TALK, {"temperature": 1.0}, "hailuo has no option temperature"),
        (TALK, {"tools": ({},)}, "hailuo has no option tools"),
        (TALK, {"body": {"a": 1}}, "hailuo takes no JSON"),
        ((Message("user", "u", media=(Media(url="https://x"),)),), {}, "bytes of files and does not fetch https://x"),
        ((Message("user", "u", media=(Media(b""),)),), {}, "files of 1 to 104857600 bytes, not of 0"),
        ((Message("user", "u", media=(Media(b"x" * (FILE_BYTES + 1)),)),), {}, "files of 1 to 104857600 bytes"),
        ((Message("user", " "),), {}, "hailuo needs a user's message"),
    ],
)
def test_what_it_cannot_carry_is_refused_by_name(
    messages: tuple[Message, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        first(provider(), Prompt(messages), **options)


def test_it_has_one_model_of_two_names() -> None:
    assert first(provider(model="MiniMax")) == first(provider(model="minimax")) == first(provider())
    with pytest.raises(NotFound, match="hailuo has one model, MiniMax, not gpt-9"):
        first(provider(model="gpt-9"))


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (None, "hailuo needs a login"),
        (Credentials("hailuo", "https://www.hailuo.ai", {"c": Secret("d")}), "hailuo needs a login"),
        (login("https://hailuoai.com"), r"the login is for https://hailuoai\.com, not for this address"),
    ],
)
def test_without_its_token_a_login_is_needed(credentials: Credentials | None, words: str) -> None:
    with pytest.raises(LoginRequired, match=words) as raised:
        first(provider(credentials=credentials))
    assert raised.value.command == "fanout login hailuo"


def test_a_token_is_not_shown() -> None:
    made = provider(credentials=login(token="planted"))
    assert "planted" not in repr(made) + repr(first(made)) + repr(made.devices)


# The device


def test_a_device_is_registered_where_only_a_token_is_known() -> None:
    clock = Ticking(4e9)
    made = Hailuo(credentials=login(), now=clock, uuid=lambda: UUID)
    flow = made.flow(Prompt.of("Hi"))
    request = next(flow)
    path, _, query = request.url.removeprefix("https://www.hailuo.ai").partition("?")
    assert (request.method, path, request.body) == (
        "POST",
        "/v1/api/user/device/register",
        f'{{"uuid":"{UUID}"}}'.encode(),
    )
    assert "device_id" not in query and f"&uuid={UUID}&" in query
    unix = query.partition("&unix=")[2]
    assert request.headers["yy"] == signature(f"{path}?{query}", f'{{"uuid":"{UUID}"}}', unix)
    with pytest.raises(StopIteration) as last:
        flow.send(Reply(Head(200), b'{"statusInfo":{"code":0,"message":""},"data":{"deviceIDStr":"987"}}'))
    assert f"&uuid={UUID}&device_id=987&" in last.value.value.url
    assert "/v4/api/chat/msg?" in first(made).url  # it is known now
    clock.time += 10800
    assert "/register?" in first(made).url  # and no more


def test_the_uuid_of_the_credentials_is_registered_and_a_number_may_be_one() -> None:
    made = Hailuo(credentials=login(uuid="mine"))
    flow = made.flow(Prompt.of("Hi"))
    assert next(flow).body == b'{"uuid":"mine"}'
    with pytest.raises(StopIteration) as last:
        flow.send(Reply(Head(200), b'{"data":{"deviceIDStr":9007199254740993}}'))
    assert "&uuid=mine&device_id=9007199254740993&" in last.value.value.url


def test_devices_belong_to_accounts_and_may_be_shared() -> None:
    until = time.time() + 60
    devices = {login().account: Device("u", "1", until)}
    assert "/v4/api/chat/msg?" in first(Hailuo(credentials=login(), devices=devices)).url
    assert "/register?" in first(Hailuo(credentials=login(token="t-2"), devices=devices)).url


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(Head(200), b'{"statusInfo":{"code":1004,"message":"no"}}'), ServerError, r"no \(code 1004\)"),
        (Reply(Head(200), b'{"statusInfo":{"code":0},"data":{}}'), ProtocolError, "gave it no number"),
        (Reply(Head(200), b"<html>"), ProtocolError, "not JSON"),
        (Reply(Head(401), b"{}"), LoginRequired, "no reason"),
        (Reply(Head(403, HTML), WALL), NotAStream, "a bot wall"),
    ],
)
def test_a_registration_that_fails_is_a_typed_error(reply: Reply, kind: type[ProviderError], words: str) -> None:
    made = Hailuo(credentials=login())
    flow = made.flow(Prompt.of("Hi"))
    next(flow)
    with pytest.raises(kind, match=words):
        flow.send(reply)
    assert made.devices == {}


# The stream


read = partial(read_by, provider())


BODY = [sent(CHAT), said(CHAT, "A whale"), said(CHAT, "A whale sings.", 0), CLOSE]
DATA = b"".join(BODY)
END = End(Status.FINISHED, "stop")
WHOLE: list[Event] = [Title("Whales"), Delta("A whale sings."), Conversation(STATE), END]

# test_laws.py cuts these everywhere.
STREAMS = {
    "as it is": DATA,
    "a blank after the colon": DATA.replace(b"event:", b"event: ").replace(b"data:", b"data: "),
    "crlf": DATA.replace(b"\n", b"\r\n"),
    "comments": b":hi\n\n" + b":ping\n\n".join(BODY),
    "end by isEnd": b"".join(BODY[:3]),
    "end by type 8": BODY[0] + BODY[1] + said(CHAT, "A whale sings.") + event("last", {"type": 8, "statusInfo": OK}),
    "end by close_chunk": BODY[0] + BODY[1] + said(CHAT, "A whale sings.") + event("close_chunk", {}),
    "end by close_chunk without JSON": BODY[0] + said(CHAT, "A whale sings.") + b"event:close_chunk\ndata:\n\n",
    "end without a blank line": BODY[0] + said(CHAT, "A whale sings.") + CLOSE.rstrip(b"\n"),
    "more after the end": DATA + said(CHAT, "A whale sings. More"),
    "ids as numbers": DATA.replace(f'"{CHAT}"'.encode(), CHAT.encode()),
    "an event without text": BODY[0] + said(CHAT, "") + b"".join(BODY[1:]),
    "the end without text": BODY[0] + said(CHAT, "A whale sings.") + said(CHAT, "", 0),
    "type 3 with a code": BODY[0] + failure(5, "who knows", 3) + b"".join(BODY[1:]),
    "without a blank title": BODY[0] + sent(CHAT, "") + sent(CHAT, None) + b"".join(BODY[1:]),
}


def test_the_first_id_of_an_event_is_the_conversations() -> None:
    state = state_of(read(said("77", "a", 0)))
    assert state is not None and state.state["chat"] == "77"
    assert json.loads(json.dumps(state.state)) == state.state
    assert state_of(read(said(None, "a", 0))) is None


def texts(*contents: str) -> list[Event]:
    results = ({"data": {"messageResult": {"content": content}}} for content in contents)
    events = read(*(b"data:" + json.dumps(result).encode() + b"\n\n" for result in results), CLOSE)
    return [event for event in events if isinstance(event, Delta | Replace)]


@pytest.mark.parametrize(
    ("contents", "events"),
    [
        (["Gr\ufffd", "Grü", "Grüße"], [Delta("Gr"), Delta("ü"), Delta("ße")]),
        (["\ufffd\ufffd", "🐳"], [Delta("🐳")]),
        (["a\ufffd\ufffd", "a\ufffd", "a🐳"], [Delta("a"), Delta("🐳")]),
        (["a\ufffd", "a\ufffdb"], [Delta("a"), Delta("\ufffdb")]),
        (["a\ufffdb\ufffd", "a\ufffdbc"], [Delta("a\ufffdb"), Delta("c")]),
        (["a\ufffd"], [Delta("a"), Delta("\ufffd")]),
        (["\ufffd"], [Delta("\ufffd")]),
        (["a", "a"], [Delta("a")]),
        (["abc", "abX", "abXd"], [Delta("abc"), Replace("abX"), Delta("d")]),
        (["abc", "ab"], [Delta("abc"), Replace("ab")]),
        (["abc", "\ufffd", "abcd"], [Delta("abc"), Delta("d")]),
        (["a", "", "ab"], [Delta("a"), Delta("b")]),
        (["a\ud83d", "a🐳"], [Delta("a"), Delta("🐳")]),
    ],
)
def test_a_text_that_repeats_itself_becomes_what_is_new_in_it(contents: list[str], events: list[Event]) -> None:
    assert texts(*contents) == events


def test_pages_come_once() -> None:
    link = {"detail": "Whales", "url": "https://w.example/"}
    extra = {"netSearchStatus": {"linkDetail": [link, {"detail": "x", "url": "javascript:x"}]}}
    more = {"netSearchStatus": {"linkDetail": [link, {"url": "https://v.example/"}]}}
    events = read(said(CHAT, "a", extra=extra), said(CHAT, "ab", extra=extra), said(CHAT, "ab", 0, extra=more))
    pages = [event for event in events if isinstance(event, Sources)]
    whales = Source("https://w.example/", "Whales")
    assert pages == [Sources([whales]), Sources([whales, Source("https://v.example/")])]


@pytest.mark.parametrize("length", range(len(BODY[0]), len(b"".join(BODY[:2]))))
def test_a_stream_that_is_cut_before_its_end_is_truncated(length: int) -> None:
    events = read(DATA[:length])
    assert type(end_of(events).error) is Truncated
    assert state_of(events) is None and "A whale".startswith(text_in(events))


def test_what_is_held_back_is_released_when_the_connection_breaks() -> None:
    events = read(said(CHAT, "a\ufffd"), error=ResetError("gone"))
    assert text_in(events) == "a\ufffd" and type(end_of(events).error) is ResetError


@pytest.mark.parametrize("before", [b"", DATA[: -len(BODY[2]) - len(CLOSE)]])
@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (failure(1, "wrong sign"), ServerError, "wrong sign (code 1)"),
        (event("error", {"statusInfo": {"code": 9}}), ServerError, "the service gave no reason"),
        (event("close_chunk", {"type": 8, "statusInfo": {"code": 7, "message": "cut"}}), ServerError, "cut (code 7)"),
        (b"data:{no json\n\n", ProtocolError, "not JSON"),
        (b'data:"text"\n\n', ProtocolError, "the answer does not make sense"),
        (b'data:{"data":{"messageResult":7}}\n\n', ProtocolError, "the answer does not make sense"),
    ],
)
def test_an_error_in_the_stream_is_typed_and_keeps_the_text(
    before: bytes, data: bytes, kind: type[ProviderError], words: str
) -> None:
    for chunks in ((before, data), website.pieces(before + data)):
        events = read(*chunks)
        error = end_of(events).error
        assert type(error) is kind and error.message.startswith(words)
        assert text_in(events) == ("A whale" if before else "")


@pytest.mark.parametrize(
    ("head", "data", "kind"),
    [
        (Head(200, JSON), b'{"statusInfo":{"code":1,"message":"no"}}', ServerError),
        (Head(200, JSON), b'{\n "statusInfo": {"code": 1}\n}', ServerError),
        (Head(200, JSON), b'{"statusInfo":{"code":0}}', NotAStream),
        (Head(200, HTML), b"<!doctype html>", NotAStream),
        (Head(200, EVENTS), b"", Truncated),
        (Head(401), b'{"error":"expired"}', LoginRequired),
        (Head(403), b"Forbidden", LoginRequired),
        (Head(302, {"location": "/login"}), b"", LoginRequired),
        (Head(403, HTML), WALL, NotAStream),
        (Head(402), b"", RateLimited),
        (Head(429, {"retry-after": "30"}), b"slow down", RateLimited),
        (Head(500), b"oops", ServerError),
    ],
)
def test_a_refusal_is_typed(head: Head, data: bytes, kind: type[ProviderError]) -> None:
    error = error_of(read, head, data)
    assert type(error) is kind
    assert error.retry_after == (30 if "retry-after" in head.headers else None)
    assert getattr(error, "command", "fanout login hailuo") == "fanout login hailuo"


NAMES = [
    *("type", "statusInfo", "code", "message", "data", "sendResult", "messageResult", "chatID", "chatTitle", "isEnd"),
    *("content", "extra", "netSearchStatus", "linkDetail", "url", "detail", "error"),
]


@given(st.lists(odd_json(NAMES, ["text", CHAT]), max_size=5), st.sampled_from(["", "event:close_chunk\n"]))
@settings(deadline=None, max_examples=60)
def test_no_stream_is_too_odd(values: list[Any], name: str) -> None:
    events = read("".join(f"{name}data:{json.dumps(value)}\n\n" for value in values).encode())
    assert_sound(events)
    for state in filter(None, [state_of(events)]):
        state.state["chat"].encode()


# What becomes of a lane that was cut off


def cut_off(made: Hailuo, prompt: Prompt, data: bytes = BODY[0]) -> Request | None:
    reader = made.read(Head(200, EVENTS))
    reader.feed(data)
    return made.farewell(first(made, prompt), reader)


def test_a_conversation_that_was_cut_off_is_deleted() -> None:
    request = cut_off(provider(), Prompt.of("Hi"))
    assert request is not None
    path, _, query = request.url.removeprefix("https://www.hailuo.ai").partition("?")
    assert (request.method, path, request.body) == ("DELETE", f"/v1/api/chat/history/{CHAT}", b"")
    assert request.headers["yy"] == signature(f"{path}?{query}", "{}", "1737774000000")
    assert request.plain_headers()["token"] == "t-1"


def test_a_conversation_stays_that_was_not_begun_or_is_to_be_kept() -> None:
    assert cut_off(provider(keep=True), Prompt.of("Hi")) is None
    assert cut_off(provider(), Prompt(TALK, state=STATE)) is None
    assert cut_off(provider(), Prompt.of("Hi"), b"") is None
    assert provider().farewell(first(provider()), None) is None


# Over real sockets


def serving(**fields: Any) -> HailuoServer:
    return HailuoServer(**fields)


def at(server: HailuoServer, token: str = "t-1", **fields: Any) -> Hailuo:
    clock = server.now = fields.pop("now", None) or Ticking()
    return Hailuo(base_url=server.url, credentials=login(server.url, token), now=clock, **fields)


async def ask(made: Hailuo, prompt: str | Prompt = "Hi", **settings: Any) -> Answer:
    run = await fanout.ask(prompt, [made], retries=0, **settings)
    return run.answers[0]


async def test_a_token_is_enough() -> None:
    async with running(serving()) as server:
        answer = await ask(at(server), "Sing,\r\n(a)'b'!*~c ß\nwhale\r🐳")
    assert (answer.error, server.wrong) == (None, [])
    assert (answer.text, answer.title, answer.finish_reason) == ("A whale sings 🐳", "Whales", "stop")
    assert server.accounts["t-1"].chats == {CHAT: ["Sing,\r\n(a)'b'!*~c ß\nwhale\r🐳"]}
    assert [request.target.partition("?")[0] for request in server.requests] == [
        "/v1/api/user/device/register",
        "/v4/api/chat/msg",
    ]


async def test_the_bytes_of_the_url_are_those_that_were_signed() -> None:
    # Everything that URL classes like to write otherwise.
    odd = {"os_name": "a(b)'c'!*~d", "browser_platform": "é🐳 +&=/%7e;@:,", "browser_language": '<">\\^`{|}[]'}
    async with running(serving()) as server:
        server.accounts["t-1"].devices[UUID, "5"] = time.time()
        made = evolve(at(server), credentials=login(server.url, uuid=UUID, device_id="5", **odd))
        done = await exchange(made, Prompt.of("Hi"))
    assert server.wrong == []
    assert server.url + server.requests[0].target == done.request.url


async def test_a_conversation_goes_on_with_the_new_message_only() -> None:
    async with running(serving()) as server:
        made = at(server)
        asked = await ask(made)
        assert asked.conversation is not None
        more = await ask(made, Prompt(TALK, state=asked.conversation.state))
        assert more.conversation == asked.conversation
        assert server.accounts["t-1"].chats == {CHAT: ["Hi", "More"]}
        # The state as it comes back from where it was stored.
        stored = json.loads(json.dumps(asked.conversation.state))
        await ask(made, Prompt((*TALK, *TALK[1:]), state=stored))
    assert server.accounts["t-1"].chats == {CHAT: ["Hi", "More", "More"]}
    assert (server.wrong, server.registered) == ([], 1)


PICTURE = Media(b"\x89PNG", media_type="image/png", name="Grüße.png")
PAPER = Media(b"%PDF", media_type="application/pdf")


async def test_files_are_stored_and_named_in_the_message_in_their_order() -> None:
    async with running(serving()) as server:
        answer = await ask(at(server), Prompt((Message("user", "What is\nthis?", (PICTURE, PAPER)),)))
    assert (answer.error, server.wrong) == (None, [])
    assert [stored for _, stored in server.stored.items()] == [("image/png", b"\x89PNG"), ("application/pdf", b"%PDF")]
    ((picture, paper, text),) = server.accounts["t-1"].forms
    assert (picture["formType"], paper["formType"], text["content"]) == (2, 6, "What is\nthis?")
    assert picture["content"].endswith(".png") and paper["content"].endswith(".pdf")
    told = [json.loads(request.body) for request in server.requests if "policy_callback" in request.target]
    assert [one["originFileName"] for one in told] == ["Grüße.png", told[1]["fileName"]]


async def test_only_the_files_of_the_new_message_are_stored_in_a_conversation_that_goes_on() -> None:
    async with running(serving()) as server:
        made = at(server)
        asked = await ask(made, Prompt((Message("user", "Hi", (PICTURE,)),)))
        assert asked.conversation is not None
        said_so_far = (
            Message("user", "Hi", (PICTURE,)),
            Message("assistant", asked.text),
            Message("user", "And?", (PAPER,)),
        )
        answer = await ask(made, Prompt(said_so_far, state=asked.conversation.state))
    assert (answer.error, server.wrong) == (None, [])
    assert [kind for kind, _ in server.stored.values()] == ["image/png", "application/pdf"]
    assert server.accounts["t-1"].chats == {CHAT: ["Hi", "And?"]}


def test_a_storage_that_refuses_the_file_is_the_services_failure() -> None:
    flow = provider().flow(Prompt((Message("user", "Hi", (PICTURE,)),)))
    next(flow)
    names = {"accessKeyId": "k", "accessKeySecret": "canary", "securityToken": "canary"}
    policy = {**names, "bucketName": "whales-1", "dir": "d", "endpoint": "oss.example.com"}
    request = flow.send(Reply(Head(200), json.dumps({"statusInfo": OK, "data": policy}).encode()))
    assert (request.method, "canary" in repr(request)) == ("PUT", False)
    with pytest.raises(ServerError, match="the service's storage refused the file: <Error>no") as caught:
        flow.send(Reply(Head(403), b"<Error>no</Error>"))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(Head(401), b""), LoginRequired),
        (Reply(Head(200), json.dumps({"statusInfo": {"code": 5, "message": "no files"}}).encode()), ServerError),
    ],
)
def test_a_service_that_stores_no_file_says_so(reply: Reply, kind: type[ProviderError]) -> None:
    flow = provider().flow(Prompt((Message("user", "Hi", (PICTURE,)),)))
    assert next(flow).method == "GET"
    with pytest.raises(kind):
        flow.send(reply)


async def test_another_account_begins_anew_with_the_whole_conversation() -> None:
    async with running(serving(accounts={"t-1": Account(), "t-2": Account()})) as server:
        asked = await ask(at(server))
        assert asked.conversation is not None
        answer = await ask(at(server, "t-2"), Prompt(TALK, state=asked.conversation.state))
    assert (answer.error, server.wrong) == (None, [])
    ((chat, said_there),) = server.accounts["t-2"].chats.items()
    assert chat != CHAT and said_there == ["User: Hi\nAssistant: A whale sings 🐳\nUser: More\nAssistant:"]
    assert answer.conversation is not None and answer.conversation.state["chat"] == chat
    assert answer.conversation.state["account"] != asked.conversation.state["account"]


async def test_a_browsers_cookies_and_user_agent_go_with_its_token() -> None:
    account = Account(user_agent="Mine/1.0", cookie="c=d", devices={(UUID, "5"): time.time()})
    async with running(serving(accounts={"t-1": account})) as server:
        credentials = evolve(
            login(server.url, uuid=UUID, device_id="5"),
            cookies={"c": Secret("d")},
            headers={"user-agent": "Mine/1.0"},
        )
        answer = await ask(evolve(at(server), credentials=credentials))
    assert (answer.error, server.wrong, server.registered) == (None, [], 0)


async def test_web_search_is_asked_for() -> None:
    async with running(serving()) as server:
        await ask(at(server, web_search=True))
    assert server.accounts["t-1"].search == ["1"]


async def test_a_device_is_registered_again_when_its_time_is_over() -> None:
    async with running(serving()) as server:
        clock = Ticking()
        made = at(server, now=clock)
        await ask(made)
        clock.time = time.time() + 10801
        answer = await ask(made)
    assert (answer.error, server.wrong, server.registered) == (None, [], 2)


async def test_two_lanes_of_one_account_take_turns_and_register_once() -> None:
    async with running(serving()) as server:
        usual = server.play
        # In one piece: a lane has had enough at the last word, before the event that closes the stream.
        server.play = lambda chat, text: [b"".join(piece for piece in usual(chat, text) if isinstance(piece, bytes))]
        lane = LaneSpec("hailuo", at(server), concurrency=1)
        run = await fanout.ask("Hi", All(lane, lane), retries=0)
    assert [answer.text for answer in run.answers] == ["A whale sings 🐳"] * 2
    assert (server.wrong, server.registered) == ([], 1)


async def test_the_service_gives_an_account_one_answer_at_a_time() -> None:
    async with running(serving()) as server:
        server.play = lambda chat, text: [sent(chat), said(chat, "a"), HANG]
        made = at(server)
        async with fanout.open_fanout("Hi", [made]) as lanes:
            async for tagged in lanes:
                if isinstance(tagged.event, Delta):
                    break
            answer = await ask(made)
        assert type(answer.error) is ServerError
        assert answer.error.message == "one answer at a time (code 1)"


Played = Callable[[str, str], list[website.Step]]


def played(*steps: Any) -> Played:
    """A script with the chat's number where a function stands."""
    return lambda chat, _: [step(chat) if callable(step) else step for step in steps]


@pytest.mark.parametrize(
    ("play", "text"),
    [
        (played(lambda chat: said(int(chat), "A 🐳", 0)), "A 🐳"),
        (played(sent, lambda c: said(c, "A 🐳"), event("x", {"type": 8, "statusInfo": OK}), HANG), "A 🐳"),
        (played(sent, lambda c: said(c, "A 🐳"), CLOSE, HANG), "A 🐳"),
        (played(lambda c: said(c, "A \ufffd"), lambda c: said(c, "A 🐳", 0)), "A 🐳"),
        (played(lambda c: said(c, "A \ufffd", 0)), "A \ufffd"),
        (played(lambda c: said(c, "A \ufffd b"), lambda c: said(c, "A \ufffd b c", 0)), "A \ufffd b c"),
        (played(lambda c: said(c, "Another"), lambda c: said(c, "A 🐳", 0)), "A 🐳"),
        (played(failure(5, "?", 3), lambda c: said(c, "A 🐳", 0)), "A 🐳"),
        (lambda c, _: website.pieces(b": hi\r\n\r\n" + (sent(c) + said(c, "A 🐳", 0)).replace(b"\n", b"\r\n")), "A 🐳"),
    ],
)
async def test_every_form_of_answer_is_read(play: Played, text: str) -> None:
    async with running(serving(play=play)) as server:
        answer = await ask(at(server))
    assert (answer.error, answer.text, server.wrong) == (None, text, [])


@pytest.mark.parametrize(
    ("play", "kind", "text"),
    [
        (played(failure(9, "busy")), ServerError, ""),
        (played(sent, lambda c: said(c, "A wh"), failure(9, "busy")), ServerError, "A wh"),
        (played(sent, lambda c: said(c, "A wh")), Truncated, "A wh"),
        (played(sent, lambda c: said(c, "A wh"), 0.05, BREAK), ResetError, "A wh"),
        (played(sent, CLOSE), Truncated, ""),
    ],
)
async def test_every_failure_is_the_lanes_error(play: Played, kind: type[ProviderError], text: str) -> None:
    async with running(serving(play=play)) as server:
        answer = await ask(at(server))
    assert type(answer.error) is kind and answer.text == text


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (website.Answer([b"{}"], 429, {"retry-after": "30"}), RateLimited),
        (website.Answer([], 302, {"location": "/login"}), LoginRequired),
        (website.Answer([WALL], 403, HTML), NotAStream),
    ],
)
async def test_every_refusal_is_the_lanes_error(reply: website.Answer, kind: type[ProviderError]) -> None:
    async with running(serving()) as server:
        made = at(server)
        await ask(made)
        server.replies.append(reply)
        answer = await ask(made)
    assert type(answer.error) is kind
    assert answer.error.retry_after == (30 if reply.status == 429 else None)
    assert len(server.requests) == 3  # no redirection was followed


async def test_a_token_that_is_not_accepted_asks_for_a_login() -> None:
    async with running(serving()) as server:
        answer = await ask(at(server, "expired"))
    assert isinstance(answer.error, LoginRequired)
    command = f"fanout login hailuo --base-url {server.url}"
    assert (answer.error.message, answer.error.command) == ("token expired", command)


async def test_a_lane_that_is_cut_off_closes_the_connection() -> None:
    async with running(serving()) as server:
        server.play = lambda chat, text: [sent(chat), said(chat, "A wh"), HANG]
        async with fanout.open_fanout("Hi", [at(server, keep=True)]) as lanes:
            async for tagged in lanes:
                if isinstance(tagged.event, Delta):
                    break
        with trio.fail_after(1):
            await server.left.wait()
    assert (server.wrong, server.deleted) == ([], [])


async def test_the_service_takes_the_farewell() -> None:
    async with running(serving()) as server:
        made = at(server)
        done = await exchange(made, Prompt.of("Hi"))
        farewell = made.farewell(done.request, done.reader)
        assert farewell is not None
        async with fanout.open_transport() as transport:
            reply = await fetch(transport, farewell, 5)
    assert json.loads(reply.body) == {"statusInfo": OK}
    assert (server.deleted, server.accounts["t-1"].chats, server.wrong) == ([CHAT], {}, [])


async def test_the_server_refuses_a_frozen_time_a_wrong_signature_and_another_text() -> None:
    async with running(serving()) as server:
        made = at(server)
        await ask(made)
        server.last_unix += 10**6
        frozen = await ask(made)
        server.last_unix = 0
        right = made.now
        old = await ask(evolve(made, now=lambda: right() - 120))
        request = first(made)
        for wrong in (
            evolve(request, headers={**request.headers, "yy": "0" * 32}),
            evolve(request, body=request.body.replace(b"Hi", b"Ho")),
            evolve(request, url=request.url.replace("lang=en", "lang=de")),
            evolve(request, url=request.url.replace("unix=", "unix=0")),
        ):
            server.last_unix = 0
            async with fanout.open_transport() as transport:
                assert b'"code": 1' in (await fetch(transport, wrong, 5)).body
    assert frozen.error is not None and "unix is not newer" in frozen.error.message
    assert old.error is not None and "older than a minute" in old.error.message
    assert server.wrong[2:] == [
        "the signature is wrong",
        "the signature is wrong",
        "the fixed fields of the query",
        "unix is no time in milliseconds",
    ]
