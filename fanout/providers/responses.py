"""OpenAI's Responses, the successor of Chat Completions."""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from mimetypes import guess_extension
from typing import Any, Self

from attrs import field, frozen

from fanout.abc import Access, Head, Provider, Reply, Request
from fanout.errors import InvalidRequest, ServerError
from fanout.events import Delta, Event, Reasoning, Refusal, Usage
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers import terms
from fanout.providers.citations import Citations
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.openai import BASE_URL
from fanout.providers.quirks import account_of
from fanout.providers.reader import JsonReader, count_of, text_of
from fanout.secret import Secret
from fanout.wire.json_text import encode


@frozen
class Responses(Provider):
    """A service that speaks Responses. Nothing of a conversation is kept there: each request carries all of it.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    `summary` (auto, concise, detailed) asks for a summary of the reasoning, which OpenAI gives only to those it has
    verified. System messages at the beginning become the instructions. A message's `name` has no place on this wire.
    """

    model: str | None = None
    name: str = "responses"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("OPENAI_API_KEY",)
    needs_key: bool = True
    organization: str | None = None
    project: str | None = None
    summary: str | None = None

    @classmethod
    def from_access(cls, access: Access, **more: Any) -> Self:
        """Makes the provider for a lane of the catalog, with the account's organization."""
        return super().from_access(access, **{**account_of(access), **more})

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`.

        Raises AuthError without a key, InvalidRequest for an option or media that the wire cannot carry.
        """
        headers = {
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # a coding may hold events back
            "content-type": "application/json",
            **self._credentials(),
        }
        return Request("POST", f"{self._root}/responses", headers, encode(self._body(prompt)).encode())

    def read(self, head: Head) -> "ResponsesReader":
        """A Reader for a response with this head, whatever its status."""
        return ResponsesReader(head)

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        headers = {"accept": "application/json", "accept-encoding": "identity", **self._credentials()}
        return Request("GET", f"{self._root}/models", headers)

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return terms.model_names(reply)

    @property
    def _root(self) -> str:
        return self.base_url.rstrip("/")

    def _credentials(self) -> dict[str, str | Secret]:
        if self.key is None and self.needs_key:
            raise terms.no_key(self.key_env)
        headers: dict[str, str | Secret] = {}
        if self.key is not None:
            headers["authorization"] = Secret(f"Bearer {self.key.reveal()}")
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        system = list(takewhile(lambda message: message.role == "system" and not message.media, prompt.messages))
        if len(system) == len(prompt.messages):
            system = []  # the input must not be empty
        given = {
            "model": self.model,
            "instructions": "\n\n".join(message.text for message in system) or None,
            "input": [item for message in prompt.messages[len(system) :] for item in _items(message)],
            "stream": True,
            "store": False,  # the service keeps answers for weeks unless it is told not to
            **self._options(prompt.options),
        }
        return {**{name: value for name, value in given.items() if value is not None}, **prompt.options.body}

    def _options(self, options: Options) -> dict[str, Any]:
        terms.refuse(options, ("stop", "seed", "reasoning_tokens"), self.name)
        reasoning = {"effort": options.reasoning, "summary": self.summary}
        return {
            "max_output_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "reasoning": {name: value for name, value in reasoning.items() if value} or None,
            "tools": [_tool(tool) for tool in options.tools] or None,
            "tool_choice": _tool_choice(options.tool_choice),
            "text": options.schema and {"format": {"type": "json_schema", "name": "answer", "schema": options.schema}},
        }


def _items(message: Message) -> Iterator[dict[str, Any]]:
    """A message as items of the input: an assistant's tool calls are items beside its words."""
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": _content(message)}
        return
    if message.text or message.media or not message.tool_uses:
        yield {"role": message.role, "content": _content(message)}
    for use in message.tool_uses:
        yield {"type": "function_call", "call_id": use.id, "name": use.name, "arguments": use.arguments}


def _content(message: Message) -> Any:
    if not message.media:
        return message.text
    if message.role == "assistant":
        raise InvalidRequest("an assistant's earlier message can carry only text here")
    text = [{"type": "input_text", "text": message.text}] if message.text else []
    return [*text, *(_part(media) for media in message.media)]


_SOUNDS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}


def _part(media: Media) -> dict[str, Any]:
    media_type = type_of(media)
    if media_type.startswith("image/"):
        return {"type": "input_image", "detail": "auto", "image_url": _address(media)}
    if sound := _SOUNDS.get(media_type):
        return {"type": "input_audio", "input_audio": {"data": base64_of(media), "format": sound}}
    if media_type.startswith(("audio/", "video/")):
        raise InvalidRequest(f"pictures, files, wav and mp3 can be sent along, not {media_type}")
    if media.data is None:
        return {"type": "input_file", "file_url": media.url}
    name = media.name or f"file{guess_extension(media_type) or ''}"  # bytes without a name are refused
    return {"type": "input_file", "filename": name, "file_data": data_uri(media)}


def _address(media: Media) -> str | None:
    return media.url if media.data is None else data_uri(media)


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function, flat. Without a word about it, it would be strict here, and is not in Chat Completions."""
    if "function" not in tool:
        return tool
    return {"type": "function", "parameters": {"type": "object", "properties": {}}, "strict": False, **tool["function"]}


def _tool_choice(choice: str | Mapping[str, Any] | None) -> Any:
    if isinstance(choice, Mapping) and "function" in choice:
        return {"type": "function", "name": choice["function"]["name"]}
    return choice


_PIECES: dict[Any, type[Delta | Reasoning | Refusal]] = {
    "response.output_text.delta": Delta,
    "response.refusal.delta": Refusal,
    "response.reasoning_text.delta": Reasoning,
    "response.reasoning_summary_text.delta": Reasoning,
}

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}

# The codes of a failed response that are known to no other service, by the code that means the same everywhere.
_CODES = {
    "vector_store_timeout": "timeout_error",
    **dict.fromkeys(
        (
            *("data_residency_mismatch", "bio_policy", "misalignment_policy_violation"),
            *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url"),
            *("invalid_image_mode", "image_too_large", "image_too_small", "image_parse_error"),
            *("image_content_policy_violation", "image_file_too_large", "unsupported_image_media_type"),
            *("empty_image_file", "failed_to_download_image", "image_file_not_found"),
        ),
        "invalid_prompt",
    ),
}


class ResponsesReader(JsonReader):
    """Reads Responses. What repeats a text at its end is read only where nothing came by delta before."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._came = False  # whether any content came by delta
        self._items: dict[str, int] = {}
        self._argued: set[int] = set()  # the tool calls whose arguments came
        self._citations = Citations()

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one event of the stream; those of an unknown type have none."""
        kind = value.get("type")
        if piece := _PIECES.get(kind):
            if (text := value.get("delta")) and isinstance(text, str):
                self._came = True
                out.append(piece(text))
            return
        match kind:
            case "response.created" | "response.in_progress":
                self._read_model(value["response"])
            case "response.output_item.added" | "response.output_item.done":
                self._read_item(value, out)
            case "response.function_call_arguments.delta":
                self._read_arguments(value, out)
            case "response.output_text.annotation.added":
                self._cite(value.get("annotation") or {}, out)
            case "response.completed" | "response.incomplete" | "response.failed":
                self._read_response(value["response"], kind.removeprefix("response."), out)
                self.end()
            case "error":
                self.refuse(value)

    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        """The same for a whole response in one JSON document."""
        if "output" in value:
            self._read_response(value, value.get("status"), out)
        else:
            self.read(value, out)

    def refuse(self, value: object, *, named: bool = False) -> None:
        """Raises the error that `value` is, if it is one."""
        super().refuse(_with_known_code(value), named=named)

    def _read_model(self, response: dict[str, Any]) -> None:
        self.model = self.model or text_of(response.get("model"))

    def _read_response(self, response: dict[str, Any], status: Any, out: list[Event]) -> None:
        self._read_model(response)
        if not self._came:
            self._read_output(response.get("output") or (), out)
        if isinstance(usage := response.get("usage"), dict):
            self.count(_usage(usage), out)
        if status == "completed":
            self.finish("stop", status)
        elif status == "incomplete":
            raw = text_of((response.get("incomplete_details") or {}).get("reason"))
            self.finish(_INCOMPLETE.get(raw or "", "unknown"), raw or status)
        elif status in ("failed", "cancelled"):
            self.refuse({"error": response.get("error")})
            raise ServerError(f"the response is {status}")

    def _read_output(self, output: Any, out: list[Event]) -> None:
        """The items of a whole response."""
        for index, item in enumerate(output):
            kind = item.get("type")
            if kind == "message":
                self._read_content(item["content"], out)
            elif kind == "reasoning":
                thoughts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                out += [Reasoning(text) for thought in thoughts if (text := text_of(thought.get("text")))]
            elif kind == "function_call":
                self._read_call(index, item, out)

    def _read_content(self, content: Any, out: list[Event]) -> None:
        for part in content:
            if text := text_of(part.get("text")):
                out.append(Delta(text))
            if refusal := text_of(part.get("refusal")):
                out.append(Refusal(refusal))
            for annotation in part.get("annotations") or ():
                self._cite(annotation, out)

    def _read_item(self, value: dict[str, Any], out: list[Event]) -> None:
        """An item begins, or is done and repeated as a whole."""
        item = value["item"]
        if item.get("type") == "function_call":
            begins = value["type"] == "response.output_item.added"
            self._read_call(self._index(value, item), {**item, "arguments": None} if begins else item, out)

    def _read_arguments(self, value: dict[str, Any], out: list[Event]) -> None:
        if delta := text_of(value.get("delta")):
            index = self._index(value, {"id": value.get("item_id")})
            self._argued.add(index)
            out.append(self.tool_call(index, None, None, delta))

    def _read_call(self, index: int, item: dict[str, Any], out: list[Event]) -> None:
        arguments = "" if index in self._argued else text_of(item.get("arguments")) or ""
        if arguments:
            self._argued.add(index)
        if arguments or index not in self._calls:
            self._came = True
            out.append(self.tool_call(index, item.get("call_id") or item.get("id"), item.get("name"), arguments))

    def _index(self, value: dict[str, Any], item: dict[str, Any]) -> int:
        """The item's place in the output. llama.cpp does not say it: there, what has the same id is the same."""
        ids = [name for key in ("id", "call_id") if (name := text_of(item.get(key)))]
        index: int | None = value.get("output_index")
        if index is None:
            known = [self._items[name] for name in ids if name in self._items]
            index = known[0] if known else len(set(self._items.values()))
        self._items.update(dict.fromkeys(ids, index))
        return index

    def _cite(self, annotation: dict[str, Any], out: list[Event]) -> None:
        if annotation.get("type") == "url_citation":
            self._citations.add(annotation.get("url"), annotation.get("title"), out)


def _with_known_code(value: object) -> object:
    if not isinstance(value, dict):
        return value
    inner = value.get("error")
    inner = inner if isinstance(inner, dict) else value
    code = _CODES.get(text_of(inner.get("code")) or "")
    return {"error": {**inner, "code": code}} if code else value


def _usage(value: dict[str, Any]) -> Usage:
    return Usage(
        input=count_of(value.get("input_tokens")),
        output=count_of(value.get("output_tokens")),
        cached=count_of((value.get("input_tokens_details") or {}).get("cached_tokens")),
        reasoning=count_of((value.get("output_tokens_details") or {}).get("reasoning_tokens")),
    )
