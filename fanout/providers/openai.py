"""OpenAI's Chat Completions, and the dialects of all the services that speak it."""

import re
from collections.abc import Mapping
from typing import Any, Self

from attrs import evolve, field, frozen

from fanout.abc import Access, Head, Provider, Reply, Request
from fanout.errors import InvalidRequest, Overloaded, ProviderError, ServerError
from fanout.events import Delta, Event, Reasoning, Refusal, Usage
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.quirks import account_of, settings_for
from fanout.providers.reader import JsonReader, count_of, text_of
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

    @classmethod
    def from_access(cls, access: Access, **more: Any) -> Self:
        """Makes the provider for a lane of the catalog, with what the service's quirks and the account ask for."""
        return super().from_access(access, **{**settings_for(access), **account_of(access), **more})

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for media it cannot carry."""
        headers = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # a coding may hold events back
            "content-type": "application/json",
            **self._credentials(),
        }
        return Request("POST", f"{self._root}/chat/completions", headers, encode(self._body(prompt)).encode())

    def read(self, head: Head, request: Request | None = None) -> "ChatReader":
        """Makes the Reader for a response with this head, whatever its status."""
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

_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class ChatReader(JsonReader):
    """Reads Chat Completions in every dialect; choices other than the first are ignored."""

    done_ends = True
    repeats = True

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._came = False  # whether any content came by delta
        self._message: dict[str, Any] | None = None
        self._ids: dict[str, int] = {}
        self._timings: Any = None
        self._counted = False

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one chunk, or of one whole completion."""
        if self.model is None:
            self.model = text_of(value.get("model"))
        choices = value.get("choices")
        usage = value.get("usage")
        if not choices:
            self.refuse(value)  # an error without the key "error", as vLLM sends it
        for choice in choices or ():
            if choice.get("index"):
                continue
            delta = choice.get("delta")
            if delta and len(delta) == 1 and type(content := delta.get("content")) is str:
                # Nearly every chunk of nearly every service.
                if content:
                    self._came = True
                    out.append(Delta(content))
            elif delta:
                self._read_delta(delta, out)
            if "message" in choice:
                self._message = choice["message"]
            if raw := choice.get("finish_reason"):
                self._read_finish(raw)
            usage = usage or choice.get("usage")  # Moonshot
        if "x_groq" in value:
            extra = value["x_groq"] or {}
            self.refuse(extra)
            usage = usage or extra.get("usage")
        if usage and isinstance(usage, dict):
            self._counted = True
            self.count(_usage(usage), out)
        if "timings" in value:
            self._timings = value["timings"]

    def rest(self, out: list[Event], /) -> list[Event]:
        """A whole message counts only if nothing came by delta, and timings only without usage: some send both."""
        if self._message and not self._came:
            self._read_delta(self._message, out)
        if isinstance(self._timings, dict) and not self._counted:
            self.count(_processed(self._timings), out)
        return out

    def _read_delta(self, delta: dict[str, Any], out: list[Event]) -> None:
        before = len(out)
        if thought := _thought(delta):
            out.append(Reasoning(thought))
        _read_content(delta.get("content"), out)
        if refusal := text_of(delta.get("refusal")):
            out.append(Refusal(refusal))
        for position, call in enumerate(delta.get("tool_calls") or ()):
            self._read_call(position, call, out)
        if call := delta.get("function_call"):  # what there was before tool calls: one at most, without an id
            self._read_call(0, {"function": call}, out)
        self._came = self._came or len(out) > before

    def _read_call(self, position: int, call: dict[str, Any], out: list[Event]) -> None:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else encode(arguments)
        piece = self.tool_call(self._index(position, call), call.get("id"), function.get("name"), arguments)
        if piece.id or piece.name or piece.arguments:
            out.append(piece)

    def _index(self, position: int, call: dict[str, Any]) -> Any:
        """Without an index, the place in the list is it; but a new id is a new call, in whatever place."""
        index = call.get("index")
        call_id = text_of(call.get("id"))
        if index is not None or call_id is None:
            return position if index is None else index
        free = position if position not in self._ids.values() else len(self._ids)
        return self._ids.setdefault(call_id, free)

    def _read_finish(self, raw: str) -> None:
        if raw == "error":
            raise ServerError("the service broke off with an error")
        if raw == "insufficient_system_resource":  # DeepSeek
            raise Overloaded("the service broke off for lack of room")
        self.finish(_REASONS.get(raw, "unknown"), raw)


def _thought(delta: dict[str, Any]) -> str | None:
    """The reasoning in a delta, once: OpenRouter sends it under two names."""
    if thought := text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning")):
        return thought
    details = delta.get("reasoning_details") or ()
    return "".join(text_of(detail.get("text")) or text_of(detail.get("summary")) or "" for detail in details) or None


def _read_content(content: Any, out: list[Event]) -> None:
    """A text, or Mistral's list of parts."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for part in content or ():
        if part.get("type") == "text" and (text := text_of(part.get("text"))):
            out.append(Delta(text))
        elif part.get("type") == "thinking" and (thinking := part.get("thinking")):
            texts = [thinking] if isinstance(thinking, str) else [text_of(inner.get("text")) for inner in thinking]
            out += [Reasoning(text) for text in texts if text]


def _processed(timings: dict[str, Any]) -> Usage:
    """What llama.cpp has processed (tools/server/README.md): of the prompt, `cache_n` tokens were there already."""
    cached = count_of(timings.get("cache_n"))
    prompt = count_of(timings.get("prompt_n"))
    return Usage(
        input=None if prompt is None else prompt + (cached or 0),
        output=count_of(timings.get("predicted_n")),
        cached=cached,
    )


def _usage(value: dict[str, Any]) -> Usage:
    prompt = value.get("prompt_tokens_details") or {}
    completion = value.get("completion_tokens_details") or {}
    return Usage(
        input=count_of(value.get("prompt_tokens")),
        output=count_of(value.get("completion_tokens")),
        cached=count_of(prompt.get("cached_tokens", value.get("prompt_cache_hit_tokens"))),
        reasoning=count_of(completion.get("reasoning_tokens")),
    )
