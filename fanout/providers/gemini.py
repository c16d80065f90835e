"""Google's Gemini API: streamGenerateContent, as server-sent events or as a JSON array that grows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import evolve, field, frozen

from fanout.abc import Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import InvalidRequest, ProtocolError, ProviderError
from fanout.prompt import SYSTEM, Media, Message, Options, Prompt, ToolUse
from fanout.prompt.media_types import guess_type_of
from fanout.providers import terms
from fanout.providers.gemini_reader import GeminiReader
from fanout.providers.media import base64_of, check_picture, type_of
from fanout.providers.opaque import Kept, data_of_calls, split
from fanout.providers.reader import text_of
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell
from fanout.wire.json_text import JsonText, excerpt

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
"""The address of the Gemini API."""

UNSIGNED = "skip_thought_signature_validator"
"""A stand-in for the signature of a call that is told again without the one it came with.

From Gemini 3 on, a turn whose first call is unsigned is refused (ai.google.dev/gemini-api/docs/thought-signatures).
"""

_SIGNING = re.compile(r"gemini-(?![12]\b)")


@frozen
class Gemini(Provider):
    """Google's Gemini API. The key goes into a header, because addresses end up in logs.

    `key_env` names the environment variables that may hold the key; they serve the message that there is none.
    `schema_place` says where a schema goes.
    """

    model: str | None = None
    name: str = "gemini"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    needs_key: bool = True
    schema_place: SchemaPlace = "request"

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises AuthError without a key, InvalidRequest for what it cannot carry."""
        path = f"/{self._path}:streamGenerateContent?alt=sse"
        return terms.ask(self.base_url, path, self._credentials(), self._body(prompt))

    def read(self, head: Head, request: Request | None = None) -> GeminiReader:
        """Makes the Reader for a response with this head, whatever its status."""
        return GeminiReader(head, self.maker)

    def adapted(self, error: ProviderError) -> "Gemini | None":
        """The same provider with a schema in the prompt, if `error` says that the service refuses it elsewhere."""
        place = find_next_place(error, self.schema_place)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place, enforced=self.base_url == BASE_URL)

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        return terms.ask_for_models(self.base_url, "/models?pageSize=1000", self._credentials())

    def models(self, reply: Reply) -> list[str]:
        """The names of the models that generate content. Raises ProviderError if the reply holds none."""
        rows = filter(_generates, terms.model_rows(reply, "models"))
        return [name.removeprefix("models/") for row in rows if (name := text_of(row.get("name")))]

    @property
    def _path(self) -> str:
        """A model's path; a name with a slash, like tunedModels/x, is one already."""
        if not self.model:
            raise InvalidRequest(f"{self.name} needs a model")
        if not {".", ".."}.isdisjoint(self.model.split("/")):
            raise InvalidRequest(f"a model of {self.name} has no . or .. in its path")  # which would leave it
        return quote(self.model if "/" in self.model else f"models/{self.model}")

    def _credentials(self) -> dict[str, str | Secret]:
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        return {} if self.key is None else {"x-goog-api-key": self.key}

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = prompt.options
        given = {
            "systemInstruction": self._system(prompt.messages),
            "contents": self._contents(tell(prompt, self.schema_place).messages),
            "tools": [{"functionDeclarations": [self._tool(tool) for tool in options.tools]}]
            if options.tools
            else None,
            "toolConfig": self._tool_config(options.tool_choice),
            "generationConfig": _generation(options, self.schema_place) or None,
        }
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        extra = dict(options.body)
        if isinstance(config := extra.get("generationConfig"), Mapping):
            extra["generationConfig"] = {**body.get("generationConfig", {}), **config}
        return {**body, **extra}

    def _system(self, messages: Sequence[Message]) -> dict[str, Any] | None:
        """All system messages: the service takes them only apart from the conversation."""
        parts = [part for message in messages if message.role in SYSTEM for part in self._parts(message)]
        if any("text" not in part for part in parts):
            raise InvalidRequest(f"{self.name} cannot carry media in a system message")
        return {"parts": parts} if parts else None

    def _contents(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The turns; the results of calls made together are one turn."""
        contents: list[dict[str, Any]] = []
        names: dict[str, str] = {}
        results: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "tool":
                if not results:
                    contents.append({"role": "user", "parts": results})
                results.append(self._tool_result(message, names))
            elif message.role not in SYSTEM:
                names.update((use.id, use.name) for use in message.tool_uses)
                role = "model" if message.role == "assistant" else "user"
                contents.append({"role": role, "parts": self._parts(message)})
                results = []
        return contents

    def _parts(self, message: Message) -> list[dict[str, Any]]:
        if message.name:
            raise InvalidRequest(f"{self.name} cannot carry the name of a message")
        parts: list[dict[str, Any]] = []
        signed = data_of_calls(message, self.maker)
        media = [self._media(media) for media in message.media]
        for piece in split(message, self.maker):
            if isinstance(piece, str):
                parts.append({"text": piece})
            elif isinstance(piece, Kept):
                _sign(parts, piece.data)
            else:
                parts += media
                media = []
                parts.append(self._call(piece, signed, first=piece is message.tool_uses[0]))
        return [*parts, *media] or [{"text": ""}]

    def _media(self, media: Media) -> dict[str, Any]:
        if media.data is not None:
            check_picture(media, ("image/heic", "image/heif"))
            return {"inlineData": {"mimeType": type_of(media), "data": base64_of(media)}}
        url = media.url or ""
        # No guess without a sign: a video's address has no type, and needs none.
        media_type = media.media_type or guess_type_of(urlsplit(url).path)
        return {"fileData": {"fileUri": url, **({"mimeType": media_type} if media_type else {})}}

    def _call(self, use: ToolUse, signed: Mapping[str, Mapping[str, Any]], *, first: bool) -> dict[str, Any]:
        arguments = _object(use.arguments or "{}")
        if arguments is None:
            raise InvalidRequest(f"{self.name} takes only an object for the arguments of {use.name}")
        part: dict[str, Any] = {"functionCall": {"id": use.id, "name": use.name, "args": arguments}}
        signature = signed.get(use.id, {}).get("thoughtSignature")
        if signature is not None:
            part["thoughtSignature"] = signature
        elif first and _SIGNING.search(self.model or ""):
            part["thoughtSignature"] = UNSIGNED
        return part

    def _tool_result(self, message: Message, names: Mapping[str, str]) -> dict[str, Any]:
        name = message.name or names.get(message.tool_call_id or "")
        if not name:
            raise InvalidRequest(f"{self.name} needs to know which tool gave the result {message.tool_call_id}")
        if message.media:
            raise InvalidRequest(f"{self.name} cannot carry media in the result of a tool")
        result = {"name": name, "response": _object(message.text) or {"output": message.text}}
        return {"functionResponse": {"id": message.tool_call_id, **result} if message.tool_call_id else result}

    def _tool(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        match tool:
            case {"type": "function", "function": {"name": str(name)} as function}:
                given = {"description": function.get("description"), "parametersJsonSchema": function.get("parameters")}
                return {"name": name, **{key: value for key, value in given.items() if value is not None}}
        raise InvalidRequest(f"{self.name} takes functions for tools, not {excerpt(str(tool))}")

    def _tool_config(self, choice: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
        match choice:
            case None:
                return None
            case "auto" | "none" | "required":
                return {"functionCallingConfig": {"mode": {"required": "ANY"}.get(choice, choice.upper())}}
            case {"type": "function", "function": {"name": str(name)}}:
                return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}
        raise InvalidRequest(f"{self.name} cannot carry the tool_choice {excerpt(str(choice))}")


def _sign(parts: list[dict[str, Any]], data: Mapping[str, Any]) -> None:
    """Puts a signature where it was: on the end of the text before it, on a thought, or on an empty part.

    A signed part is never joined with another, and so it goes back with the text that it came with.
    """
    match data:
        case {"thoughtSignature": str(signature), "thought": str(thought)}:
            parts.append({"text": thought, "thought": True, "thoughtSignature": signature})
        case {"thoughtSignature": str(signature), "text": int(length)}:
            text = parts.pop()["text"] if length and parts and parts[-1].keys() == {"text"} else ""
            cut = max(0, len(text) - length)
            parts += [{"text": text[:cut]}] if cut else []
            parts.append({"text": text[cut:], "thoughtSignature": signature})


def _generates(row: Any) -> bool:
    """True if a row of the list is a model that can be asked; others embed, or make videos."""
    return isinstance(row, dict) and "generateContent" in row.get("supportedGenerationMethods", ["generateContent"])


def _generation(options: Options, place: SchemaPlace) -> dict[str, Any]:
    given = {
        "maxOutputTokens": options.max_tokens,
        "temperature": options.temperature,
        "topP": options.top_p,
        "stopSequences": list(options.stop) or None,
        "seed": options.seed,
        "responseMimeType": "application/json" if options.schema and place != "prompt" else None,
        "responseJsonSchema": (options.schema if place == "request" else None) or None,
        "thinkingConfig": _thinking(options),
    }
    return {name: value for name, value in given.items() if value is not None}


def _thinking(options: Options) -> dict[str, Any] | None:
    """A level (from Gemini 3 on) or a budget (before); who asks for thought is shown it."""
    given = {
        "thinkingLevel": options.reasoning.upper() if options.reasoning else None,
        "thinkingBudget": options.reasoning_tokens,
    }
    config: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return {**config, "includeThoughts": options.reasoning_tokens != 0} if config else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = JsonText().decode(text)
    except ProtocolError:
        return None
    return value if isinstance(value, dict) else None
