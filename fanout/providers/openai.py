"""OpenAI's Chat Completions, and the dialects of all the services that speak it."""

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from fanout.abc import Head, Provider, Reply, Request
from fanout.errors import InvalidRequest, ProviderError
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers.chat_reader import ChatReader
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.terms import model_names, no_key, refuse
from fanout.secret import Secret
from fanout.wire.json_text import encode

BASE_URL = "https://api.openai.com/v1"
"""Where OpenAI itself listens."""


@frozen
class OpenAI(Provider):
    """A service that speaks Chat Completions.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    `max_tokens` is the service's name for that option: OpenAI has a new one, most hosts keep the old. `stream_usage`
    asks for token counts by `stream_options`, which a few hosts refuse; `timings` has llama.cpp count with every piece,
    so that an answer which is cut off is counted too. The key is a bearer token, unless `key_header` names another
    header, which holds it bare. `models_url` is where the models are listed, if not beside the chat.
    """

    model: str | None = None
    name: str = "openai"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("OPENAI_API_KEY",)
    needs_key: bool = True
    organization: str | None = None
    project: str | None = None
    max_tokens: str = "max_completion_tokens"
    stream_usage: bool = True
    timings: bool = False
    key_header: str = "authorization"
    models_url: str | None = None

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for media it cannot carry."""
        headers = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # a coding may hold events back
            "content-type": "application/json",
            **self._credentials(),
        }
        return Request("POST", f"{self._root}/chat/completions", headers, encode(self._body(prompt)).encode())

    def read(self, head: Head) -> ChatReader:
        """A Reader for a response with this head, whatever its status."""
        return ChatReader(head)

    def adapted(self, error: ProviderError) -> "OpenAI | None":
        """Without `stream_options`, or with the other name of `max_tokens`, if the service complains of these."""
        if not isinstance(error, InvalidRequest) or not _UNKNOWN.search(error.message):
            return None
        if self.stream_usage and "stream_options" in error.message:
            return evolve(self, stream_usage=False)
        for name, other in (_NAMES, _NAMES[::-1]):
            # A service that refuses one name of the option names the other: "use 'max_completion_tokens' instead".
            if self.max_tokens == name and re.search(rf"\b{other}\b", error.message):
                return evolve(self, max_tokens=other)
        return None

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        headers = {"accept": "application/json", "accept-encoding": "identity", **self._credentials()}
        return Request("GET", self.models_url or f"{self._root}/models", headers)

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return model_names(reply)

    @property
    def _root(self) -> str:
        return self.base_url.rstrip("/")

    def _credentials(self) -> dict[str, str | Secret]:
        if self.key is None and self.needs_key:
            raise no_key(self.key_env)
        headers: dict[str, str | Secret] = {}
        if self.key is not None and self.key_header == "authorization":
            headers["authorization"] = Secret(f"Bearer {self.key.reveal()}")
        elif self.key is not None:
            headers[self.key_header] = self.key
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [_message(message) for message in prompt.messages],
            "stream": True,
            **({"stream_options": {"include_usage": True}} if self.stream_usage else {}),
            **({"timings_per_token": True} if self.timings else {}),
            **self._options(prompt.options),
            **prompt.options.body,
        }

    def _options(self, options: Options) -> dict[str, Any]:
        refuse(options, ["reasoning_tokens"], self.name)
        given = {
            self.max_tokens: options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            "seed": options.seed,
            "reasoning_effort": options.reasoning,
            "tools": list(options.tools) or None,
            "tool_choice": options.tool_choice,
            "response_format": options.schema and _response_format(options.schema),
        }
        return {name: value for name, value in given.items() if value is not None}


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _message(message: Message) -> dict[str, Any]:
    content: Any = message.text or (None if message.tool_uses else "")
    if message.media:
        content = [{"type": "text", "text": message.text}] if message.text else []
        content += [_part(media) for media in message.media]
    given: dict[str, Any] = {"role": message.role, "content": content, "name": message.name}
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    if message.tool_uses:
        given["tool_calls"] = [
            {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": use.arguments}}
            for use in message.tool_uses
        ]
    return {name: value for name, value in given.items() if value is not None}


def _part(media: Media) -> dict[str, Any]:
    """A picture by its address or bytes; sound and other files by their bytes."""
    kind = type_of(media)
    if kind.startswith("image/"):
        url = media.url if media.data is None else data_uri(media)
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/"):
        form = _SOUNDS.get(kind, kind.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": base64_of(media), "format": form}}
    return {"type": "file", "file": {"filename": media.name or "file", "file_data": data_uri(media)}}


_SOUNDS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}

_UNKNOWN = re.compile("support|permit|recogni|unknown|unexpected|allowed|instead", re.IGNORECASE)
_NAMES = ("max_tokens", "max_completion_tokens")
