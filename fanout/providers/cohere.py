"""Cohere's chat, version 2 of its protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, field, frozen

from fanout.abc import Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, InvalidRequest, Overloaded, ProviderError, ServerError, TimedOut
from fanout.events import Delta, End, Event, Reasoning, Usage
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers import terms
from fanout.providers.citations import Citations
from fanout.providers.media import check_picture, data_uri, type_of
from fanout.providers.reader import JsonReader, count_of, object_of, text_of
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell
from fanout.wire.faults import MESSAGE_LENGTH
from fanout.wire.json_text import excerpt, show

BASE_URL = "https://api.cohere.com"
"""Cohere's address."""

_THINKING = {"enabled": "enabled", "disabled": "disabled", "none": "disabled"}


@frozen
class Cohere(Provider):
    """Cohere's chat.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    `schema_place` says where a schema goes.
    """

    model: str | None = None
    name: str = "cohere"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("CO_API_KEY", "COHERE_API_KEY")
    needs_key: bool = True
    schema_place: SchemaPlace = "request"

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for what it cannot carry."""
        return terms.ask(self.base_url, "/v2/chat", self._credentials(), self._body(prompt))

    def read(self, head: Head, request: Request | None = None) -> "CohereReader":
        """Makes the Reader for a response with this head, whatever its status."""
        return CohereReader(head)

    def adapted(self, error: ProviderError) -> "Cohere | None":
        """The same provider with a schema in the prompt, if `error` says that the service refuses it elsewhere."""
        place = find_next_place(error, self.schema_place)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place, enforced=self.base_url == BASE_URL)

    def models_request(self) -> Request:
        """The request that lists the models that chat. Raises AuthError without a key."""
        return terms.ask_for_models(self.base_url, "/v1/models?endpoint=chat&page_size=1000", self._credentials())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds no list."""
        try:
            return terms.model_names(reply, "models", "name")
        except ProviderError as error:
            raise _error_of_key(error) from None

    def _credentials(self) -> terms.Headers:
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        return terms.bearer(self.key)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [self._message(message) for message in tell(prompt, self.schema_place).messages],
            "stream": True,
            **self._options(prompt.options),
            **prompt.options.body,
        }

    def _options(self, options: Options) -> dict[str, Any]:
        given = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "p": options.top_p,
            "stop_sequences": list(options.stop) or None,
            "seed": options.seed,
            "thinking": self._thinking(options),
            "tools": list(options.tools) or None,
            "tool_choice": self._tool_choice(options.tool_choice),
            "response_format": _response_format(options.schema, self.schema_place) if options.schema else None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _thinking(self, options: Options) -> dict[str, Any] | None:
        """On or off, and how long; there are no efforts."""
        if options.reasoning and options.reasoning not in _THINKING:
            raise InvalidRequest(
                f"{self.name} cannot carry the reasoning {options.reasoning}; it takes enabled, disabled or a budget "
                f"of reasoning_tokens"
            )
        if options.reasoning_tokens:
            return {
                "type": _THINKING.get(options.reasoning or "", "enabled"),
                "token_budget": options.reasoning_tokens,
            }
        if options.reasoning_tokens == 0:
            return {"type": "disabled"}  # the service takes no budget of nothing
        return {"type": _THINKING[options.reasoning]} if options.reasoning else None

    def _tool_choice(self, choice: str | Mapping[str, Any] | None) -> str | None:
        """To force a call or to forbid it; what is auto elsewhere is the default here, and has no word."""
        if choice in (None, "auto"):
            return None
        if choice in ("required", "none"):
            return str(choice).upper()
        raise InvalidRequest(f"{self.name} cannot carry the tool_choice {excerpt(str(choice))}")

    def _message(self, message: Message) -> dict[str, Any]:
        if message.name and message.role != "tool":
            raise InvalidRequest(f"{self.name} cannot carry the name of a message")
        if message.media and message.role != "user":
            raise InvalidRequest(f"{self.name} carries media only in a user's message")
        if message.role == "tool":
            if not message.tool_call_id:
                raise InvalidRequest(f"{self.name} needs the tool_call_id of a tool's result")
            content = [{"type": "text", "text": message.text}]
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
        if message.tool_uses:
            return _calls(message)
        role = "system" if message.role == "developer" else message.role
        return {"role": role, "content": self._content(message) if message.media else message.text}

    def _content(self, message: Message) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": message.text}] if message.text else []
        return parts + [{"type": "image_url", "image_url": {"url": self._address(media)}} for media in message.media]

    def _address(self, media: Media) -> str:
        if not type_of(media).startswith("image/"):
            raise InvalidRequest(f"{self.name} takes only pictures, not {type_of(media)}")
        check_picture(media)
        return data_uri(media) if media.data is not None else media.url or ""


def _response_format(schema: Mapping[str, Any], place: SchemaPlace) -> dict[str, Any] | None:
    if place == "prompt":
        return None
    return {"type": "json_object", **({"json_schema": schema} if place == "request" else {})}


def _calls(message: Message) -> dict[str, Any]:
    """An assistant's calls; what it says beside them is their plan."""
    calls = [
        {"id": use.id, "type": "function", "function": {"name": use.name, "arguments": use.arguments}}
        for use in message.tool_uses
    ]
    return {"role": "assistant", "tool_calls": calls, **({"tool_plan": message.text} if message.text else {})}


def _error_of_key(error: ProviderError) -> ProviderError:
    """The error; with the status 498 Cohere says that the key is invalid, and others that they are overloaded."""
    if error.status != 498 or not isinstance(error, Overloaded):
        return error
    return AuthError(error.message, status=error.status, request_id=error.request_id)


_REASONS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


class CohereReader(JsonReader):
    """Reads the events of /v2/chat, or a whole answer."""

    repeats = True

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._citations = Citations()

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one event of the stream."""
        delta = value.get("delta") or {}
        message = delta.get("message") or {}
        kind = value.get("type")
        if kind in ("content-delta", "content-start"):
            self._read_content(message.get("content") or {}, out)
            return
        match kind:
            case "tool-plan-delta":
                _read_plan(message, out)
            case "tool-call-start" | "tool-call-delta":
                # One object, although its name is in the plural.
                if call := message.get("tool_calls"):
                    self._read_call(value.get("index", 0), call, out)
            case "citation-start":
                self._read_sources([message.get("citations")], out)
            case "message-end":
                self._read_end(delta, out)
            case _:
                self.refuse(value)

    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of a whole answer."""
        message = value.get("message")
        if not isinstance(message, dict):
            return
        _read_plan(message, out)
        for content in message.get("content") or ():
            self._read_content(content, out)
        for index, call in enumerate(message.get("tool_calls") or ()):
            self._read_call(index, call, out)
        self._read_sources(message.get("citations"), out)
        self._read_end(value, out)

    def _read_content(self, content: dict[str, Any], out: list[Event]) -> None:
        if "thinking" in content and (thinking := text_of(content["thinking"])):
            out.append(Reasoning(thinking))
        if (text := content.get("text")) and isinstance(text, str):
            out.append(Delta(text))
        elif (kind := content.get("type", "text")) not in ("text", "thinking"):
            self.note(f"a part of the answer is not known: {show(kind, 200)}")

    def _read_call(self, index: Any, call: dict[str, Any], out: list[Event]) -> None:
        function = call.get("function") or {}
        arguments = text_of(function.get("arguments")) or ""
        piece = self.tool_call(index, call.get("id"), function.get("name"), arguments)
        if piece.id or piece.name or piece.arguments:
            out.append(piece)

    def _read_sources(self, citations: Any, out: list[Event]) -> None:
        for page in _pages(citations):
            self._citations.add(page.get("url"), page.get("title"), out)

    def _read_end(self, end: dict[str, Any], out: list[Event]) -> None:
        """The end mark, unless it says that the answer has failed."""
        if (usage := end.get("usage")) and isinstance(usage, dict):
            self.count(_usage(usage), out)
        raw, words = text_of(end.get("finish_reason")), text_of(end.get("error"))
        said = excerpt(words or f"the service broke off: {raw}", MESSAGE_LENGTH)
        if raw == "TIMEOUT":
            raise TimedOut(said)
        if (raw or "").startswith("ERROR") or (words and not raw):
            raise ServerError(said)
        self.finish(_REASONS.get(raw or "", "unknown"), raw)
        self.end()

    def make_end(self, error: ProviderError) -> End:
        """Makes the End, by an error that says what is wrong with the key."""
        return super().make_end(_error_of_key(error))


def _read_plan(message: dict[str, Any], out: list[Event]) -> None:
    if plan := text_of(message.get("tool_plan")):
        out.append(Reasoning(plan))


def _pages(citations: Any) -> Iterator[dict[str, Any]]:
    """The documents and tools' outputs in citations; some have an address."""
    for citation in citations if isinstance(citations, list) else ():
        cited = citation.get("sources") if isinstance(citation, dict) else None
        for source in cited if isinstance(cited, list) else ():
            if isinstance(source, dict):
                yield from (page for page in source.values() if isinstance(page, dict))


def _usage(value: dict[str, Any]) -> Usage:
    """Counts the tokens that are billed; those beside them have the service's own preamble."""
    counts = object_of(value.get("billed_units")) or object_of(value.get("tokens"))
    return Usage(
        count_of(counts.get("input_tokens")),
        count_of(counts.get("output_tokens")),
        count_of(value.get("cached_tokens")),
    )
