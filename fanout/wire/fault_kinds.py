"""The typed error that a service's names, numbers and words stand for."""

import re
from collections.abc import Sequence

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

Kind = type[ProviderError]

_STATUSES: dict[int, Kind] = {
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFound,
    408: TimedOut,
    409: ServerError,
    425: ServerError,
    429: RateLimited,
    498: Overloaded,  # Groq: the flex tier is full
    503: Overloaded,
    504: TimedOut,
    529: Overloaded,  # Anthropic
}

# These are more exact than the status they come with: a 429 with insufficient_quota is a matter of money.
_SPECIFIC: dict[str, Kind] = {
    **dict.fromkeys(
        (
            *("insufficient_quota", "billing_error", "billing_not_active", "billing_hard_limit_reached"),
            *("insufficient_balance", "insufficient_credits", "credits_exhausted", "payment_required"),
            "exceeded_current_quota_error",  # Moonshot
            "insufficient_user_quota",  # one-api and its forks
            "Arrearage",  # Alibaba Cloud
            "AccountOverdueError",  # Volcengine
            "1113",  # Zhipu: no balance
        ),
        QuotaError,
    ),
    **dict.fromkeys(
        (
            *("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "too_many_requests"),
            "rate_limit_reached_error",  # Moonshot
        ),
        RateLimited,
    ),
    **dict.fromkeys(
        ("overloaded_error", "UNAVAILABLE", "capacity_exceeded", "engine_overloaded_error"),
        Overloaded,
    ),
    **dict.fromkeys(
        (
            *("invalid_api_key", "API_KEY_INVALID", "authentication_error", "UNAUTHENTICATED"),
            *("permission_error", "PERMISSION_DENIED", "invalid_authentication_error", "incorrect_api_key_error"),
            "InvalidApiKey",  # Alibaba Cloud
        ),
        AuthError,
    ),
    **dict.fromkeys(("invalid_prompt", "context_length_exceeded", "request_too_large"), InvalidRequest),
    **dict.fromkeys(
        ("not_found_error", "model_not_found", "NOT_FOUND", "resource_not_found_error"),
        NotFound,
    ),
    "timeout_error": TimedOut,
    "DEADLINE_EXCEEDED": TimedOut,
}

# And these are less exact: a 401 may come with invalid_request_error. Every other name means ServerError.
_GENERIC: dict[str, Kind] = {
    "invalid_request_error": InvalidRequest,
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
}

# MiniMax's base_resp.status_code, which comes with the status 200 (its list of error codes).
_BASE_RESP: dict[int, Kind] = {
    1001: TimedOut,
    1002: RateLimited,
    1004: AuthError,
    1008: QuotaError,
    1026: InvalidRequest,  # the input is sensitive
    1027: InvalidRequest,  # the output is
    1039: RateLimited,  # tokens a minute
    1041: RateLimited,  # connections
    1042: InvalidRequest,
    2013: InvalidRequest,
    2045: RateLimited,
    2049: AuthError,
    2056: QuotaError,
}

# A service without money left often calls it a limit, a bad request or a lack of rights. "You exceeded your current
# quota, please check your plan" is not among these: Gemini says so of the requests of a minute.
_MONEY = re.compile(
    r"insufficient[ _-](?:account[ _-])?(?:balance|credit|fund)|"
    r"(?:balance|credits?) (?:is|are|has been|have been)? ?(?:too low|insufficient|not enough|exhausted|depleted)|"
    r"(?:not enough|out of|used all(?: of)?(?: your| the)?(?: available)?|any|no|no remaining|more) credits|"
    r"no credit left|"
    r"credits (?:are )?required|"
    r"in arrears|arrearage|overdue[ -](?:payment|balance|bill)|payment (?:is )?required|recharge your|"
    r"spend(?:ing)? (?:limit|cap)|specified (?:api )?usage limits|exceeded your monthly (?:included )?credits|"
    r"daily free allocation|余额不足|欠费|请充值",
    re.IGNORECASE,
)
_MAY_BE_MONEY = (None, RateLimited, InvalidRequest, AuthError, Overloaded)
"""The kinds by a specific name (None: there is no such name) that words about money go over."""

# What an error says that came under 200 with neither a name nor a number (leookun/devin-2api#3).
_LIMIT = re.compile(r"rate[ _-]?limit|too many requests", re.IGNORECASE)

# More than all of a minute's tokens in one request: it is refused as often as it is sent.
_TOO_LARGE = re.compile(r"request (?:is )?too large", re.IGNORECASE)


# llama.cpp answers 500 to a picture for a model that sees none, and others to options that they do not know: the same
# request will never be taken.
_UNSUPPORTED = re.compile(
    r"(?:is|are) (?:not|un)\s?supported|does(?: not|n't) support|unsupported|not support(?:ed)? (?:by|for)",
    re.IGNORECASE,
)


def kind_of_status(status: int) -> Kind:
    """The error that an HTTP status from 400 up stands for."""
    return _STATUSES.get(status) or (InvalidRequest if 400 <= status < 500 else ServerError)


def kind_of_base_resp(code: int) -> Kind:
    """The error that MiniMax's `base_resp.status_code` stands for."""
    return _BASE_RESP.get(code, ServerError)


def kind_of(names: Sequence[str], number: int | None, status: int | None, words: str) -> Kind:
    """The error that a specific name stands for, else the error's own number, the HTTP status, or a generic name.

    A request that is too large (413) stays so whatever else is said; words about money go over all but a name. Words
    about a limit count only where nothing else tells the kind.
    """
    if status == 413 or number == 413:
        return InvalidRequest
    named = next((_SPECIFIC[name] for name in names if name in _SPECIFIC), None)
    found = named or _by_number(names, number or status)
    if named in _MAY_BE_MONEY and _MONEY.search(words):
        return QuotaError
    if found is RateLimited and _TOO_LARGE.search(words):
        return InvalidRequest
    if found is ServerError and _UNSUPPORTED.search(words):
        return InvalidRequest
    if found is ServerError and not number and (status is None or status < 300) and _LIMIT.search(words):
        return RateLimited
    return found


def _by_number(names: Sequence[str], number: int | None) -> Kind:
    if number and number >= 400:
        return kind_of_status(number)
    return next((_GENERIC[name] for name in names if name in _GENERIC), ServerError)
