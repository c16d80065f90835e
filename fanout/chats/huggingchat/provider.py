"""HuggingChat, and every server of its open-source software (chat-ui), of 2025 and of 2026.

A conversation lives at the service as a tree of messages, and a message is sent to the one that it answers:

    POST /conversation                      begins one; a server of 2026 answers with its first message, too
    GET  /conversation/ID/__data.json       its messages, from a server until May 2025
    GET  /api/v2/conversations/ID           its messages, from a server since June 2025
    POST /conversation/ID                   sends a message; the answer is the response

So a new conversation takes two round trips on a server of 2026, three on one of early 2025, and four on one between
them, which has its messages at the new place and does not yet tell the first; one that goes on takes two.
The answer to the first request tells the generation. A conversation that goes on is asked for where it was before; a
server that has changed since then answers that with a web page (2025) or with no data (2026), and is asked once more.
"""

import re
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

from attrs import evolve, field, frozen

from fanout.abc import Flow, Head, Provider, Reader, Reply, Request, SchemaForm
from fanout.addresses import is_private
from fanout.chats import website
from fanout.chats.flatten import flatten, media_since_last_answer, system_text, trailing_user_text
from fanout.chats.huggingchat.conversation import (
    Api,
    Place,
    check_messages,
    find_leaf,
    path_of,
    read_messages,
    read_object,
    read_place,
)
from fanout.chats.huggingchat.faults import ConversationLost, judge_beginning, judge_refusal
from fanout.chats.huggingchat.models import Row, choose, read_rows
from fanout.chats.huggingchat.reader import AnswerReader, Send
from fanout.credentials import Credentials, command
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest, LoginRequired, ProtocolError, ProviderError
from fanout.prompt import SYSTEM, Media, Prompt
from fanout.providers.media import base64_of, type_of
from fanout.providers.schemas import tell
from fanout.wire.faults import is_answer
from fanout.wire.json_text import JsonText, encode, show
from fanout.wire.multipart import Part, content_type, multipart

BASE_URL = "https://huggingface.co/chat"
"""The address at which Hugging Face serves the application; others have it at their own root or below a path."""

FILE_BYTES = 10 << 20
"""Bytes of one file that the service takes."""

_ID = re.compile(r"[\w-]+", re.ASCII)
_OVER = re.compile("-[0-9]+|0+")
_ACCOUNT = "token"  # the cookie of the account at huggingface.co, to which the session is bound


@frozen
class HuggingChat(Provider):
    """A HuggingChat server. Where it asks for no login it needs no credentials, and begins a session of its own.

    The session is the cookie `cookie_name`. `web_search` is for servers of 2025. Without a `model`, the first that the
    server lists and that takes the media of the prompt is asked. `insecure` lets a login go over plain http to a public
    network. `lost` are the conversations that cannot be continued any more; `uuid` makes a new random id.
    """

    schema_form: ClassVar[SchemaForm] = "told"
    model: str | None = None
    name: str = "huggingchat"
    base_url: str = BASE_URL
    credentials: Credentials | None = field(default=None, repr=False)
    web_search: bool = False
    insecure: bool = False
    cookie_name: str = "hf-chat"
    lost: frozenset[str] = field(default=frozenset(), repr=False)
    uuid: Callable[[], str] = field(default=lambda: str(uuid4()), repr=False)

    def flow(self, prompt: Prompt) -> Flow:
        """Finds the place in the conversation that `prompt.state` tells of, or begins one, and sends the message.

        Raises LoginRequired where a login is asked for, InvalidRequest for what cannot be asked, NotFound for a model
        that the server does not have.
        """
        prompt = tell(prompt)
        website.refuse_all_but(prompt.options, (), self.name)
        website.refuse_tools(prompt, self.name)
        media = media_since_last_answer(prompt.messages)
        files = [self._file(one) for one in media]
        said = [message for message in prompt.messages if message.role not in SYSTEM]
        if not trailing_user_text(said):
            raise InvalidRequest(f"{self.name} needs a user's message with a text")
        login = self._login()
        kept = read_place(prompt.state, self._owner(login), self.model)
        if kept and (kept.conversation in self.lost or not _ID.fullmatch(kept.conversation)):
            kept = None
        model = self.model
        if model is None and media:
            model = yield from self._choose_model(login, [type_of(one) for one in media], kept.model if kept else None)
        if kept and model in (None, kept.model):
            place = yield from self._find_place(kept, login)
            if place is not None:
                return self._send(place, login, trailing_user_text(said), files, prompt, kept.conversation)
        place, login = yield from self._begin(prompt, login, model)
        return self._send(place, login, flatten(said), files, prompt)

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response to `request`, which knows the conversation; the response does not name it."""
        send = request if isinstance(request, Send) else None
        if is_answer(head.status):
            return AnswerReader(head, send)
        judge = partial(judge_refusal, command=self._command, conversation=send.conversation if send else None)
        return website.RefusalReader(head, judge)

    def adapted(self, error: ProviderError) -> "HuggingChat | None":
        """Returns this provider without the conversation that is deleted or full: a new one begins in its place."""
        if not isinstance(error, ConversationLost) or error.conversation is None or error.conversation in self.lost:
            return None
        return evolve(self, lost=self.lost | {error.conversation})

    def farewell(self, request: Request, reader: Reader | None) -> Request | None:
        """The request that stops an answer which is not complete; a server of 2025 stops when the connection closes.

        A stop that meets with no answer would stop the next one, so there is none before the message has gone out.
        """
        over = reader is not None and (reader.complete or not isinstance(reader, AnswerReader))
        if over or not isinstance(request, Send):
            return None
        headers = {name: value for name, value in request.headers.items() if name != "content-type"}
        return Request("POST", f"{request.url}/stop-generating", headers, impersonate=request.impersonate)

    def renewed(self, head: Head) -> Credentials | None:
        """The credentials with the cookies and the expiry that a successful response gave them.

        Without credentials: the session that the server has begun. Another session than the one that was sent means
        that the server has dropped that one, and renews nothing.
        """
        given = {name: (value, expires) for name, value, expires in map(_cookie, head.set_cookie) if value}
        if not is_answer(head.status) or self.cookie_name not in given:
            return None
        session, expires = given[self.cookie_name]
        if self.credentials is None:
            return self._make_session(session, expires)
        cookies = self.credentials.cookies
        if cookies.get(self.cookie_name, Secret(session)) != Secret(session):
            return None
        new = {name: Secret(value) for name, (value, _) in given.items() if name in (*cookies, self.cookie_name)}
        made = evolve(self.credentials, cookies={**cookies, **new}, expires=expires or self.credentials.expires)
        return None if made == self.credentials else made

    def models_request(self) -> Request:
        """The request that lists this server's models, by the route that both generations have."""
        return self._request("GET", "api/models", self._login())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return [row["id"] for row in self._read_rows(reply)]

    @property
    def _command(self) -> str:
        return command("login", self.name, self.base_url, BASE_URL)

    def _login(self) -> Credentials | None:
        """The credentials, if there are any.

        Raises LoginRequired for those of another origin, InvalidRequest where others could read them on their way.
        """
        if self.credentials is None:
            return None
        theirs, ours = website.origin_of(self.credentials.base_url), website.origin_of(self.base_url)
        if theirs != ours:
            raise LoginRequired(f"the login is for {theirs}, and is not sent to {ours}", command=self._command)
        parts = urlsplit(self.base_url)
        if parts.scheme != "https" and not self.insecure and not is_private(parts.hostname):
            raise InvalidRequest(f"{self.name} sends a login over https only, not to {ours}")
        return self.credentials

    def _owner(self, login: Credentials | None) -> dict[str, str]:
        """Returns the owner of a conversation: the server, and the account, known by the cookies of its login."""
        cookies = login.cookies if login else {}
        own = {name: value for name, value in cookies.items() if name in (self.cookie_name, _ACCOUNT)}
        account = Credentials(self.name, "", own).account if own else ""
        return {"base": website.root_of(self.base_url), "account": account}

    def _request(self, method: str, path: str, login: Credentials | None, body: Any = None) -> Request:
        headers = website.headers_of(self.base_url, login, "*/*", "")
        if body is not None:
            headers["content-type"] = "application/json"
        url = f"{website.root_of(self.base_url)}/{path}"
        data = b"" if body is None else encode(body).encode()
        return Request(method, url, headers, data, impersonate=website.IMPERSONATE)

    def _find_place(self, kept: Place, login: Credentials | None) -> Generator[Request, Reply, Place | None]:
        """Finds the place after the last answer of a conversation; None if that is lost."""
        judge = partial(judge_refusal, command=self._command, conversation=kept.conversation)
        try:
            return (yield from self._ask_place(kept, login, judge))
        except ConversationLost:
            return None

    def _ask_place(
        self, kept: Place, login: Credentials | None, judge: Callable[[Head, bytes], ProviderError]
    ) -> Generator[Request, Reply, Place]:
        """Asks for the place after the last answer of a conversation, at the one interface or the other."""
        other: Api = "v2" if kept.api == "data" else "data"
        for api in (kept.api, other):
            reply = yield self._request("GET", path_of(kept.conversation, api), login)
            messages = read_messages(reply, api, judge)
            if messages is not None:
                return evolve(kept, leaf=find_leaf(kept, messages), api=api)
        raise ProtocolError("this server has its conversations where neither a server of 2025 nor of 2026 has them")

    def _begin(
        self, prompt: Prompt, login: Credentials | None, model: str | None
    ) -> Generator[Request, Reply, tuple[Place, Credentials | None]]:
        """Begins a conversation; returns the place in it, and the credentials with the session that the server gave."""
        model = model or (yield from self._choose_model(login))
        system = system_text(prompt.messages)
        body = {"model": model, **({"preprompt": system} if system else {})}
        reply = yield self._request("POST", "conversation", login, body)
        if not is_answer(reply.head.status):
            raise judge_beginning(judge_refusal(reply.head, reply.body, self._command), model)
        value = read_object(reply)
        login = self._keep_session(login, reply.head)
        conversation = value.get("conversationId")
        if not isinstance(conversation, str) or not _ID.fullmatch(conversation):
            raise ProtocolError(f"a new conversation without an id: {show(value)}")
        if isinstance(whole := value.get("conversation"), str):
            messages = check_messages(JsonText().decode(whole)["json"])
            return Place(conversation, str(messages[-1]["id"]), "v2", model), login
        new = Place(conversation, "", "data", model)
        return (yield from self._ask_place(new, login, partial(judge_refusal, command=self._command))), login

    def _choose_model(
        self, login: Credentials | None, types: Sequence[str] = (), usual: str | None = None
    ) -> Generator[Request, Reply, str]:
        """Chooses a model where the lane names none: the first of the list that takes media of these types."""
        return choose(self._read_rows((yield self._request("GET", "api/models", login))), types, usual)

    def _read_rows(self, reply: Reply) -> list[Row]:
        if not is_answer(reply.head.status):
            raise judge_refusal(reply.head, reply.body, self._command)
        return read_rows(reply)

    def _keep_session(self, login: Credentials | None, head: Head) -> Credentials | None:
        """Adds a new session to credentials without one. Raises LoginRequired if theirs has been dropped."""
        given = {name: (value, expires) for name, value, expires in map(_cookie, head.set_cookie)}
        if self.cookie_name not in given:
            return login
        session, expires = given[self.cookie_name]
        if login is None:
            return self._make_session(session, expires)
        if login.cookies.get(self.cookie_name, Secret(session)) != Secret(session):
            raise LoginRequired("the service has dropped the session; log in again", command=self._command)
        return evolve(login, cookies={**login.cookies, self.cookie_name: Secret(session)})

    def _make_session(self, session: str, expires: datetime | None) -> Credentials:
        """Makes the credentials of a session without a login."""
        cookies = {self.cookie_name: Secret(session)}
        return Credentials(self.name, website.root_of(self.base_url), cookies, expires=expires, source="anonymous")

    def _send(
        self,
        place: Place,
        login: Credentials | None,
        text: str,
        files: Sequence[Part],
        prompt: Prompt,
        continued: str | None = None,
    ) -> Send:
        """Makes the request that sends a message to its place."""
        settings = {"inputs": text, "id": place.leaf, "is_retry": False, "is_continue": False}
        settings |= {"web_search": self.web_search, "tools": []}
        run = None
        if place.api == "v2":
            if self.web_search:
                raise InvalidRequest(f"{self.name} searches no web on this server; ask without web_search")
            run = settings["generationId"] = self.uuid()
        data = Part("data", encode(settings | dict(prompt.options.body)).encode())
        boundary = f"----WebKitFormBoundary{self.uuid().replace('-', '')[:16]}"
        page = f"conversation/{place.conversation}"
        headers = website.headers_of(self.base_url, login, "*/*", page)
        return Send(
            "POST",
            f"{website.root_of(self.base_url)}/{page}",
            {**headers, "content-type": content_type(boundary)},
            multipart((data, *files), boundary),
            impersonate=website.IMPERSONATE,
            conversation=continued,
            model=place.model,
            state=evolve(place, run=run).state(self._owner(login)),
        )

    def _file(self, media: Media) -> Part:
        """Makes the part of a file, which goes as base64 text; its name says so."""
        if media.data is not None and not 0 < len(media.data) <= FILE_BYTES:
            raise InvalidRequest(f"{self.name} takes files of 1 to {FILE_BYTES} bytes, not of {len(media.data)}")
        kind = type_of(media)
        name = media.name or f"file.{kind.partition('/')[2].partition('+')[0]}"
        return Part("files", base64_of(media).encode(), f"base64;{name}", kind)


def _cookie(header: str) -> tuple[str, str, datetime | None]:
    """Name, value and expiry of a Set-Cookie header; the value is empty if the cookie is to be deleted."""
    pair, *attributes = header.split(";")
    name, _, value = pair.partition("=")
    said = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in attributes)}
    deleted = _OVER.fullmatch(said.get("max-age", ""))
    return name.strip(), "" if deleted else value.strip(), _time(said.get("expires", ""))


def _time(date: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)
