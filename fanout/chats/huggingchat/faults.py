"""Refusals of a HuggingChat server: its statuses and words as typed errors."""

import re
from typing import Any

from fanout.abc import Head
from fanout.chats import website
from fanout.errors import (
    AuthError,
    InvalidRequest,
    LoginRequired,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    QuotaError,
)

# Which status comes with these words depends on the server's age: 404, 403 and 400, but from June 2025 to February 2026
# 500 with text, because the interface v2 of those servers threw plain errors.
_LOST = re.compile(
    "conversation (was |is )?(not found|deleted|gone)|access to this conversation|conversation id", re.IGNORECASE
)


class ConversationLost(NotFound):
    """The conversation cannot be continued: deleted, another account's, or full.

    `conversation` is its id, or None if it has only just begun: then there is nothing to leave behind, and another try
    begins another conversation.
    """

    def __init__(self, message: str, *, conversation: str | None, **fields: Any) -> None:
        super().__init__(message, **{"retryable": conversation is None, **fields})
        self.conversation = conversation


def judge_refusal(head: Head, body: bytes, command: str, conversation: str | None = None) -> ProviderError:
    """Makes the error of a response that is no answer.

    `command` logs in; `conversation` is the id of the one that was to be continued. The same status stands for several
    things here, which the words tell apart: 403 for a wrong Origin, and never for a missing login.
    """
    error = website.refusal(head, body)
    if isinstance(error, NotAStream):  # a bot wall
        return error
    said: dict[str, Any] = {"status": head.status, "request_id": error.request_id, "retry_after": error.retry_after}
    words = error.message
    if head.status >= 400 and head.status not in (401, 429) and is_lost(words, head.status):
        return ConversationLost(words, conversation=conversation, **said)
    match head.status:
        case 401 | 301 | 302 | 303 | 307 | 308:
            return LoginRequired(f"the service asks for a login: {words}", command=command, **said)
        case 400 if "Invalid request" in words:
            return ProtocolError(f"the service does not take the form of the request: {words}", **said)
        case 403 if "origin" in words or "referer" in words:
            return ProtocolError(f"the service does not take the Origin of the request: {words}", **said)
        case 403:
            return AuthError(words, **said)
        case 404 if "Message" in words:
            return NotFound(words, retryable=True, **said)
        case 405 if "modal" in words:
            return LoginRequired(f"{words}: open the service once in the browser", command=command, **said)
        case 410:
            return NotFound(words, **said)
        case 413:
            return InvalidRequest(words, **said)
        case 429:
            return _judge_limit(error, command, conversation, said)
    return error


def is_lost(words: str, status: int | None = None) -> bool:
    """True for words that say that the conversation cannot be continued; with some statuses, any about one do."""
    return bool(_LOST.search(words)) or (status in (403, 404, 410) and "conversation" in words.lower())


def judge_beginning(error: ProviderError, model: str) -> ProviderError:
    """Makes the error of a conversation that could not begin: words that elsewhere speak of the form mean the model."""
    if isinstance(error, ProtocolError) and error.status == 400:
        return NotFound(f"no model {model} to begin a conversation with", status=400, request_id=error.request_id)
    return error


def _judge_limit(error: ProviderError, command: str, conversation: str | None, said: dict[str, Any]) -> ProviderError:
    """Tells four limits apart: messages a minute, in a conversation and before a login, and conversations at all."""
    words = error.message
    if "before login" in words:
        return LoginRequired(words, command=command, **said)
    if "This conversation has more" in words:
        return ConversationLost(words, conversation=conversation, retryable=False, **said)
    if "number of conversations" in words:
        return QuotaError(f"{words} Delete some at the service.", **said)
    return error
