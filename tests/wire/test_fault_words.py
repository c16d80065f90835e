from typing import Any

import orjson
import pytest

from fanout.abc import Head
from fanout.errors import (
    AuthError,
    InvalidRequest,
    ProviderError,
    RateLimited,
    ServerError,
)
from fanout.wire.faults import response_error


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
