"""OpenAI's Responses, the successor of Chat Completions."""

from collections.abc import Container, Iterator, Mapping
from itertools import takewhile
from mimetypes import guess_extension
from typing import Any, Self
from urllib.parse import quote

from attrs import field, frozen

from fanout.abc import Access, Head, Provider, Reply, Request
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest
from fanout.prompt import Media, Message, Options, Prompt
from fanout.providers import terms
from fanout.providers.media import base64_of, data_uri, type_of
from fanout.providers.openai import BASE_URL
from fanout.providers.quirks import account_of
from fanout.providers.responses_calls import custom_tools
from fanout.providers.responses_reader import ResponsesReader


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
        return terms.ask(self.base_url, "/responses", self._credentials(), self._body(prompt))

    def read(self, head: Head, request: Request | None = None) -> ResponsesReader:
        """Makes the Reader for a response to `request`, whose tools tell the caller's calls from the service's own."""
        return ResponsesReader(head, request.body if request else b"", self._file_request)

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        return terms.ask_for_models(self.base_url, "/models", self._credentials())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return terms.model_names(reply)

    def _file_request(self, container: str, file_id: str) -> Request:
        """The request that gets a file which the service's code has written in a container."""
        root = self.base_url.partition("?")[0].rstrip("/").removesuffix("/responses")
        url = f"{root}/containers/{quote(container, safe='')}/files/{quote(file_id, safe='')}/content"
        return Request("GET", url, {"accept": "*/*", "accept-encoding": "identity", **self._given_credentials()})

    def _credentials(self) -> dict[str, str | Secret]:
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        return self._given_credentials()

    def _given_credentials(self) -> dict[str, str | Secret]:
        headers = terms.bearer(self.key)
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        system = list(takewhile(lambda message: message.role == "system" and not message.media, prompt.messages))
        if len(system) == len(prompt.messages):
            system = []  # the input must not be empty
        tools = custom_tools([*prompt.options.tools, *(prompt.options.body.get("tools") or ())])
        custom = {use.id for message in prompt.messages for use in message.tool_uses if use.name in tools}
        given = {
            "model": self.model,
            "instructions": "\n\n".join(message.text for message in system) or None,
            "input": [item for message in prompt.messages[len(system) :] for item in _items(message, custom)],
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


def _items(message: Message, custom: Container[str | None]) -> Iterator[dict[str, Any]]:
    """A message as items of the input: an assistant's tool calls are items beside its words.

    `custom` are the ids of the calls of custom tools, which have an input that is no JSON.
    """
    if message.role == "tool":
        kind = "custom_tool_call_output" if message.tool_call_id in custom else "function_call_output"
        yield {"type": kind, "call_id": message.tool_call_id, "output": _content(message)}
        return
    if message.text or message.media or not message.tool_uses:
        yield {"role": message.role, "content": _content(message)}
    for use in message.tool_uses:
        if use.id in custom:
            yield {"type": "custom_tool_call", "call_id": use.id, "name": use.name, "input": use.arguments}
        else:
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
    """A tool, flat. A function without a word about it would be strict here, and is not in Chat Completions."""
    if "custom" in tool:
        return {"type": "custom", **tool["custom"]}
    if "function" not in tool:
        return tool
    return {"type": "function", "parameters": {"type": "object", "properties": {}}, "strict": False, **tool["function"]}


def _tool_choice(choice: str | Mapping[str, Any] | None) -> Any:
    if isinstance(choice, Mapping):
        for kind in ("function", "custom"):
            if kind in choice:
                return {"type": kind, "name": choice[kind]["name"]}
    return choice
