"""Finds in the words of a refusal what to say otherwise: some services refuse what others demand."""

import re
from collections.abc import Iterator
from typing import Any

from fanout.errors import AuthError, InvalidRequest, ProviderError, ServerError

NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""The two names of one option."""

# Words for a field that is not known. A value that is not liked must not pass for one: "This model supports at most
# 4096 tokens", "8192, which is the maximum allowed", "Unsupported value: …".
_UNKNOWN = re.compile(
    r"unsupported(?! value)|unknown|unrecogni[sz]ed|unexpected|\bextra\b|extra_|\binstead\b"
    r"|(?:\bnot|n't) (?:\w+ )?(?:support|permit|allow|recogni[sz]|know|accept)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"\bvalues?\b", re.IGNORECASE)
_KNOWN_FIELDS = re.compile(r"expected one of|(?:valid|known|allowed) (?:fields|parameters|keys)", re.IGNORECASE)
"""The words that begin a list of the fields that a service does know."""

_MAX_TOKENS = re.compile(rf"\b(?:{'|'.join(NAMES)})\b")  # "use 'max_completion_tokens' instead" says enough, too
_USAGE = re.compile(r"stream[ _]?options|include_usage", re.IGNORECASE)

_WORD = r"\bstream(?:ing|ed)?\b"
_ABLE = "(?:support|allow|permit|enabl|availabl|implement|possible)"
_NO = rf"(?:(?:\bnot|n't|\bno) (?:\w+ ){{0,2}}{_ABLE}|unsupported|disabled)"
_NO_STREAM = re.compile(
    # OpenAI: "Your organization must be verified to stream this model" (openai/codex#1982).
    r"(?:verif|allow|permi|authori[sz]|entitl|eligib)\w*(?: \w+){0,2} to (?:use )?stream\b"
    # "Streaming is not supported", "stream: unsupported_value", "'stream' does not support true", "must be false".
    rf"|{_WORD}[^.]{{0,40}}?(?:{_NO}|must be (?:set to )?['\"`]?false)"
    # "This model does not support streaming", "Unsupported value: 'stream'"; llama.cpp until May 2025: "Cannot use
    # tools with stream" (containers/ramalama#1431).
    rf"|(?:{_NO}|\bcannot|\bcan't)[^.]{{0,40}}?{_WORD}",
    re.IGNORECASE,
)

# "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9": vLLM with Mistral's tokenizer says it too.
_SHORT_IDS = re.compile(r"tool.?call.?id.*\b(?:length of 9|9 characters)", re.IGNORECASE)
_REASONING = re.compile(r"\breasoning_content\b")
_DEMANDED = re.compile(r"missing|required|must be (?:passed|provided|included|sent|returned)", re.IGNORECASE)
_NO_NULL = re.compile(
    r"content\b.{0,80}(?:<nil>|\bnull\b|\bnone\b|valid string|be a string)|(?:<nil>|\bnull\b).{0,40}\bcontent\b",
    re.IGNORECASE,
)


def changes(error: ProviderError, max_tokens: str) -> Iterator[dict[str, Any]]:
    """Yields the fields of the OpenAI provider that may be set otherwise after `error`, the likeliest first.

    `max_tokens` is the name that this option has had.
    """
    said = _KNOWN_FIELDS.split(error.message)[0]
    invalid = isinstance(error, InvalidRequest)
    unknown = invalid and bool(_UNKNOWN.search(said))
    if _USAGE.search(said):
        if invalid:
            yield {"stream_usage": False}
    elif isinstance(error, InvalidRequest | AuthError | ServerError) and _NO_STREAM.search(said):
        yield {"stream": False}
    if unknown and not _VALUE.search(said) and _MAX_TOKENS.search(said) and (other := NAMES.get(max_tokens)):
        yield {"max_tokens": other}
    if invalid and _SHORT_IDS.search(said):
        yield {"short_ids": True}
    if invalid and _REASONING.search(said):
        yield from [{"reasoning": "all"}] if _DEMANDED.search(said) else [{"reasoning": "none"}] if unknown else []
    if invalid and _NO_NULL.search(said):
        yield {"nulls": False}
