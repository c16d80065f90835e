"""Compares what a case gave with what it expects."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fanout import errors
from tests.conformance import also
from tests.conformance.cases import Case

Got = dict[str, Any]
"""The results by the keys of `expect`; `problems` lists what is wrong whatever is expected, `complete` means that a
terminal marker was seen."""

CHAT = ("openai-chat", "openai-responses", "anthropic", "gemini-sse", "ollama", "cohere", "http1", "h2")

KINDS = frozenset(
    kind.kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ProviderError) and kind is not errors.ProviderError
)

_KEYS = frozenset(
    (
        *("events", "event_lens", "event_sha256", "retry", "last_id", "comments", "values", "value", "value_or_error"),
        *("error", "or_error", "text", "reasoning", "refusal", "finish", "tool_calls", "usage", "status", "message"),
        *("retry_after", "retryable", "retry_safe", "no_credentials_at", "linear", "encodable"),
    )
)
"""The keys of `expect`, each also with _any."""

_BY_SUBJECT = frozenset(
    {"or_error", "linear", "no_credentials_at"}
)  # or_error is looked at first, the others are problems


def judge(case: Case, got: Got, *, lacks: bool = False) -> list[str]:
    """Yields what is wrong, one sentence each. `lacks`: the client does not have the decoder that the case needs."""
    expect = case.fields["expect_without"] if lacks and "expect_without" in case.fields else case.expect
    wrong = list(got.get("problems", ()))
    if got.get("error") is not None and got["error"] == expect.get("or_error"):
        return wrong
    if case.fields.get("tolerate_tail") and len(got.get("events", ())) == len(expect["events"]) + 1:
        got = {**got, "events": got["events"][:-1]}
    for key, want in expect.items():
        name = key.removesuffix("_any")
        if name not in _KEYS:
            wrong.append(f"expect: no such key: {key}")
        elif key not in _BY_SUBJECT and not _is_met(key, want, got):
            wrong.append(f"{name}: expected {_short(want)}, got {_short(got.get(name))}")
    wrong += also.misses(case, got)
    if case.format in CHAT:
        wrong += _broken_invariants(expect, got)
    elif got.get("error") and not expect.keys() & {"error", "error_any", "value_or_error"}:
        wrong.append(f"error: expected none, got {got['error']}: {got.get('message')}")
    return wrong


def _is_met(key: str, want: Any, got: Got) -> bool:
    if key == "value_or_error":
        return "value" in got or got.get("error") == "protocol"
    name = key.removesuffix("_any")
    if name == "finish" and got.get("error") is not None:
        return True
    if key.endswith("_any"):
        return any(_equals(name, one, got.get(name)) for one in want)
    return _equals(name, want, got.get(name))


def _equals(name: str, want: Any, got: Any) -> bool:
    if name == "tool_calls":
        return len(want) == len(got) and all(map(_same_call, want, got))
    if name == "usage" and want is not None:
        return got is not None and all(got.get(count) == number for count, number in want.items())
    # True is 1 in Python, but not in JSON.
    return want is got or (want == got and bool not in (type(want), type(got)))


def _same_call(want: Mapping[str, Any], got: Mapping[str, Any]) -> bool:
    if want["id"] not in (None, got["id"]) or want["name"] != got["name"]:
        return False
    try:
        return bool(json.loads(want["arguments"]) == json.loads(got["arguments"]))
    except ValueError:
        return False


def _broken_invariants(expect: Mapping[str, Any], got: Got) -> Iterator[str]:
    """Yields what breaks the laws of every answer, whatever the case expects."""
    error = got.get("error")
    if error is not None and error not in KINDS:
        yield f"the error is of no kind of ours: {error}"
    silent_is_fine = got.get("complete") and None in expect.get("finish_any", ())
    if error is None and got.get("finish") is None and not silent_is_fine:
        yield "neither a finish nor an error"
    for name in ("text", "reasoning", "refusal"):
        try:
            str(got.get(name) or "").encode()
        except UnicodeEncodeError:
            yield f"{name} cannot be encoded"


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 160 else f"{text[:160]}… ({len(text)} characters)"
