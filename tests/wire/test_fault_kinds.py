from typing import Any

import orjson
import pytest

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ProviderError,
    QuotaError,
    RateLimited,
    ServerError,
    TimedOut,
)
from fanout.wire.faults import fault, response_error


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"code": "insufficient_quota", "type": "t"}, QuotaError),
        (429, {"type": "insufficient_quota", "code": None}, QuotaError),
        (401, {"type": "invalid_request_error"}, AuthError),
        (400, {"type": "server_error", "code": 502}, ServerError),
        (400, {"code": "429"}, RateLimited),
        (500, {"http_status": 401}, AuthError),
        (500, {"status_code": 404}, NotFound),
        (400, {"status": "RESOURCE_EXHAUSTED", "code": 400}, RateLimited),
        (400, {"code": "context_length_exceeded"}, InvalidRequest),
        (400, {"status": "DEADLINE_EXCEEDED"}, TimedOut),
        (404, {"code": "no_such_name"}, NotFound),
        (200, {"type": "invalid_request_error"}, InvalidRequest),
        (200, {"status": "INVALID_ARGUMENT", "code": 99}, InvalidRequest),
        (400, {"status": "INVALID_ARGUMENT", "code": 400, "details": [{"reason": "API_KEY_INVALID"}]}, AuthError),
        (400, {"code": 400, "details": "odd"}, InvalidRequest),
        (400, {"code": 400, "details": [1, {"reason": 5}]}, InvalidRequest),
        (200, {"type": "overloaded_error"}, Overloaded),
        (200, {"type": "api_error"}, ServerError),
        (200, {"code": 600}, ServerError),
        (200, {"code": True}, ServerError),
    ],
)
def test_a_specific_name_then_a_number_then_the_status_then_a_generic_name(
    status: int, error: dict[str, Any], kind: type[ProviderError]
) -> None:
    assert type(fault({"error": error}, Head(status))) is kind


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(
    "words",
    ["Insufficient Balance", "you have used all your credits", "used all of the available credits", "no credit left"],
)
def test_words_about_money_are_quota_under_every_status(words: str, status: int) -> None:
    error = fault({"error": {"message": words}}, Head(status))
    assert type(error) is QuotaError and not error.retryable


def test_words_about_a_limit_count_where_nothing_else_tells_the_kind() -> None:
    for inner, status, kind in (
        ({"message": "Rate limit exceeded"}, 200, RateLimited),
        ({"message": "Too many requests"}, 200, RateLimited),
        ({"message": "the rate limiter is down", "code": 500}, 200, ServerError),
        ({"message": "Rate limit exceeded"}, 500, ServerError),
        ({"message": "Rate limit exceeded", "type": "overloaded_error"}, 200, Overloaded),
    ):
        assert type(fault({"error": inner}, Head(status))) is kind, (inner, status)


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (1002, RateLimited, True),
        (1004, AuthError, False),
        (1008, QuotaError, False),
        (1039, RateLimited, True),
        (1000, ServerError, True),
        (1026, InvalidRequest, False),
        (2013, InvalidRequest, False),
    ],
)
def test_minimax_says_under_status_200_what_is_wrong(code: int, kind: type[ProviderError], *, retryable: bool) -> None:
    error = fault({"choices": None, "base_resp": {"status_code": code, "status_msg": "m"}}, Head(200))
    assert error is not None
    assert (type(error), error.message, error.retryable) == (kind, "m", retryable)


def test_minimaxs_code_may_be_a_text() -> None:
    error = fault({"base_resp": {"status_code": "1004", "status_msg": "not authorized"}}, Head(200))
    assert type(error) is AuthError and error.message == "not authorized"


@pytest.mark.parametrize("code", [0, None, "0", True, "x", "9" * 40])
def test_minimaxs_0_is_no_error(code: Any) -> None:
    assert fault({"base_resp": {"status_code": code, "status_msg": "success"}}) is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "Your account is suspended due to insufficient balance, please recharge your account"}),
        (429, {"message": "m", "type": "exceeded_current_quota_error"}),
        (400, {"message": "Your credit balance is too low to access the API", "type": "invalid_request_error"}),
        (403, {"message": "Your newly created team doesn't have any credits yet."}),
        (403, {"code": "AccountOverdueError", "message": "overdue"}),
        (400, {"code": "Arrearage", "message": "Access denied"}),
        (429, {"code": "1113", "message": "no package"}),
        (429, {"message": "used all available credits or reached its monthly spending limit"}),
        (402, {"message": "This request requires more credits"}),
        (400, {"message": "You have reached your specified API usage limits."}),
    ],
)
def test_no_money_is_no_rate_limit_and_is_not_repeated(status: int, error: dict[str, Any]) -> None:
    found = response_error(Head(status, {"x-should-retry": "true", "retry-after": "1"}), orjson.dumps({"error": error}))
    assert (type(found), found.retryable) == (QuotaError, False)


@pytest.mark.parametrize(
    "message",
    [
        "You exceeded your current quota, please check your plan and billing details.",  # Gemini, of a minute
        "Rate limit reached. Need more tokens? Visit your billing page.",
        "Too many requests, balance your load",
    ],
)
def test_a_limit_of_a_minute_is_no_matter_of_money(message: str) -> None:
    error = response_error(Head(429), orjson.dumps({"error": {"message": message, "status": "RESOURCE_EXHAUSTED"}}))
    assert (type(error), error.retryable) == (RateLimited, True)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (413, {"message": "Limit 6000, Requested 8214", "code": "rate_limit_exceeded"}),
        (429, {"message": "Request too large for m on tokens per min (TPM): Limit 1", "code": "rate_limit_exceeded"}),
    ],
)
def test_more_than_a_minute_allows_is_not_repeated(status: int, error: dict[str, Any]) -> None:
    found = response_error(Head(status, {"retry-after": "1"}), orjson.dumps({"error": error}))
    assert (type(found), found.retryable) == (InvalidRequest, False)


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", None),
        (500, "This model does not support tools", None),
        (501, "unsupported parameter: seed", None),
        (500, "the machine is on fire", ServerError),
        (503, "image input is not supported", Overloaded),
    ],
)
def test_what_a_service_will_never_support_is_a_bad_request_and_not_its_failure(
    status: int, words: str, kind: type[ProviderError] | None
) -> None:
    error = response_error(Head(status, {}), orjson.dumps({"error": {"message": words}}))
    assert type(error) is (kind or InvalidRequest)
    assert error.retryable == (kind is not None)
