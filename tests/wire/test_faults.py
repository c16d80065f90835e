import time
from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    NotAStream,
    NotFound,
    Overloaded,
    ProviderError,
    QuotaError,
    RateLimited,
    RedirectRefused,
    ServerError,
    TimedOut,
    Truncated,
)
from fanout.wire.faults import MESSAGE_LENGTH, fault, request_id, response_error, retry_after, stray_fault

NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, Truncated),
        (202, NotAStream),
        (301, RedirectRefused),
        (304, RedirectRefused),
        (307, RedirectRefused),
        (400, InvalidRequest),
        (401, AuthError),
        (402, QuotaError),
        (403, AuthError),
        (404, NotFound),
        (408, TimedOut),
        (409, ServerError),
        (413, InvalidRequest),
        (418, InvalidRequest),
        (422, InvalidRequest),
        (425, ServerError),
        (429, RateLimited),
        (498, Overloaded),
        (500, ServerError),
        (502, ServerError),
        (503, Overloaded),
        (504, TimedOut),
        (507, ServerError),
        (529, Overloaded),
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"error":{"message":"no","type":"t"}}', b"<html>boom</html>", b"[]", b"null"])
def test_a_status_without_a_known_name_decides(status: int, kind: type[ProviderError], body: bytes) -> None:
    error = response_error(Head(status), body)
    assert type(error) is kind
    assert error.status == status
    assert error.message


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


@pytest.mark.parametrize(
    ("value", "named", "kind", "message"),
    [
        ({"error": {"message": "m", "code": 429}}, False, RateLimited, "m"),
        ({"error": "slot unavailable"}, False, ServerError, "slot unavailable"),
        ({"error": "text", "status_code": 503}, False, Overloaded, "text"),
        ({"object": "error", "message": "engine dead", "code": 500}, False, ServerError, "engine dead"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, False, RateLimited, "slow"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "o"}}, False, Overloaded, "o"),
        ([{"error": {"code": 404, "message": "m"}}], False, NotFound, "m"),
        ({"message": "rate limited", "code": 429}, True, RateLimited, "rate limited"),
        ("just words", True, ServerError, "just words"),
        ({}, True, ServerError, "the service gave no reason"),
        (None, True, ServerError, "the service gave no reason"),
        ({"error": {"detail": [{"msg": "x"}]}}, False, ServerError, '[{"msg":"x"}]'),
        ({"error": {"code": "some_name"}}, False, ServerError, "some_name"),
    ],
)
def test_an_error_object_has_many_forms(value: Any, *, named: bool, kind: type[ProviderError], message: str) -> None:
    error = fault(value, named=named)
    assert type(error) is kind
    assert error.message == message


@pytest.mark.parametrize("value", [{}, {"error": None}, {"error": ""}, {"object": "chat.completion"}, [], None, "x", 7])
def test_what_is_no_error_is_none(value: Any) -> None:
    assert fault(value) is None


def test_the_body_of_an_error_may_be_flat_or_plain_text() -> None:
    assert response_error(Head(400), b'{"message":"invalid model"}').message == "invalid model"
    assert response_error(Head(502), b"\xef\xbb\xbf Bad\nGateway\xff").message == "Bad\\nGateway\ufffd"
    assert response_error(Head(500), b'{"error":{"message":"cut').message == '{"error":{"message":"cut'


@pytest.mark.parametrize("text", ["x" * 1000, "\n" * 1000, "\u202e" * 1000])
def test_the_words_of_a_service_are_cut_and_printable(text: str) -> None:
    error = response_error(Head(400), orjson.dumps({"error": {"message": text}}))
    assert len(error.message) == MESSAGE_LENGTH
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "+1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "\u0663"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Foo 2015 07:28:00 GMT"}, None),
        ({"retry-after": formatdate(NOW + 90, usegmt=True), "date": formatdate(NOW, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True), "date": "Mon Sep 21 14:13:20 2026"}, 90.0),
        ({"retry-after": formatdate(NOW + 90_000, usegmt=True), "date": formatdate(NOW, usegmt=True)}, None),
    ],
)
def test_retry_after_is_seconds_or_none(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_is_measured_against_our_clock_if_the_service_shows_none() -> None:
    seconds = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert seconds is not None
    assert 50 < seconds <= 61


def test_google_says_when_to_come_back_in_the_body() -> None:
    details = [{"@type": "x"}, {"@type": "y", "retryDelay": "7s"}]
    error = fault({"error": {"code": 429, "message": "m", "details": details}})
    assert error is not None
    assert error.retry_after == 7.0


@pytest.mark.parametrize(("value", "retryable"), [("false", False), ("true", True), ("maybe", True), ("", True)])
def test_the_service_may_forbid_or_allow_a_retry(value: str, *, retryable: bool) -> None:
    assert response_error(Head(500, {"x-should-retry": value})).retryable is retryable


def test_a_veto_lifted_makes_an_error_retryable() -> None:
    assert response_error(Head(400, {"x-should-retry": "true"})).retryable
    assert not response_error(Head(400)).retryable


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "x-generation-id"])
def test_the_request_id_has_three_names(name: str) -> None:
    assert request_id({name: "r1"}) == "r1"
    assert response_error(Head(500, {name: "a\tb"})).request_id == "a\\tb"
    assert request_id({}) is None


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([b'error: {"code":500,"message":"boom"}'], ServerError),
        ([b'error: {"error":{"code":429,"message":"boom"}}'], RateLimited),
        ([b"x-other: 1", b"error: out of slots"], ServerError),
        ([b"{", b'  "error": {', b'    "code": 503', b"  }", b"}"], Overloaded),
        ([b"x-event: a", b'{"error":{"code":401}} trailing'], AuthError),
        ([b"<html>", b"data"], NotAStream),
        ([b'{"a":1}'], None),
        ([b'{"error":'], None),
        ([b"whatever"], None),
        ([], None),
    ],
)
def test_an_error_may_stand_beside_the_events(lines: list[bytes], kind: type[ProviderError] | None) -> None:
    error = stray_fault(lines)
    assert (error and type(error)) is kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "status", "message", "details", "retryDelay", "object"]),
            inner | st.sampled_from(["error", "429", 429]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("status", "value", "kind", "message"),
    [
        (
            401,
            {"success": False, "errors": [{"code": 10000, "message": "no key"}], "result": None},
            AuthError,
            "no key",
        ),
        (400, {"errors": ["a is missing"]}, InvalidRequest, "a is missing"),
        (400, {"errors": {"a": ["is missing"]}, "title": "Bad"}, InvalidRequest, "Bad"),
        (429, {"statusCode": 429, "message": "20 a minute", "error": "Too Many"}, RateLimited, "Too Many: 20 a minute"),
        (
            400,
            {"message": ["a is bad", "b is bad"], "error": "Bad Request"},
            InvalidRequest,
            "Bad Request: a is bad; b is bad",
        ),
        (500, {"status": 500, "error": "Internal", "message": ""}, ServerError, "Internal"),
        (403, {"Message": "not allowed"}, AuthError, "not allowed"),
        (400, {"error_code": 17, "error_msg": "daily limit"}, InvalidRequest, "daily limit"),
        (500, {"code": 500, "msg": "no such page", "success": False}, ServerError, "no such page"),
        (
            429,
            {"error": {"message": "Provider returned error", "metadata": {"raw": "slow down"}}},
            RateLimited,
            "Provider returned error: slow down",
        ),
        (
            429,
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": '{"error":{"message":"slow"}}', "provider_name": "V"},
                }
            },
            RateLimited,
            "Provider returned error (V): slow",
        ),
        (
            400,
            {"error": {"message": '{"error": {"message": "{\\"error\\": {\\"message\\": \\"inner\\"}}"}}'}},
            InvalidRequest,
            "inner",
        ),
        (
            400,
            {"error": {"message": '[{"loc": ["body", "seed"], "msg": "extra"}]'}},
            InvalidRequest,
            '[{"loc": ["body", "seed"], "msg": "extra"}]',
        ),
        (
            502,
            {"error": {"message": "<html><head><title>502 Bad Gateway</title></head>"}},
            ServerError,
            "502 Bad Gateway",
        ),
    ],
)
def test_the_reason_is_found_where_it_stands(status: int, value: Any, kind: type[ProviderError], message: str) -> None:
    error = response_error(Head(status), orjson.dumps(value))
    assert (type(error), error.message) == (kind, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'data: {"error": {"message": "No room", "code": "429"}}\n\ndata: [DONE]\n\n', "No room"),
        (b'event: error\ndata: {"message": "No room"}\n\n', "No room"),
        (b'data: {"error": "No room"}', "No room"),
        (b": hello\ndata: No room\n\n", "No room"),
        (b"<!doctype html><html><head><title>\n 429 &amp; out \n</title>", "429 & out"),
        (b"<html><body><h1>Out</h1><p>of room</p>", "Out"),
        (b'<?xml version="1.0"?><Error><Code>Throttled</Code><Message>No room</Message></Error>', "No room"),
        (b"<p>nothing that is a heading", "<p>nothing that is a heading"),
        (b"data processing is off", "data processing is off"),
    ],
)
def test_an_error_comes_as_an_event_a_page_or_plain_words(body: bytes, message: str) -> None:
    error = response_error(Head(429, {"content-type": "text/event-stream"}), body)
    assert (type(error), error.message) == (RateLimited, message)


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


@pytest.mark.parametrize("code", [0, None, "0", True, "x"])
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


@given(value=JSON, status=st.sampled_from([200, 429]), named=st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_object_is_too_odd(value: Any, status: int, *, named: bool) -> None:
    error = fault(value, Head(status), named=named)
    assert error is not None or not named
    assert error is None or (error.message.isprintable() and len(error.message) <= MESSAGE_LENGTH)


@given(st.integers(100, 999), st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
@settings(deadline=None)
def test_no_header_is_too_odd(status: int, headers: dict[str, str]) -> None:
    assert isinstance(response_error(Head(status, headers), b"x"), ProviderError)
