"""A loopback Hailuo that computes every signature itself, and looks at all that a browser would send.

It shares no code with what it checks: percent encoding by a table, forms by hand.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import define, field

from tests.servers.events import Refusal, check
from tests.servers.http import Received
from tests.servers.website import EVENTS, JSON, Answer, Step, Website, pieces

LIFE = 10800.0
"""Seconds for which a registered device is known."""

_WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_COMPONENT = {ord(c): c for c in _WORD + "-_.!~*'()"}
_FORM = {**{ord(c): c for c in _WORD + "*-._"}, 0x20: "+"}
_NAMES = (
    *("device_platform", "biz_id", "app_id", "version_code", "lang", "uuid", "device_id", "os_name", "browser_name"),
    *("cpu_core_num", "browser_language", "browser_platform", "screen_width", "screen_height", "unix"),
)
_FIXED = {"device_platform": "web", "biz_id": "2", "app_id": "3001", "version_code": "22201", "lang": "en"}


def encoded(text: str, table: dict[int, str] | None = None) -> str:
    """Percent encoding: as encodeURIComponent does it, or by another table of what stays."""
    stays = _COMPONENT if table is None else table
    return "".join(stays.get(byte) or f"%{byte:02X}" for byte in text.encode())


def decoded(text: str) -> str:
    """The text of a form-encoded value."""
    data = bytearray()
    position = 0
    while position < len(text):
        if text[position] == "%":
            data.append(int(text[position + 1 : position + 3], 16))
            position += 3
        else:
            data += b" " if text[position] == "+" else text[position].encode()
            position += 1
    return data.decode()


def encoded_path(path: str) -> str:
    """A path as it goes into a URL."""
    return "/".join(encoded(part, {ord(c): c for c in _WORD + "-_.~"}) for part in path.split("/"))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def signed(target: str, body: str, unix: str) -> str:
    """The signature that a request must have."""
    return md5(encoded(target) + "_" + body + md5(unix) + "ooui")


def event(name: str, value: Any) -> bytes:
    """One event as the service writes it: no blank after the colon."""
    return f"event:{name}\ndata:{json.dumps(value, ensure_ascii=False)}\n\n".encode()


OK = {"code": 0, "message": ""}


def sent(chat: Any, title: str | None = "Whales") -> bytes:
    result = {"chatID": chat, "chatTitle": title}
    return event("send_result", {"type": 1, "statusInfo": OK, "data": {"sendResult": result}})


def said(chat: Any, content: str, end: int = 1, **more: Any) -> bytes:
    result = {"msgID": "772", "chatID": chat, "isEnd": end, "content": content, **more}
    return event("message_result", {"type": 2, "statusInfo": OK, "data": {"messageResult": result}})


CLOSE = event("close_chunk", {"type": 8, "statusInfo": OK})


def failure(code: int, message: str, kind: int = 2) -> bytes:
    """An error as it stands in a stream: without `data`."""
    return event("message_result", {"type": kind, "statusInfo": {"code": code, "message": message}})


@define(eq=False)
class Account:
    """The belongings of one token: its browser, its devices with the time of their registration, its chats."""

    user_agent: str | None = None
    cookie: str | None = None
    devices: dict[tuple[str, str], float] = field(factory=dict)
    chats: dict[str, list[str]] = field(factory=dict)
    search: list[str] = field(factory=list)
    files: dict[str, str] = field(factory=dict)
    forms: list[Any] = field(factory=list)
    streams: int = 0


BUCKET, DIRECTORY, KEY, SECRET, PASS = "whales-1", "prod/2025 03", "STS.key", "STS-canary-secret", "STS-canary-token"
"""The storage for files: where it lets a client put them, and with what credentials."""

Play = Callable[[str, str], Sequence[Step]]


@define(eq=False)
class HailuoServer(Website):
    """The running server: `accounts` by token; `play` makes an answer of the chat's number and the text.

    It is its own storage for files: `stored` has their types and bytes by their keys.
    """

    accounts: dict[str, Account] = field(factory=lambda: {"t-1": Account()})
    now: Callable[[], float] = time.time
    play: Play = lambda chat, text: [
        *pieces(sent(chat) + said(chat, "A whale"), 7),
        said(chat, "A whale sings 🐳", 0) + CLOSE,
    ]
    registered: int = 0
    deleted: list[str] = field(factory=list)
    stored: dict[str, tuple[str, bytes]] = field(factory=dict)
    last_unix: int = 0

    def answer(self, request: Received) -> Answer:
        """Routes of the service."""
        path = request.target.partition("?")[0]
        if request.method == "PUT":
            return self._put(request)
        account = self.accounts.get(request.headers.get("token", ""))
        if account is None:
            return Answer([b'{"error":"token expired"}'], 401, JSON, "Unauthorized")
        check(request.headers.get("origin") == self.url, "the origin is not ours")
        if account.user_agent:
            check(request.headers.get("user-agent") == account.user_agent, "not the browser of the token")
        check(request.headers.get("cookie") == account.cookie, "not the cookies of the token")
        match request.method, path.split("/")[1:]:
            case "POST", ["v1", "api", "user", "device", "register"]:
                return self._register(request, account)
            case "POST", ["v4", "api", "chat", "msg"]:
                return self._message(request, account)
            case "GET", ["v1", "api", "files", "request_policy"]:
                return self._policy(request)
            case "POST", ["v1", "api", "files", "policy_callback"]:
                return self._stored(request, account)
            case "DELETE", ["v1", "api", "chat", "history", chat]:
                return self._delete(request, account, chat)
        raise Refusal("no such path", 404)

    def refused(self, request: Received, refusal: Refusal) -> Answer:
        """Errors come with status 200, and where a stream was asked for, as one of its events."""
        if request.method == "PUT":
            return Answer([f"<Error><Message>{refusal}</Message></Error>".encode()], 403, reason="Forbidden")
        status = {"statusInfo": {"code": 1, "message": str(refusal)}}
        if request.headers.get("accept") == "text/event-stream":
            return Answer([failure(1, str(refusal))], headers=EVENTS)
        return Answer([json.dumps(status).encode()], headers=JSON)

    def _query(self, request: Received, body: str, *, device: bool = True) -> dict[str, str]:
        """The query, complete, in order, encoded as by URLSearchParams, fresh, and signed together with `body`."""
        _, _, query = request.target.partition("?")
        pairs = [part.partition("=")[::2] for part in query.split("&")]
        names = [name for name, _ in pairs]
        check(names == [name for name in _NAMES if device or name != "device_id"], f"the query has {names}")
        values = {name: decoded(value) for name, value in pairs}
        check(all(encoded(values[name], _FORM) == value for name, value in pairs), "the query's encoding")
        check(all(values[name] == value for name, value in _FIXED.items()), "the fixed fields of the query")
        check(all(values.values()), "an empty field in the query")
        unix = values["unix"]
        check(re.fullmatch("[0-9]{13}", unix), "unix is no time in milliseconds")
        # Two round trips may fall into one millisecond; a time that is signed once and kept is older than that.
        at_once = int(unix) == self.last_unix and self.now() * 1000 < self.last_unix + 2
        check(int(unix) > self.last_unix or at_once, "unix is not newer than that of the last request")
        check(abs(self.now() - int(unix) / 1000) <= 60, "unix is older than a minute")
        self.last_unix = int(unix)
        check(request.headers.get("yy") == signed(request.target, body, unix), "the signature is wrong")
        return values

    def _register(self, request: Received, account: Account) -> Answer:
        body = request.body.decode()
        check(request.headers.get("content-type") == "application/json", "the registration is no JSON")
        query = self._query(request, body, device=False)
        given = json.loads(body)
        check(given == {"uuid": query["uuid"]}, "another uuid in the query")
        check(body == json.dumps(given, separators=(",", ":")), "not the JSON text of a browser")
        self.registered += 1
        number = str(9007199254740993 + self.registered)
        account.devices[query["uuid"], number] = self.now()
        value = {"statusInfo": OK, "data": {"deviceIDStr": number}}
        return self.next_reply(Answer([json.dumps(value).encode()], headers=JSON))

    def _policy(self, request: Received) -> Answer:
        check(not request.body, "a body")
        self._query(request, "{}")
        names = {"accessKeyId": KEY, "accessKeySecret": SECRET, "securityToken": PASS}
        data = {**names, "bucketName": BUCKET, "dir": DIRECTORY, "endpoint": self.url}
        return self.next_reply(Answer([json.dumps({"statusInfo": OK, "data": data}).encode()], headers=JSON))

    def _put(self, request: Received) -> Answer:
        """The storage, which knows nothing of accounts: the signature is all that it is shown."""
        check(not {"token", "yy", "cookie", "origin", "referer"} & request.headers.keys(), "the chat's own headers")
        kind, date = request.headers["content-type"], request.headers["date"]
        check(abs(parsedate_to_datetime(date).timestamp() - self.now()) <= 60, "an old date")
        check(request.headers.get("x-oss-security-token") == PASS, "another token")
        place = decoded(request.target)
        text = "\n".join(["PUT", "", kind, date, f"x-oss-security-token:{PASS}", place])
        signature = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
        check(request.headers.get("authorization") == f"OSS {KEY}:{signature}", "the storage's signature is wrong")
        key = place.removeprefix(f"/{BUCKET}/")
        check(key.startswith(f"{DIRECTORY}/") and request.target == encoded_path(place), "not where files belong")
        check(key not in self.stored, "a file over another")
        self.stored[key] = (kind, request.body)
        return self.next_reply(Answer([b""]))

    def _stored(self, request: Received, account: Account) -> Answer:
        body = request.body.decode()
        check(request.headers.get("content-type") == "application/json", "the callback is no JSON")
        self._query(request, body)
        given = json.loads(body)
        check(body == json.dumps(given, separators=(",", ":"), ensure_ascii=False), "not the JSON text of a browser")
        names = ["fileName", "originFileName", "dir", "endpoint", "bucketName", "size", "mimeType"]
        check(list(given) == names, f"the callback has {list(given)}")
        kind, data = self.stored.get(f"{given['dir']}/{given['fileName']}", ("", b""))
        check((given["mimeType"], given["size"]) == (kind, str(len(data))) and data, "not what was stored")
        check((given["endpoint"], given["bucketName"]) == (self.url, BUCKET), "another storage")
        number = str(700000000000000001 + len(account.files))
        account.files[number] = given["fileName"]
        return self.next_reply(
            Answer([json.dumps({"statusInfo": OK, "data": {"fileID": number}}).encode()], headers=JSON)
        )

    def _message(self, request: Received, account: Account) -> Answer:
        form = _form(request)
        names = ["characterID", "msgContent", "chatID", "searchMode", *(["form"] if "form" in form else [])]
        check(list(form) == names, f"the form has {list(form)}")
        text = re.sub("\r\n|\r|\n", "", form["msgContent"])
        parts = (form["characterID"], text, form["chatID"], form.get("form", ""))
        query = self._query(request, "".join(map(md5, parts)))
        if "form" in form:
            self._check_files(form["form"], form["msgContent"], account)
        since = account.devices.get((query["uuid"], query["device_id"]))
        check(since is not None and self.now() - since <= LIFE, "an unknown device")
        check(request.headers.get("accept") == "text/event-stream", "no stream is asked for")
        check(form["characterID"] == "1" and form["searchMode"] in ("0", "1"), "the form's fixed fields")
        chat = form["chatID"]
        page = f"?chat={chat}" if chat != "0" else ""
        check(request.headers.get("referer") == f"{self.url}/{page}", "the referer is not our page")
        check(chat == "0" or chat in account.chats, "no such chat")
        check(account.streams == 0, "one answer at a time")
        if chat == "0":
            chat = str(333222111000999888 + sum(len(one.chats) for one in self.accounts.values()))
        account.chats.setdefault(chat, []).append(form["msgContent"])
        account.search.append(form["searchMode"])
        account.streams += 1

        def over() -> None:
            account.streams -= 1

        return self.next_reply(Answer(self.play(chat, form["msgContent"]), headers=EVENTS, over=over))

    def _check_files(self, text: str, content: str, account: Account) -> None:
        """The parts of a message with files: these in their order, then its text."""
        given = json.loads(text)
        check(text == json.dumps(given, separators=(",", ":"), ensure_ascii=False), "not the JSON text of a browser")
        *files, last = given
        check(files and last == {"name": "", "formType": 1, "content": content}, "the text is not the last part")
        for file in files:
            name = account.files.get(file["fileID"])
            kind = self.stored[f"{DIRECTORY}/{name}"][0] if name else ""
            form_type = 2 if kind.startswith("image/") else 6
            check(
                file == {"name": "", "formType": form_type, "content": name, "fileID": file["fileID"]}, "no such file"
            )
        account.forms.append(given)

    def _delete(self, request: Received, account: Account, chat: str) -> Answer:
        check(not request.body, "a body")
        self._query(request, "{}")
        check(account.chats.pop(chat, None) is not None, "no such chat")
        self.deleted.append(chat)
        return self.next_reply(Answer([json.dumps({"statusInfo": OK}).encode()], headers=JSON))


def _form(request: Received) -> dict[str, str]:
    """The fields of a multipart form of texts, checked byte for byte."""
    kind, _, boundary = request.headers.get("content-type", "").partition("; boundary=")
    check(kind == "multipart/form-data" and boundary, "no multipart form")
    mark = f"--{boundary}".encode()
    first, *parts, last = request.body.split(mark)
    check(first == b"" and last == b"--\r\n", "the form does not begin or end with its boundary")
    form: dict[str, str] = {}
    for part in parts:
        head, _, value = part.partition(b"\r\n\r\n")
        found = re.fullmatch(rb'\r\nContent-Disposition: form-data; name="([A-Za-z]+)"', head)
        check(found and value.endswith(b"\r\n"), "a field that is no text")
        assert found
        form[found[1].decode()] = value[:-2].decode()
    return form
