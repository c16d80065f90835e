from typing import Any

import pytest

from fanout.errors import AuthError, InvalidRequest, NotFound, ProviderError, RateLimited, ServerError
from fanout.providers.chat_refusals import changes

OLD_NAME, NEW_NAME = "max_tokens", "max_completion_tokens"
PYDANTIC = (
    "[{'type': 'extra_forbidden', 'loc': ('body', 'FIELD'), 'msg': 'Extra inputs are not permitted', 'input': 9}]"
)


def asked(said: str, name: str = NEW_NAME, kind: type[ProviderError] = InvalidRequest) -> list[dict[str, Any]]:
    return list(changes(kind(said), name))


UNKNOWN = [
    PYDANTIC,
    '[{"type":"extra_forbidden","loc":["body","FIELD"],"msg":"Extra inputs are not permitted","input":9}]',
    "Unrecognized request argument supplied: FIELD",
    "Unknown parameter: 'FIELD'.",
    "Unsupported parameter: 'FIELD' is not supported with this model.",
    "property 'FIELD' is unsupported",
    "Additional properties are not allowed ('FIELD' was unexpected)",
    'json: unknown field "FIELD"',
    "unknown field `FIELD`, expected one of `messages`, `model`, `seed`",
    "create() got an unexpected keyword argument 'FIELD'",
    "This model does not support FIELD",
    "FIELD is not a recognized parameter; the field is not known",
]


@pytest.mark.parametrize("said", UNKNOWN)
def test_a_name_that_is_refused_gives_way_to_the_other(said: str) -> None:
    assert asked(said.replace("FIELD", NEW_NAME), NEW_NAME) == [{"max_tokens": OLD_NAME}]
    assert asked(said.replace("FIELD", OLD_NAME), OLD_NAME) == [{"max_tokens": NEW_NAME}]


def test_a_name_that_is_to_be_used_instead_is_used() -> None:
    assert asked("Use 'max_completion_tokens' instead.", OLD_NAME) == [{"max_tokens": NEW_NAME}]
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    assert asked(said, OLD_NAME) == [{"max_tokens": NEW_NAME}]


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 99999. This model supports at most 16384 completion tokens.",
        "max_tokens: 99999 > 8192, which is the maximum allowed number of output tokens",
        "'max_tokens' must be less than or equal to `8192`; the maximum value is less than the context",
        "Unsupported value: 'max_tokens' does not support 0 with this model.",
        "unknown field `seed`, expected one of `messages`, `max_tokens`, `max_completion_tokens`",
        "Unsupported parameter: 'temperature'",
    ],
)
def test_a_value_or_another_field_that_is_refused_changes_no_name(said: str) -> None:
    assert asked(said, OLD_NAME) == []


@pytest.mark.parametrize("field", ["stream_options", "stream_options.include_usage", "stream options"])
@pytest.mark.parametrize("said", [*UNKNOWN, "'FIELD' is only allowed when 'stream' is enabled", "no FIELD, please"])
def test_a_complaint_about_the_options_of_streams_is_none_about_streams(said: str, field: str) -> None:
    assert asked(said.replace("FIELD", field)) == [{"stream_usage": False}]


@pytest.mark.parametrize(
    "said",
    [
        "Your organization must be verified to stream this model. Please go to: https://platform.openai.com/settings",
        "Provider returned error (OpenAI): Your organization must be verified to stream this model.",
        "your account is not verified to stream",
        "You are not allowed to stream",
        "This key is not permitted to stream responses",
        "Your plan isn't allowed to use streaming",
        "Streaming is not supported for this model",
        "streaming not allowed",
        "streaming is currently not available",
        "Streaming is disabled for your account",
        "This model does not support streaming.",
        "stream: unsupported_value",
        "stream must be false",
        "Unsupported value: 'stream' does not support true with this model. Supported values are: false.",
        "Cannot use tools with stream",
        "Function calling is not supported in streaming mode",
    ],
)
@pytest.mark.parametrize("kind", [InvalidRequest, AuthError, ServerError])
def test_who_must_not_stream_is_asked_for_the_answer_whole(said: str, kind: type[ProviderError]) -> None:
    assert asked(said, kind=kind) == [{"stream": False}]


@pytest.mark.parametrize(
    "said",
    [
        "This model only supports stream mode, please enable the stream parameter",
        "upstream stream was reset",
        "Error while streaming: the model is gone",
        "image input is not supported",
        "Your organization must be verified to use this model",
        "downstream services do not support this region",
        "no",
    ],
)
def test_other_words_lead_to_nothing(said: str) -> None:
    for kind in (InvalidRequest, AuthError, ServerError, RateLimited, NotFound):
        assert asked(said, kind=kind) == []


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9.", {"short_ids": True}),
        ("The reasoning_content in the thinking mode must be passed back to the API.", {"reasoning": "all"}),
        (
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            {"reasoning": "all"},
        ),
        (PYDANTIC.replace("FIELD", "messages', 1, 'assistant', 'reasoning_content"), {"reasoning": "none"}),
        ("invalid message content type: <nil>", {"nulls": False}),
        ("Invalid value for 'content': expected a string, got null.", {"nulls": False}),
        ("1 validation error: messages.1.content Input should be a valid string", {"nulls": False}),
    ],
)
def test_messages_are_written_as_the_service_wants_them(said: str, change: dict[str, Any]) -> None:
    assert asked(said) == [change]
    assert asked(said, kind=RateLimited) == []
