"""Checks what a plug-in's reader returns, so that a mistake in it ends its own lane and not the caller's run."""

from collections.abc import Mapping
from typing import Any, cast

from attrs import define

from fanout.abc import Reader
from fanout.errors import ProviderError
from fanout.events import (
    Conversation,
    Delta,
    End,
    Event,
    File,
    LoginNeeded,
    Reasoning,
    Refusal,
    Replace,
    Source,
    Sources,
    Started,
    Status,
    Title,
    ToolCall,
    Usage,
)

_TEXT = {"text": str}
_OPAQUE: Any = Mapping | None

_FIELDS: Mapping[type, Mapping[str, Any]] = {
    Started: {"attempt": int},
    Delta: _TEXT,
    Reasoning: {**_TEXT, "opaque": _OPAQUE},
    Refusal: _TEXT,
    ToolCall: {"index": int, "id": str | None, "name": str | None, "arguments": str, "opaque": _OPAQUE},
    File: {"name": str | None, "media_type": str | None, "url": str | None, "data": bytes | None},
    Sources: {"items": list | tuple},
    Title: _TEXT,
    Replace: _TEXT,
    Conversation: {"state": Mapping},
    LoginNeeded: {"command": str},
    Usage: dict.fromkeys(("input", "output", "cached", "reasoning"), int | None),
    End: {
        "status": Status,
        "error": ProviderError | None,
        "headers": Mapping,
        "notes": list | tuple,
        **dict.fromkeys(("finish_reason", "raw", "model", "request_id"), str | None),
    },
    Source: {"url": str, "title": str | None},
}
"""The types of the fields that the engine relies on, by the kind of event."""


@define
class CheckedReader:
    """A Reader that raises AssertionError where `inner`, which is not ours, returns what is no event."""

    inner: Reader

    @property
    def complete(self) -> bool:
        """As Reader says."""
        return self.inner.complete

    def feed(self, data: bytes, /) -> list[Event]:
        """As Reader says."""
        return check_events(self.inner.feed(data))

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """As Reader says."""
        return check_events(self.inner.close(error))


def check(reader: Reader) -> Reader:
    """Returns the reader, or one that checks it where it is a plug-in's: our own have their tests, and no time."""
    return reader if type(reader).__module__.startswith("fanout.") else cast("Reader", CheckedReader(reader))


def check_events(events: Any) -> list[Event]:
    """Returns the events of a read. Raises AssertionError, which says what is wrong, if they are none.

    A TypeError would say that the service's answer makes no sense.
    """
    if not events:
        return []
    if not isinstance(events, list | tuple):
        raise AssertionError(f"a reader returns a list of events, not {_name(events)}")  # noqa: TRY004  # see above
    for event in events:
        _check_fields(event)
        for source in event.items if isinstance(event, Sources) else ():
            _check_fields(source)
    if any(isinstance(event, End) for event in events[:-1]):
        raise AssertionError("a reader returns an event after its End")
    return list(events)


def _check_fields(event: Any) -> None:
    fields = _FIELDS.get(type(event))
    if fields is None:
        raise AssertionError(f"a reader returns events, not {_name(event)}")
    for name, kind in fields.items():
        if not isinstance(value := getattr(event, name), kind):
            wrong = f"the field {name} of a reader's {_name(event)} is of a wrong type: {_name(value)}"
            raise AssertionError(wrong)  # noqa: TRY004  # see above


def _name(value: object) -> str:
    return type(value).__name__


def bare(reader: Reader | None) -> Reader | None:
    """Returns the reader that the provider made, to whom alone it means something."""
    return reader.inner if isinstance(reader, CheckedReader) else reader
