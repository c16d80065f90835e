import json
from typing import Any

import pytest

from fanout.abc import Head
from fanout.chats.huggingchat.faults import ConversationLost, judge_beginning, judge_refusal
from fanout.errors import (
    AuthError,
    InvalidRequest,
    LoginRequired,
    NotAStream,
    NotFound,
    ProtocolError,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
)
from tests.servers.huggingchat import NO_ACCESS, NO_LOGIN, Recorded, recorded

COMMAND = "fanout login huggingchat"
BOT_WALL = "<!doctype html><title>Just a moment...</title>"

TABLE: list[tuple[int, Any, type[ProviderError]]] = [
    (302, "", LoginRequired),
    (303, "", LoginRequired),
    (401, NO_LOGIN, LoginRequired),
    (401, {"error": NO_LOGIN}, LoginRequired),
    (403, "Non-JSON form requests need to have an origin", ProtocolError),
    (403, {"error": "Non-JSON form requests need to have an origin"}, ProtocolError),
    (403, "Invalid referer for POST request", ProtocolError),
    (403, {"message": NO_ACCESS}, ConversationLost),
    (403, {"message": "No."}, AuthError),
    (403, BOT_WALL, NotAStream),
    (503, BOT_WALL, NotAStream),
    (404, {"message": "Conversation not found"}, ConversationLost),
    (404, {"message": "Conversation not found."}, ConversationLost),
    (404, "Conversation not found", ConversationLost),
    (410, {"message": "Conversation not found."}, ConversationLost),
    (410, {"error": "This conversation was deleted"}, ConversationLost),
    (400, {"message": "Conversation not found"}, ConversationLost),
    (500, "Conversation not found.", ConversationLost),
    (500, "Conversation not found", ConversationLost),
    (500, NO_ACCESS, ConversationLost),
    (500, "Invalid conversation ID format", ConversationLost),
    (500, {"message": "Conversation not found"}, ConversationLost),
    (500, {"error": "Conversation not found."}, ConversationLost),
    (404, {"message": "Message not found"}, NotFound),
    (404, "<html>", NotFound),
    (400, {"message": "Invalid request"}, ProtocolError),
    (400, {"message": "Invalid conversation ID format"}, ConversationLost),
    (400, {"message": "Invalid model"}, InvalidRequest),
    (400, {"message": "Can't start a conversation with an unlisted model"}, InvalidRequest),
    (400, {"message": "Message too long."}, InvalidRequest),
    (400, {"message": "Can only continue the last message"}, InvalidRequest),
    (405, {"message": "You need to accept the welcome modal first"}, LoginRequired),
    (405, {"message": "GET method not allowed"}, InvalidRequest),
    (410, {"message": "Model not available anymore"}, NotFound),
    (413, {"message": "File too large, should be <10MB"}, InvalidRequest),
    (429, {"message": "You are sending too many messages. Try again later."}, RateLimited),
    (429, {"message": "This conversation has more than 500 messages. Start a new one to continue"}, ConversationLost),
    (429, {"message": "You have reached the maximum number of conversations. Delete some to continue"}, QuotaError),
    (429, {"message": "Exceeded number of messages before login"}, LoginRequired),
    (500, {"message": "An error occurred", "errorId": "e-1"}, ServerError),
    (500, "Failed to convert conversation", ServerError),
]


def judge(status: int, body: Any, conversation: str | None = None) -> ProviderError:
    text = body if isinstance(body, str) else json.dumps(body)
    return judge_refusal(Head(status), text.encode(), COMMAND, conversation)


@pytest.mark.parametrize(("status", "body", "kind"), TABLE)
def test_status_and_words_together_make_the_error(status: int, body: Any, kind: type[ProviderError]) -> None:
    error = judge(status, body)
    assert type(error) is kind
    assert error.status == status
    words = body if isinstance(body, str) else next(iter(body.values()))
    assert "<" in words or words in error.message
    if isinstance(error, LoginRequired):
        assert error.command == COMMAND


def test_a_conversation_is_lost_only_if_there_was_one_to_continue() -> None:
    lost = judge(404, {"message": "Conversation not found"}, "c1")
    assert isinstance(lost, ConversationLost)
    assert (lost.conversation, lost.retryable, lost.kind) == ("c1", False, "not_found")
    new = judge(404, {"message": "Conversation not found"})
    assert isinstance(new, ConversationLost)
    assert (new.conversation, new.retryable) == (None, True)


def test_what_may_succeed_later_says_so() -> None:
    retryable = {type(error) for status, body, _ in TABLE if (error := judge(status, body, "c1")).retryable}
    assert retryable == {RateLimited, ServerError, NotFound}
    assert not judge(410, {"message": "Model not available anymore"}).retryable


def test_the_form_of_a_request_for_a_conversation_is_wrong_only_in_its_model() -> None:
    error = judge_beginning(judge(400, {"message": "Invalid request"}), "org/none")
    assert type(error) is NotFound
    assert "org/none" in error.message and error.status == 400
    other = judge(400, {"message": "Invalid model"})
    assert judge_beginning(other, "org/none") is other


REFUSED = [exchange for year in (2025, 2026) for exchange in recorded(year) if exchange.status >= 300]


@pytest.mark.parametrize("exchange", REFUSED, ids=lambda exchange: f"{exchange.generation} {exchange.name}")
def test_every_recorded_refusal_is_typed(exchange: Recorded) -> None:
    head = Head(exchange.status, exchange.headers, exchange.set_cookie)
    error = judge_refusal(head, b"".join(exchange.chunks), COMMAND)
    kinds = {400: (ProtocolError, ConversationLost), 500: (ServerError,), 302: (LoginRequired,), 401: (LoginRequired,)}
    words = b"".join(exchange.chunks)
    if exchange.status == 403:
        assert type(error) is (ConversationLost if b"access" in words else ProtocolError)
    elif exchange.status == 404:
        assert type(error) is (ConversationLost if b"Conversation" in words else NotFound)
    else:
        assert type(error) in kinds[exchange.status]
