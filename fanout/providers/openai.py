"""Asks by OpenAI's Chat Completions, as OpenAI or any other service that speaks it wants to be asked."""

from collections.abc import Mapping
from typing import Any, Self

from attrs import evolve, field, frozen

from fanout.abc import Access, Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError
from fanout.prompt import Options, Prompt
from fanout.providers import terms
from fanout.providers.chat_messages import MessageForm, WhichReasoning
from fanout.providers.chat_reader import ChatReader
from fanout.providers.chat_refusals import changes
from fanout.providers.quirks import account_of, settings_for
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell

BASE_URL = "https://api.openai.com/v1"
"""OpenAI's own address."""


@frozen
class OpenAI(Provider):
    """A service that speaks Chat Completions; the fields' defaults are OpenAI's own ways.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none. The key
    is a bearer token, unless `key_header` names another header, which holds it bare. `models_url` is where the models
    are listed, if not beside the chat.

    `max_tokens` and `seed` are the service's names for these options: OpenAI has a new one for the first, most hosts
    keep the old. `stream` asks for a stream, `stream_usage` for token counts in it by `stream_options`, which a few
    hosts refuse; `timings` has llama.cpp count with every piece, so that an answer which is cut off is counted too.
    `developer`, `names`, `nulls`, `short_ids` and `reasoning` are the fields of a MessageForm. `schema_place` says
    where a schema goes.
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
    seed: str = "seed"
    stream: bool = True
    stream_usage: bool = True
    timings: bool = False
    developer: bool = True
    names: bool = True
    nulls: bool = True
    short_ids: bool = False
    reasoning: WhichReasoning = "none"
    key_header: str = "authorization"
    models_url: str | None = None
    schema_place: SchemaPlace = "request"

    @classmethod
    def from_access(cls, access: Access, **more: Any) -> Self:
        """Makes the provider for a lane of the catalog, with what the service's quirks and the account ask for."""
        return super().from_access(access, **{**settings_for(access), **account_of(access), **more})

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for media it cannot carry."""
        accept = terms.STREAM if self.stream else "application/json"
        return terms.ask(self.base_url, "/chat/completions", self._credentials(), self._body(prompt), accept)

    def read(self, head: Head, request: Request | None = None) -> ChatReader:
        """Makes the Reader for a response with this head, whatever its status."""
        return ChatReader(head, self.maker)

    def adapted(self, error: ProviderError) -> "OpenAI | None":
        """The same provider without what the service refuses by `error`, or with what it demands; None for others."""
        forms = (evolve(self, **change) for change in changes(error, self.max_tokens))
        if (form := next((form for form in forms if form != self), None)) is not None:
            return form
        place = find_next_place(error, self.schema_place)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place, enforced=self.base_url.startswith("local:"))

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        where = (self.models_url, "") if self.models_url else (self.base_url, "/models")
        return terms.ask_for_models(*where, self._credentials())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return terms.model_names(reply)

    def _credentials(self) -> dict[str, str | Secret]:
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        headers = terms.bearer(self.key)
        if self.key is not None and self.key_header != "authorization":
            headers = {self.key_header: self.key}
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        form = MessageForm(self.developer, self.names, self.nulls, self.short_ids, self.reasoning)
        return {
            "model": self.model,
            "messages": form.write(tell(prompt, self.schema_place).messages, self.maker),
            "stream": self.stream,
            **({"stream_options": {"include_usage": True}} if self.stream and self.stream_usage else {}),
            **({"timings_per_token": True} if self.stream and self.timings else {}),
            **self._options(prompt.options),
            **prompt.options.body,
        }

    def _options(self, options: Options) -> dict[str, Any]:
        terms.refuse(options, ["reasoning_tokens"], self.name)
        given = {
            self.max_tokens: options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            self.seed: options.seed,
            "reasoning_effort": options.reasoning,
            "tools": list(options.tools) or None,
            "tool_choice": options.tool_choice,
            "response_format": options.schema and _response_format(options.schema, self.schema_place),
        }
        return {name: value for name, value in given.items() if value is not None}


def _response_format(schema: Mapping[str, Any], place: SchemaPlace) -> dict[str, Any] | None:
    if place != "request":
        return {"type": "json_object"} if place == "json" else None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
