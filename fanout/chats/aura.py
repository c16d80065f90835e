"""Aura, the web page of OpenChat: plain text in answer to JSON, without any framing."""

from typing import Any, ClassVar

from attrs import field, frozen

from fanout.abc import Head, Provider, Reader, Reply, Request, SchemaForm
from fanout.chats import website
from fanout.chats.flatten import system_text
from fanout.credentials import Credentials
from fanout.errors import InvalidRequest, NotAStream, ProviderError, Truncated
from fanout.events import Delta, Event
from fanout.prompt import SYSTEM, Message, Prompt
from fanout.providers.ending import AnswerEnding
from fanout.providers.schemas import tell
from fanout.providers.terms import model_names
from fanout.wire.fault_kinds import kind_of_status
from fanout.wire.faults import is_answer, request_id
from fanout.wire.json_text import encode, excerpt
from fanout.wire.text import Utf8Text

BASE_URL = "https://openchat.team"
"""The address that the page had; whoever runs its open source has it elsewhere."""

MODEL = "openchat_3.6"
"""The model that is asked where none is named."""

NEUTRAL = "You are a helpful assistant."
"""The system text where there is none: to an empty one the service prefers its own, which names another model."""

TEMPERATURE = 0.5
"""The page's own."""

_NAMES = {MODEL: "OpenChat 3.6 (latest)", "openchat_v3.2_mistral": "OpenChat Aura"}


@frozen
class Aura(Provider):
    """A server of OpenChat's web page. It asks for no login; credentials are those that a bot wall wants to see.

    Its answers end with the connection, so that only an incomplete HTTP body tells a cut answer from a whole one.
    """

    schema_form: ClassVar[SchemaForm] = "told"
    model: str | None = None
    name: str = "aura"
    base_url: str = BASE_URL
    credentials: Credentials | None = field(default=None, repr=False)

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises InvalidRequest for what it cannot carry."""
        return self._post("api/chat", self._body(prompt))

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response with this head, whatever its status."""
        return AuraReader(head) if is_answer(head.status) else website.RefusalReader(head, refusal)

    def models_request(self) -> Request:
        """The request that lists the models; this service is asked by POST."""
        return self._post("api/models", {"key": ""})

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        if not is_answer(reply.head.status):
            raise refusal(reply.head, reply.body)
        return model_names(reply)

    def _post(self, path: str, body: dict[str, Any]) -> Request:
        headers = website.headers_of(self.base_url, self.credentials, "*/*", "")
        headers["content-type"] = "application/json"
        url = f"{website.root_of(self.base_url)}/{path}"
        return Request("POST", url, headers, encode(body).encode(), website.IMPERSONATE)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        prompt = tell(prompt)
        options = prompt.options
        website.refuse_all_but(options, ("temperature",), self.name)
        website.refuse_media(prompt, self.name)
        website.refuse_tools(prompt, self.name)
        messages = [_message(message) for message in prompt.messages if message.role not in SYSTEM]
        if not messages or messages[-1]["role"] != "user":
            raise InvalidRequest(f"{self.name} answers a user's message, which must be the last")
        model = self.model or MODEL
        return {
            # `tokenLimit` is the model's context: with less, the server drops messages without a word.
            "model": {"id": model, "name": _NAMES.get(model, model), "maxLength": 24576, "tokenLimit": 8192},
            "messages": messages,
            "key": "",
            "prompt": system_text(prompt.messages) or NEUTRAL,
            "temperature": TEMPERATURE if options.temperature is None else options.temperature,
            **options.body,
        }


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.text}


def refusal(head: Head, body: bytes) -> ProviderError:
    """The error of a response that is no answer: what went wrong stands in the reason phrase, the body says `Error`."""
    if head.status >= 500 and body.strip() in (b"", b"Error") and head.reason:
        return kind_of_status(head.status)(
            excerpt(head.reason, 500), status=head.status, request_id=request_id(head.headers)
        )
    return website.refusal(head, body)


class AuraReader(AnswerEnding):
    """Reads UTF-8 text up to the end of the body, which is its only end mark."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._text = Utf8Text()
        self._came = False
        self._is_page = head.headers.get("content-type", "").lower().startswith("text/html")

    def feed(self, data: bytes, /) -> list[Event]:
        """Takes the bytes of one read and returns their text."""
        if self._ended:
            return []
        if self._is_page:
            return self._end(NotAStream("a web page in the place of an answer"))
        return self._deltas(self._text.feed(data))

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """Takes the end of the body, which completes the answer, or the `error` that cut it off."""
        if self._ended:
            return []
        deltas = self._deltas(self._text.close())
        if self._came and error is None:
            self.finish("unknown")
        return deltas + self._end(error or Truncated("the answer is empty"))

    def _deltas(self, texts: list[str]) -> list[Event]:
        self._came = self._came or bool(texts)
        return [Delta(text) for text in texts]

    def _end(self, error: ProviderError) -> list[Event]:
        self._ended = True
        return [self.make_end(error)]
