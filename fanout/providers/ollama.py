"""Ollama's own chat protocol: newline-delimited JSON from a server on this machine or another."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from fanout.abc import Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest, ProtocolError, ProviderError
from fanout.events import Delta, Event, Reasoning, Usage
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from fanout.providers import terms
from fanout.providers.media import base64_of, check_picture, file_of_base64, type_of
from fanout.providers.opaque import is_own
from fanout.providers.reader import JsonReader, count_of, text_of
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell
from fanout.wire.json_text import JsonText, encode

BASE_URL = "http://127.0.0.1:11434"
"""The address on which Ollama listens unless it is told otherwise."""

_THINK: Mapping[str, bool] = {"true": True, "false": False, "none": False}


@frozen
class Ollama(Provider):
    """An Ollama server. It asks for no key itself; Ollama's cloud does, and so may what stands before a server.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    """

    model: str | None = None
    name: str = "ollama"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("OLLAMA_API_KEY",)
    needs_key: bool = False
    schema_place: SchemaPlace = "request"

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for what it cannot carry."""
        return terms.ask(self.base_url, "/api/chat", self._credentials(), self._body(prompt), "application/x-ndjson")

    def read(self, head: Head, request: Request | None = None) -> "OllamaReader":
        """Makes the Reader for a response with this head, whatever its status."""
        return OllamaReader(head)

    def adapted(self, error: ProviderError) -> "Ollama | None":
        """The same provider with a schema in the prompt, if `error` says that the service refuses it elsewhere."""
        place = find_next_place(error, self.schema_place)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place, enforced=self.base_url == BASE_URL)

    def models_request(self) -> Request:
        """The request that lists the models on this server. Raises AuthError without a key."""
        return terms.ask_for_models(self.base_url, "/api/tags", self._credentials())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds no list."""
        return terms.model_names(reply, "models", "name")

    def _credentials(self) -> terms.Headers:
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        return terms.bearer(self.key)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = prompt.options
        self._check(options)
        given = {
            "model": self.model,
            "messages": self._messages(tell(prompt, self.schema_place).messages),
            "stream": True,
            "think": _THINK.get(options.reasoning, options.reasoning) if options.reasoning else None,
            "tools": list(options.tools) or None,
            "format": _format(options, self.schema_place),
            "options": _options(options) or None,
        }
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        extra = dict(options.body)
        if isinstance(more := extra.get("options"), Mapping):
            extra["options"] = {**body.get("options", {}), **more}
        return {**body, **extra}

    def _check(self, options: Options) -> None:
        terms.refuse(options, ("reasoning_tokens",), self.name)
        if options.tool_choice not in (None, "auto"):
            raise InvalidRequest(f"{self.name} cannot carry tool_choice: its models choose")

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        made = []
        names: dict[str, str] = {}
        for message in messages:
            names.update((use.id, use.name) for use in message.tool_uses)
            made.append(self._message(message, names))
        return made

    def _message(self, message: Message, names: Mapping[str, str]) -> dict[str, Any]:
        # The models' templates know no developer.
        role = "system" if message.role == "developer" else message.role
        made: dict[str, Any] = {"role": role, "content": message.text}
        if message.media:
            made["images"] = [self._image(media) for media in message.media]
        if message.reasoning and is_own(message, self.maker):
            made["thinking"] = message.reasoning
        if message.tool_uses:
            made["tool_calls"] = [self._call(use) for use in message.tool_uses]
        if role == "tool":
            name = message.name or names.get(message.tool_call_id or "")
            if not name:
                raise InvalidRequest(f"{self.name} needs to know which tool gave the result {message.tool_call_id}")
            made["tool_name"] = name
        elif message.name:
            raise InvalidRequest(f"{self.name} cannot carry the name of a message")
        return made

    def _image(self, media: Media) -> str:
        if not type_of(media).startswith("image/"):
            raise InvalidRequest(f"{self.name} takes only pictures, not {type_of(media)}")
        if media.data is None:
            raise InvalidRequest(f"{self.name} takes pictures as bytes, and fetches none from {media.url}")
        check_picture(media)
        return base64_of(media)

    def _call(self, use: ToolUse) -> dict[str, Any]:
        try:
            arguments = JsonText().decode(use.arguments or "{}")
        except ProtocolError:
            arguments = None
        if not isinstance(arguments, dict):
            raise InvalidRequest(f"{self.name} takes only an object for the arguments of {use.name}")
        return {"function": {"name": use.name, "arguments": arguments}}


def _format(options: Options, place: SchemaPlace) -> Any:
    if not options.schema or place == "prompt":
        return None
    return options.schema if place == "request" else "json"


def _options(options: Options) -> dict[str, Any]:
    given = {
        "num_predict": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop": list(options.stop) or None,
        "seed": options.seed,
    }
    return {name: value for name, value in given.items() if value is not None}


_REASONS = {"stop": "stop", "length": "length"}


class OllamaReader(JsonReader):
    """Reads the lines of /api/chat."""

    lines = True

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._next_call = 0

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one line."""
        if self.model is None:
            self.model = text_of(value.get("model"))
        message = value.get("message")
        if not message:
            message = {}
            if not value.get("done"):
                self.refuse(value)
        more = len(message) != 2 or "role" not in message  # than role and content
        if more and (thinking := text_of(message.get("thinking"))):
            out.append(Reasoning(thinking))
        if (text := message.get("content")) and isinstance(text, str):
            out.append(Delta(text))
        if more:
            for call in message.get("tool_calls") or ():
                if call is not None:
                    self._read_call(call, out)
            images = message.get("images")
            out += [file for image in images if (file := file_of_base64(image))] if isinstance(images, list) else []
        if value.get("done"):
            self._read_done(value, out)

    def _read_call(self, call: dict[str, Any], out: list[Event]) -> None:
        """A call comes whole, and its id only from newer servers."""
        function = call["function"]
        index, self._next_call = self._next_call, self._next_call + 1
        call_id = text_of(call.get("id")) or f"call_{index}"
        arguments = function.get("arguments") or {}
        text = arguments if isinstance(arguments, str) else encode(arguments)  # other servers of this wire write a text
        out.append(self.tool_call(index, call_id, function.get("name"), text))

    def _read_done(self, value: dict[str, Any], out: list[Event]) -> None:
        # A count of 0 is left out: a prompt that is cached has none.
        usage = Usage(count_of(value.get("prompt_eval_count")), count_of(value.get("eval_count")))
        self.count(usage, out)
        raw = text_of(value.get("done_reason"))
        self.finish(_REASONS.get(raw or "", "unknown"), raw)
        self.end()
