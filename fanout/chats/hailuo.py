"""HailuoAI, MiniMax's web chat: signed requests, and answers whose every event repeats the text from its beginning."""

import time
from collections.abc import Callable, Generator, Mapping
from hashlib import md5
from mimetypes import guess_extension
from typing import Any, ClassVar, Self
from urllib.parse import quote, quote_plus
from uuid import uuid4

from attrs import define, evolve, field, frozen

from fanout.abc import Access, Flow, Head, Provider, Reader, Reply, Request, SchemaForm
from fanout.chats import website
from fanout.chats.event_reader import EventReader
from fanout.chats.flatten import flatten, media_since_last_answer, trailing_user_text
from fanout.chats.oss import Bucket
from fanout.credentials import Credentials, command
from fanout.errors import (
    InvalidRequest,
    LoginRequired,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
    ServerError,
)
from fanout.events import Conversation, Delta, Event, Replace, Title
from fanout.prompt import Media, Prompt
from fanout.providers.citations import Citations
from fanout.providers.media import type_of
from fanout.providers.reader import object_of, text_of
from fanout.providers.schemas import tell
from fanout.wire.faults import is_answer
from fanout.wire.json_text import JsonText, encode, excerpt, repair, show
from fanout.wire.multipart import Part, content_type, multipart
from fanout.wire.sse import ServerSentEvent

BASE_URL = "https://www.hailuo.ai"
"""The address of the chat; its Chinese twin speaks the same at https://hailuoai.com."""

MODELS = ("MiniMax", "minimax")
"""The names of its one model, which is not sent."""

CHARACTER = "1"
"""The number of the persona that is spoken to: the plain assistant."""

DEVICE_LIFE = 10800.0
"""Seconds for which a registered device is used."""

FILE_BYTES = 100 << 20
"""Bytes of one file that the service takes."""

BROWSER: Mapping[str, str] = {
    "os_name": "Linux",
    "browser_name": "chrome",
    "cpu_core_num": "8",
    "browser_language": "en-US",
    "browser_platform": "Linux x86_64",
    "screen_width": "1920",
    "screen_height": "1080",
}
"""The browser that the query tells of, where the credentials name none."""

_FIRST = {"device_platform": "web", "biz_id": "2", "app_id": "3001", "version_code": "22201", "lang": "en"}


@define
class Device:
    """A device as the service knows it, and until when (seconds of the provider's clock)."""

    uuid: str
    number: str
    until: float


DEVICES: dict[str, Device] = {}
"""The devices that the service has registered us as, by account, for as long as this process lasts."""


@frozen
class Hailuo(Provider):
    """A server of Hailuo's chat. Its credentials need a `token` among the secrets, and nothing else.

    Their fields may hold the `device_id` and `uuid` of a browser; without these a device is registered first and kept
    in `devices`, by account, which several providers may share. `keep` leaves the conversations of lanes that were cut
    off at the service, which otherwise deletes them. `now` is the time in seconds since 1970, which is signed; `uuid`
    makes a new random one.
    """

    schema_form: ClassVar[SchemaForm] = "told"
    model: str | None = None
    name: str = "hailuo"
    base_url: str = BASE_URL
    credentials: Credentials | None = field(default=None, repr=False)
    web_search: bool = False
    keep: bool = False
    now: Callable[[], float] = field(default=time.time, repr=False)
    uuid: Callable[[], str] = field(default=lambda: str(uuid4()), repr=False)
    devices: dict[str, Device] = field(factory=dict, repr=False)

    @classmethod
    def from_access(cls, access: Access, **more: Any) -> Self:
        """Makes the provider for a lane of the catalog; all of them share the devices of this process."""
        return super().from_access(access, **{"devices": DEVICES, **more})

    def flow(self, prompt: Prompt) -> Flow:
        """Registers a device where there is none, stores the files, and asks.

        Raises LoginRequired without a token, InvalidRequest for what cannot be asked, NotFound for another model.
        """
        prompt = tell(prompt)
        login = self._login()
        text, chat = self._question(prompt, login)
        media = media_since_last_answer(prompt.messages)
        for one in media:
            self._check_file(one)
        device = self._device(login)
        if device is None:
            device = yield from self._register(login)
        files = []
        for one in media:
            files.append((yield from self._store(login, device, one)))  # noqa: PERF401  # no comprehension may yield
        return self._message(login, device, text, chat, files)

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response with this head, whatever its status."""
        if not is_answer(head.status):
            return website.RefusalReader(head, self._refusal)
        return HailuoReader(head, self._state(self._login()))

    def farewell(self, request: Request, reader: Reader | None) -> Request | None:
        """The request that deletes a conversation which `request` began, if its number is known."""
        chat = reader.chat if isinstance(reader, HailuoReader) else None
        login = self._login()
        device = self._device(login)
        begun = request.headers.get("referer") == f"{website.root_of(self.base_url)}/"
        if self.keep or not (chat and device and begun):
            return None
        return self._request(login, "DELETE", f"/v1/api/chat/history/{quote(chat, safe='')}", device, "{}")

    def _login(self) -> Credentials:
        """The credentials. Raises LoginRequired where they hold no token, or are another origin's."""
        login = self.credentials
        if login is None or "token" not in login.secrets:
            raise self._make_login_error(f"{self.name} needs a login, or the token of one")
        if website.origin_of(login.base_url) != website.origin_of(self.base_url):
            raise self._make_login_error(f"the login is for {website.origin_of(login.base_url)}, not for this address")
        return login

    def _make_login_error(self, message: str, **fields: Any) -> LoginRequired:
        return LoginRequired(message, command=command("login", self.name, self.base_url, BASE_URL), **fields)

    def _refusal(self, head: Head, body: bytes) -> ProviderError:
        """The error of a response with a status other than 200: a redirection is one to the login."""
        error = website.refusal(head, body)
        words, known = error.message, error.request_id
        if head.status in (402, 429):
            return RateLimited(words, status=head.status, retry_after=error.retry_after, request_id=known)
        if (head.status in (401, 403) or 300 <= head.status < 400) and not isinstance(error, NotAStream):
            return self._make_login_error(words, status=head.status, request_id=known)
        return error

    def _state(self, login: Credentials) -> dict[str, str]:
        """Returns the owner of a conversation, which its state holds beside its number."""
        return {"origin": website.origin_of(self.base_url), "account": login.account, "character": CHARACTER}

    def _question(self, prompt: Prompt, login: Credentials) -> tuple[str, str | None]:
        """Returns the text to send, and the number of the conversation that it continues, if it does."""
        if self.model not in (None, *MODELS):
            raise NotFound(f"{self.name} has one model, {MODELS[0]}, not {self.model}")
        website.refuse_all_but(prompt.options, (), self.name)
        if prompt.options.body:
            raise InvalidRequest(f"{self.name} takes no JSON, and so no further fields of it; ask without body")
        chat = self._chat_of(prompt, login)
        text = trailing_user_text(prompt.messages) if chat else flatten(prompt.messages)
        if not text.strip():
            raise InvalidRequest(f"{self.name} needs a user's message")
        return text, chat

    def _chat_of(self, prompt: Prompt, login: Credentials) -> str | None:
        """The number of the conversation that goes on: None where there is none, or it is another account's."""
        match prompt.state:
            case {"chat": str(chat), **rest} if rest == self._state(login):
                return chat
        return None

    def _device(self, login: Credentials) -> Device | None:
        """The browser's device, or the one that was registered, unless its time is over."""
        fields = login.fields
        if fields.get("uuid") and fields.get("device_id"):
            return Device(fields["uuid"], fields["device_id"], 0)
        device = self.devices.get(login.account)
        return device if device and self.now() < device.until else None

    def _register(self, login: Credentials) -> Generator[Request, Reply, Device]:
        new = Device(login.fields.get("uuid") or self.uuid(), "", self.now() + DEVICE_LIFE)
        reply = yield self._json_request(login, "/v1/api/user/device/register", new, {"uuid": new.uuid})
        number = _id_of(self._data(reply).get("deviceIDStr"))
        if number is None:
            raise ProtocolError("the service registered the device and gave it no number")
        device = self.devices[login.account] = evolve(new, number=number)
        return device

    def _data(self, reply: Reply) -> dict[str, Any]:
        """The data of a reply in JSON. Raises ProviderError for a refusal, ProtocolError for anything else."""
        if not is_answer(reply.head.status):
            raise self._refusal(reply.head, reply.body)
        value = JsonText().decode(reply.body.decode("utf-8", "replace"))
        _check_status(object_of(value))
        data = object_of(value).get("data")
        if not isinstance(data, dict):
            raise ProtocolError(f"JSON without the object `data`: {show(value)}")
        return data

    def _check_file(self, media: Media) -> None:
        if media.data is None:
            raise InvalidRequest(f"{self.name} takes the bytes of files and does not fetch {media.url}")
        if not 0 < len(media.data) <= FILE_BYTES:
            raise InvalidRequest(f"{self.name} takes files of 1 to {FILE_BYTES} bytes, not of {len(media.data)}")

    def _store(self, login: Credentials, device: Device, media: Media) -> Generator[Request, Reply, dict[str, Any]]:
        """Stores a file and tells the service of it; returns what a message says of it."""
        assert media.data is not None
        kind = type_of(media)
        reply = yield self._request(login, "GET", "/v1/api/files/request_policy", device, "{}")
        policy = self._data(reply)
        name = f"{self.uuid()}{guess_extension(kind) or ''}"
        put = Bucket.of(policy).put(name, media.data, kind, self.now(), self.base_url)
        reply = yield put
        if not is_answer(reply.head.status):
            words = excerpt(reply.body.decode("utf-8", "replace"), 200)
            raise ServerError(f"the service's storage refused the file: {words}", status=reply.head.status)
        told = {
            "fileName": name,
            "originFileName": media.name or name,
            **{key: policy[key] for key in ("dir", "endpoint", "bucketName")},
            "size": str(len(media.data)),
            "mimeType": kind,
        }
        reply = yield self._json_request(login, "/v1/api/files/policy_callback", device, told)
        number = self._data(reply)["fileID"]
        return {"name": "", "formType": 2 if kind.startswith("image/") else 6, "content": name, "fileID": number}

    def _message(
        self, login: Credentials, device: Device, text: str, chat: str | None, files: list[dict[str, Any]]
    ) -> Request:
        """The request that sends a text, and files that are stored."""
        form = {"characterID": CHARACTER, "msgContent": text, "chatID": chat or "0"}
        if files:
            form["form"] = encode([*files, {"name": "", "formType": 1, "content": text}])
        page = f"?chat={quote(chat, safe='')}" if chat else ""
        request = self._request(login, "POST", "/v4/api/chat/msg", device, signed_form(form), page)
        form = {**form, "searchMode": "1" if self.web_search else "0"}
        if files:
            form["form"] = form.pop("form")  # the last one
        boundary = f"----WebKitFormBoundary{self.uuid().replace('-', '')[:16]}"
        body = multipart((Part(name, value.encode("utf-8", "replace")) for name, value in form.items()), boundary)
        headers = {**request.headers, "accept": "text/event-stream", "content-type": content_type(boundary)}
        return evolve(request, headers=headers, body=body)

    def _json_request(self, login: Credentials, path: str, device: Device, value: Any) -> Request:
        """A request with a JSON text, which is signed as it is sent."""
        body = encode(value)
        request = self._request(login, "POST", path, device, body)
        return evolve(request, headers={**request.headers, "content-type": "application/json"}, body=body.encode())

    def _request(
        self, login: Credentials, method: str, path: str, device: Device, signed: str, page: str = ""
    ) -> Request:
        """A request whose target is signed, together with `signed`, at this moment."""
        unix = str(int(self.now() * 1000))
        seen = {name: login.fields.get(name) or value for name, value in BROWSER.items()}
        known = {"uuid": device.uuid, **({"device_id": device.number} if device.number else {})}
        target = f"{path}?{search_params({**_FIRST, **known, **seen, 'unix': unix})}"
        headers = website.headers_of(self.base_url, login, "application/json", page)
        headers |= {"token": login.secrets["token"], "yy": signature(target, signed, unix)}
        return Request(method, website.root_of(self.base_url) + target, headers, impersonate=website.IMPERSONATE)


def search_params(fields: Mapping[str, str]) -> str:
    """A query as the browser's URLSearchParams writes it."""
    return "&".join(f"{_encode_for_form(name)}={_encode_for_form(value)}" for name, value in fields.items())


def _encode_for_form(text: str) -> str:
    return quote_plus(text, safe="*-._", errors="replace").replace("~", "%7E")


def signed_form(form: Mapping[str, str]) -> str:
    """Returns the part of a form that is signed: its text without line ends, though it is sent with them."""
    text = form["msgContent"].replace("\r", "").replace("\n", "")
    return "".join(map(_md5, (form["characterID"], text, form["chatID"], form.get("form", ""))))


def signature(target: str, signed: str, unix: str) -> str:
    """The header `yy`: of path and query, of the form or the JSON text, and of the time in the query."""
    # What encodeURIComponent leaves as it is.
    return _md5(f"{quote(target, safe=_COMPONENT)}_{signed}{_md5(unix)}ooui")


_COMPONENT = "!'()*~"


def _md5(text: str) -> str:
    return md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _check_status(value: dict[str, Any]) -> None:
    """Raises the error that stands in an answer in spite of status 200."""
    info = object_of(value.get("statusInfo"))
    code = info.get("code") or 0
    # Clients go on after one of type 3, and nobody knows what it means.
    if code != 0 and value.get("type") != 3:
        raise ServerError(f"{excerpt(text_of(info.get('message')) or 'no reason', 500)} (code {show(code, 20)})")


def _id_of(value: Any) -> str | None:
    """A number of a chat or device as text: it may have more digits than a float can hold."""
    return str(value) if type(value) is int and value > 0 else repair(text_of(value) or "") or None


class HailuoReader(EventReader):
    """Reads events that repeat the text from its beginning. `chat` is the number of the conversation, once it is known.

    The text ends with U+FFFD where the service cut a character in two; the next event has it whole.
    """

    def __init__(self, head: Head, state: Mapping[str, Any]) -> None:
        super().__init__(head)
        self.chat: str | None = None
        self._state = state
        self._shown = ""
        self._text = ""
        self._citations = Citations()

    def take(self, message: ServerSentEvent, out: list[Event], /) -> None:
        """Appends the events of one event; one kind ends the answer by its name, whatever its data."""
        if message.data.strip() and (message.event != _CLOSE or message.data.lstrip().startswith("{")):
            self._read(self.value(message), out)
        if message.event == _CLOSE:
            self.finish("stop")

    def rest(self, out: list[Event], /) -> None:
        """Appends a U+FFFD that stayed, for it is the service's own, and what continues the conversation."""
        if self._text:
            self._show(self._text, out)
        if self.complete and self.chat:
            out.append(Conversation({**self._state, "chat": self.chat}))

    def _read(self, value: dict[str, Any], out: list[Event]) -> None:
        _check_status(value)
        data = value.get("data") or {}
        sent, result = data.get("sendResult") or {}, data.get("messageResult") or {}
        self.chat = self.chat or _id_of(sent.get("chatID")) or _id_of(result.get("chatID"))
        if title := text_of(sent.get("chatTitle")):
            out.append(Title(repair(title)))
        if text := text_of(result.get("content")):
            self._text = repair(text)
            if whole := self._text.rstrip("\ufffd"):
                self._show(whole, out)
        search = (result.get("extra") or {}).get("netSearchStatus") or {}
        for link in search.get("linkDetail") or ():
            self._citations.add(link.get("url"), link.get("detail"), out)
        ended = result.get("isEnd")
        if value.get("type") == 8 or (type(ended) is int and ended == 0):
            self.finish("stop")

    def _show(self, text: str, out: list[Event]) -> None:
        if text.startswith(self._shown):
            if more := text[len(self._shown) :]:
                out.append(Delta(more))
        else:
            out.append(Replace(text))
        self._shown = text


_CLOSE = "close_chunk"
