"""Vitalentum's web chat: JSON within JSON, answered by the events of OpenAI's Chat Completions."""

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import field, frozen

from fanout.abc import Head, Provider, Reader, Request, SchemaForm
from fanout.chats import website
from fanout.chats.flatten import system_text
from fanout.credentials import Credentials
from fanout.errors import InvalidRequest, NotFound, ProtocolError
from fanout.events import Event
from fanout.prompt import SYSTEM, Prompt
from fanout.providers.chat_reader import ChatReader
from fanout.providers.schemas import tell
from fanout.wire.faults import is_answer
from fanout.wire.json_text import encode
from fanout.wire.sse import ServerSentEvents

BASE_URL = "https://app.vitalentum.io"
"""The address that the chat had."""

MODELS = ("gpt-3.5-turbo", "gpt-3.5")
"""The names of its one model, which is not sent."""

TEMPERATURE = 0.7
"""The page's own."""


@frozen
class Vitalentum(Provider):
    """A server of Vitalentum's chat, which asks for no login."""

    schema_form: ClassVar[SchemaForm] = "told"
    model: str | None = None
    name: str = "vitalentum"
    base_url: str = BASE_URL
    credentials: Credentials | None = field(default=None, repr=False)

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises InvalidRequest for what it cannot carry, NotFound for a model."""
        headers = website.headers_of(self.base_url, self.credentials, "text/event-stream", "")
        headers |= {**website.FETCH, "content-type": "application/json"}
        url = f"{website.root_of(self.base_url)}/api/converse-edge"
        return Request("POST", url, headers, encode(self._body(prompt)).encode(), website.IMPERSONATE)

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response with this head, whatever its status."""
        return VitalentumReader(head) if is_answer(head.status) else website.RefusalReader(head)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        prompt = tell(prompt)
        options = prompt.options
        if self.model not in (None, *MODELS):
            raise NotFound(f"{self.name} has one model, {MODELS[0]}, not {self.model}")
        website.refuse_all_but(options, ("temperature",), self.name)
        website.refuse_media(prompt, self.name)
        website.refuse_tools(prompt, self.name)
        return {
            "conversation": encode({"history": list(_history(prompt, self.name))}),
            "temperature": TEMPERATURE if options.temperature is None else options.temperature,
            **options.body,
        }


def _history(prompt: Prompt, name: str) -> Iterator[dict[str, str]]:
    """The turns of both speakers. There is none for a system text: the first human turn begins with it."""
    system = system_text(prompt.messages)
    for message in prompt.messages:
        if message.role in SYSTEM:
            continue
        is_human = message.role == "user"
        text = f"{system}\n\n{message.text}" if is_human and system else message.text
        yield {"speaker": "human" if is_human else "bot", "text": text}
        system = "" if is_human else system
    if system or all(message.role != "user" for message in prompt.messages):
        raise InvalidRequest(f"{name} needs a user's message")


class VitalentumReader(ChatReader):
    """Reads Chat Completions whose last event may lack the blank line after it."""

    def rest(self, out: list[Event], /) -> list[Event]:
        """Takes a last event that is whole."""
        framing = self._body.framing
        if isinstance(framing, ServerSentEvents) and framing.pending and not (self.complete or self._error):
            try:
                value = self._json.decode(framing.pending.data)
            except ProtocolError:
                value = None  # cut short like the stream
            if isinstance(value, dict):
                self.read(value, out)
        return super().rest(out)
