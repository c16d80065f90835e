"""The place of a JSON schema in a request: a service that refuses it there reads of it in its prompt."""

import re
from typing import Literal

from attrs import evolve

from fanout.abc import SchemaForm
from fanout.errors import InvalidRequest, ProviderError
from fanout.prompt import Message, Prompt
from fanout.wire.json_text import encode

SchemaPlace = Literal["request", "json", "prompt"]
"""The place of a schema: in the request's own field, in the prompt with JSON mode on, or in the prompt alone."""

_FIELD = (
    r"response.?format|json.?schema|json.?mode|json_object|structured.?output|output_(?:config|format)"
    r"|response_?schema|response_?mime|text\.format|\bgrammar\b"
)
# OpenAI: "Invalid schema for response_format 'answer': …"; Groq: "This model does not support response format
# `json_schema`"; DeepSeek: "This response_format type is unavailable now"; llama.cpp: "failed to parse grammar";
# Gemini: "The specified schema produces a constraint that has too many states for serving".
_REFUSED = re.compile(rf"{_FIELD}|\bschema\b.{{0,60}}\b(?:not|unsupported|invalid|too|exceeds?)\b", re.IGNORECASE)
_OF_TOOLS = re.compile(r"\b(?:function|tools?)\b", re.IGNORECASE)


def tell(prompt: Prompt, place: SchemaPlace = "prompt") -> Prompt:
    """Returns the prompt with its schema in the user's last message, unless the request has a place for it."""
    schema = prompt.options.schema
    if not schema or place == "request":
        return prompt
    words = f"Answer with JSON alone, no other words and no Markdown, that fits this JSON schema:\n{encode(schema)}"
    messages = list(prompt.messages)
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        messages.append(Message("user", words))
    else:
        text = messages[last].text
        messages[last] = evolve(messages[last], text=f"{text}\n\n{words}" if text else words)
    return evolve(prompt, messages=tuple(messages))


def form_of(place: SchemaPlace, *, enforced: bool = False) -> SchemaForm:
    """Returns the form in which a service gets a schema by its place; `enforced` where it writes nothing else."""
    return "told" if place != "request" else "enforced" if enforced else "sent"


def find_next_place(error: ProviderError, place: SchemaPlace, *, json_mode: bool = True) -> SchemaPlace | None:
    """Returns where else a schema may go after `error`; None if it is no refusal of one, or nothing is left."""
    if not isinstance(error, InvalidRequest) or not _REFUSED.search(error.message):
        return None
    if _OF_TOOLS.search(error.message) and not re.search(_FIELD, error.message, re.IGNORECASE):
        return None
    if place == "request":
        return "json" if json_mode else "prompt"
    return "prompt" if place == "json" else None
