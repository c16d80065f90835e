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
        ({"retry-after": "86401"}, 86401.0),
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
        ({"retry-after": formatdate(NOW + 90_000, usegmt=True), "date": formatdate(NOW, usegmt=True)}, 90_000.0),
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
