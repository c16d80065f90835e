"""Koala's web chat: parallel histories, answered by events that are JSON strings."""

import re
import secrets
import string
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, ClassVar

from attrs import field, frozen

from fanout.abc import Head, Provider, Reader, Request, SchemaForm
from fanout.chats import website
from fanout.chats.event_reader import EventReader
from fanout.chats.flatten import flatten, system_text
from fanout.credentials import Credentials
from fanout.events import Conversation, Delta, Event
from fanout.prompt import SYSTEM, Message, Prompt
from fanout.providers.reader import text_of
from fanout.providers.schemas import tell
from fanout.wire.faults import is_answer
from fanout.wire.json_text import Joiner, encode
from fanout.wire.sse import ServerSentEvent

BASE_URL = "https://koala.sh"
"""The address that the chat has, or had."""

MODEL = "gpt-4o-mini"
"""The model that is asked where none is named."""

_VISITOR = re.compile(r"[a-z0-9]{20}")


def new_visitor() -> str:
    """A new number for a visitor of the page: twenty random letters and digits."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(20))


@frozen
class Koala(Provider):
    """A server of Koala's chat, which asks for no login. `visitor` makes the number of a new conversation's visitor.

    Its answers end with the connection, so that only an incomplete HTTP body or event tells a cut answer from a whole
    one.
    """

    schema_form: ClassVar[SchemaForm] = "told"
    model: str | None = None
    name: str = "koala"
    base_url: str = BASE_URL
    credentials: Credentials | None = field(default=None, repr=False)
    web_search: bool = False
    visitor: Callable[[], str] = field(default=new_visitor, repr=False)

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises InvalidRequest for what it cannot carry."""
        headers = website.headers_of(self.base_url, self.credentials, "text/event-stream", "chat")
        headers |= {
            **website.FETCH,
            "content-type": "application/json",
            "flag-real-time-data": "true" if self.web_search else "false",
            "visitor-id": self._visitor(prompt),
        }
        url = f"{website.root_of(self.base_url)}/api/gpt/"
        return Request("POST", url, headers, encode(self._body(prompt)).encode(), website.IMPERSONATE)

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response to `request`, whose visitor a caller needs to continue the conversation."""
        if not is_answer(head.status):
            return website.RefusalReader(head)
        visitor = request.headers.get("visitor-id") if request else None
        return KoalaReader(head, {"origin": self._origin, "visitor": visitor} if visitor else None)

    @property
    def _origin(self) -> str:
        return website.origin_of(self.base_url)

    def _visitor(self, prompt: Prompt) -> str:
        match prompt.state:
            case {"origin": self._origin, "visitor": str(visitor)} if _VISITOR.fullmatch(visitor):
                return visitor
        return self.visitor()

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        prompt = tell(prompt)
        website.refuse_all_but(prompt.options, (), self.name)
        website.refuse_media(prompt, self.name)
        website.refuse_tools(prompt, self.name)
        asked, answered, last = _histories(prompt.messages)
        system = system_text(prompt.messages, " ")
        if last is None:  # nothing there to be answered: an answer to go on with
            asked, answered, last, system = [], [], flatten(prompt.messages), ""
        return {
            "input": f"{last} {system}" if system else last,
            "inputHistory": asked,
            "outputHistory": answered,
            "model": self.model or MODEL,
            **prompt.options.body,
        }


def _histories(messages: Sequence[Message]) -> tuple[list[str], list[str], str | None]:
    """Returns the questions, the answer to each, and the question that is open: None if the last word is an answer."""
    talk = [message for message in messages if message.role not in SYSTEM]
    turns = [(role, "\n".join(m.text for m in turn)) for role, turn in groupby(talk, key=lambda m: m.role)]
    if turns and turns[0][0] == "assistant":
        turns.insert(0, ("user", ""))
    asked = [text for role, text in turns if role == "user"]
    answered = [text for role, text in turns if role == "assistant"]
    last = asked.pop() if len(asked) > len(answered) else None
    return asked, answered, last


class KoalaReader(EventReader):
    """Reads events whose data are JSON strings, up to the end of the body.

    `state` continues the conversation; without it there is no Conversation event.
    """

    body_ends = True

    def __init__(self, head: Head, state: dict[str, Any] | None = None) -> None:
        super().__init__(head)
        self._state = state
        self._joiner = Joiner()

    def take(self, message: ServerSentEvent, out: list[Event], /) -> None:
        """Appends the text of one event: a string, or deltas as OpenAI writes them."""
        text = message.data.strip()
        if text == "[DONE]":
            self.finish("unknown")
        if text in ("[DONE]", ""):
            return
        value = self.value(message)
        pieces = [value] if isinstance(value, str) else [_content(choice) for choice in value.get("choices") or ()]
        if whole := self._joiner.join("".join(map(str, filter(text_of, pieces)))):
            out.append(Delta(whole))

    def rest(self, out: list[Event], /) -> None:
        """Appends half a surrogate pair that stayed alone, and what continues the conversation."""
        if half := self._joiner.close():
            out.append(Delta(half))
        if self._state and self.complete:
            out.append(Conversation(self._state))


def _content(choice: dict[str, Any]) -> Any:
    return (choice.get("delta") or {}).get("content")
