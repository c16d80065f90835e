"""Why a HuggingChat server refuses a request: its statuses and words as typed errors."""

from typing import Any

from fanout.abc import Head
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
from fanout.providers import website


class ConversationLost(NotFound):
    """The conversation cannot be continued: deleted, another account's, or full.

    `conversation` is its id, or None if it has only just begun, so that there is nothing to leave behind.
    """

    def __init__(self, message: str, *, conversation: str | None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.conversation = conversation


def judged(head: Head, body: bytes, command: str, conversation: str | None = None) -> ProviderError:
    """The error of a response with a status other than 200.

    `command` logs in; `conversation` is the id of the one that was to be continued. The same status stands for several
    things here, which the words tell apart: 403 for a wrong Origin, and never for a missing login.
    """
    error = website.refusal(head, body)
    if isinstance(error, NotAStream):  # a bot wall
        return error
    said: dict[str, Any] = {"status": head.status, "request_id": error.request_id, "retry_after": error.retry_after}
    words = error.message
    match head.status:
        case 401 | 301 | 302 | 303 | 307 | 308:
            return LoginRequired(f"the service asks for a login: {words}", command=command, **said)
        case 400 if "conversation ID" in words:
            return ConversationLost(words, conversation=conversation, **said)
        case 400 if "Invalid request" in words:
            return ProtocolError(f"the service does not take the form of the request: {words}", **said)
        case 403 | 404 if "conversation" in words.lower():
            # Where nothing was to be continued, another try begins another conversation.
            return ConversationLost(words, conversation=conversation, retryable=conversation is None, **said)
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
            return _limited(error, command, conversation, said)
    return error


def unknown_model(error: ProviderError, model: str) -> ProviderError:
    """The error of a conversation that could not be begun: words that elsewhere speak of the form mean the model."""
    if isinstance(error, ProtocolError) and error.status == 400:
        return NotFound(f"no model {model} to begin a conversation with", status=400, request_id=error.request_id)
    return error


def _limited(error: ProviderError, command: str, conversation: str | None, said: dict[str, Any]) -> ProviderError:
    """Which limit: of messages a minute, of those in the conversation, of conversations, of messages without login."""
    words = error.message
    if "before login" in words:
        return LoginRequired(words, command=command, **said)
    if "This conversation has more" in words:
        return ConversationLost(words, conversation=conversation, **said)
    if "number of conversations" in words:
        return QuotaError(f"{words} Delete some at the service.", **said)
    return error
