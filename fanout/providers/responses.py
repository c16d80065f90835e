"""OpenAI's Responses, the successor of Chat Completions."""

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, Self
from urllib.parse import quote, urlsplit

from attrs import evolve, field, frozen

from fanout.abc import Access, Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest, ProviderError
from fanout.prompt import Options, Prompt
from fanout.providers import terms
from fanout.providers.openai import BASE_URL
from fanout.providers.quirks import account_of
from fanout.providers.responses_calls import custom_tools
from fanout.providers.responses_input import items_of
from fanout.providers.responses_reader import ResponsesReader
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell

_ENCRYPTED = "reasoning.encrypted_content"
_ENCRYPTING = ("api.openai.com", ".openai.azure.com", "api.x.ai")
_UNREASONING = ("gpt-3", "gpt-4", "chatgpt-4")

# "Encrypted content is not supported with this model."
_NOT_ENCRYPTED = re.compile(r"encrypted.content\b.{0,40}\bnot\b.{0,20}support", re.IGNORECASE)


@frozen
class Responses(Provider):
    """A service that speaks Responses. Nothing of a conversation is kept there: each request carries all of it.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    `summary` (auto, concise, detailed) asks for a summary of the reasoning, which OpenAI gives only to those it has
    verified. System messages at the beginning become the instructions. A message's `name` has no place on this wire.
    `encrypted` asks for the reasoning in encrypted form, to be sent back in later turns; None: where it is known that
    the service has it. Where the options' body has the service store answers, nothing is asked for. `schema_place` says
    where a schema goes.
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
    encrypted: bool | None = None
    schema_place: SchemaPlace = "request"

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
        return ResponsesReader(head, request.body if request else b"", self._file_request, self.maker)

    def adapted(self, error: ProviderError) -> "Responses | None":
        """The same provider without what the service refuses by `error`: encrypted reasoning, or a schema."""
        if isinstance(error, InvalidRequest) and _NOT_ENCRYPTED.search(error.message) and self._encrypts():
            return evolve(self, encrypted=False)
        place = find_next_place(error, self.schema_place)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place)

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
        prompt = tell(prompt, self.schema_place)
        tools = custom_tools([*prompt.options.tools, *(prompt.options.body.get("tools") or ())])
        custom = {use.id for message in prompt.messages for use in message.tool_uses if use.name in tools}
        given = {
            "model": self.model,
            "instructions": "\n\n".join(message.text for message in system) or None,
            "input": [
                item for message in prompt.messages[len(system) :] for item in items_of(message, custom, self.maker)
            ],
            "stream": True,
            "store": False,  # the service keeps answers for weeks unless it is told not to
            **self._options(prompt.options),
        }
        extra = dict(prompt.options.body)
        if self._encrypts() and not extra.get("store"):
            extra["include"] = list(dict.fromkeys([*(extra.get("include") or ()), _ENCRYPTED]))
        return {**{name: value for name, value in given.items() if value is not None}, **extra}

    def _encrypts(self) -> bool:
        """True if encrypted reasoning may be asked for: OpenAI refuses that for models which do not reason."""
        if self.encrypted is not None:
            return self.encrypted
        host = urlsplit(self.base_url).hostname or ""
        return host.endswith(_ENCRYPTING) and not (self.model or "").startswith(_UNREASONING)

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
            "text": options.schema and _text_format(options.schema, self.schema_place),
        }


def _text_format(schema: Mapping[str, Any], place: SchemaPlace) -> dict[str, Any] | None:
    if place != "request":
        return {"format": {"type": "json_object"}} if place == "json" else None
    return {"format": {"type": "json_schema", "name": "answer", "schema": schema}}


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
