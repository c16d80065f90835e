"""A run as it happens: one JSON object a line for every event, and the run itself last, in ASCII."""

import re
from math import inf
from typing import Any

from attrs import fields

from fanout.answers import Answer, Run
from fanout.answers.objects import Object, error_object, file_object, seconds
from fanout.errors import ProviderError
from fanout.events import Conversation, Delta, End, Event, File, Replace, Sources, Started, Status, Tagged
from fanout.formats import Output
from fanout.formats.json import NOT_STARTED, line, run_object

PAUSE = 0.1
"""Seconds between two values so far of one lane."""


class JsonLines(Output):
    """A line for every event, then one for the run; with `values` also for each lane's value so far, ten a second."""

    def __init__(self, *, values: bool = False) -> None:
        self._started: set[str] = set()
        self._texts: dict[str, list[str]] | None = {} if values else None
        self._shown_at: dict[str, float] = {}

    def event(self, tagged: Tagged) -> str:
        """Returns the event's line."""
        shown = event_object(tagged)
        if isinstance(tagged.event, Started):
            self._started.add(tagged.lane)
        elif isinstance(tagged.event, End) and tagged.event.status is Status.CANCELLED:
            shown["status"] = tagged.event.status if tagged.lane in self._started else NOT_STARTED
        return line(shown) + ("" if self._texts is None else self._show_value(tagged, self._texts))

    def _show_value(self, tagged: Tagged, texts: dict[str, list[str]]) -> str:
        """Returns the line with the value so far of a lane's text, if it has one and the last is not too near."""
        if not isinstance(tagged.event, Delta | Replace):
            return ""
        pieces = texts.setdefault(tagged.lane, [])
        if isinstance(tagged.event, Replace):
            pieces.clear()
        pieces.append(tagged.event.text)
        if tagged.at - self._shown_at.get(tagged.lane, -inf) < PAUSE:
            return ""
        self._shown_at[tagged.lane] = tagged.at
        value = Answer(tagged.lane, text="".join(pieces)).partial_value
        shown = {"type": "partial_value", "lane": tagged.lane, "at": seconds(tagged.at), "value": value}
        return "" if value is None else line(shown)

    def shows_all(self, run: Run) -> bool:
        """Tells that what came of every lane is printed."""
        return True

    def run(self, run: Run) -> str:
        """Returns the last line."""
        return line(run_object(run))


def event_object(tagged: Tagged) -> Object:
    """The event: its type, whose it is, when it arrived, and its own fields by their names."""
    return {
        "type": _type_name(type(tagged.event).__name__),
        "lane": tagged.lane,
        "at": seconds(tagged.at),
        **_fields_of(tagged.event),
    }


def _type_name(class_name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


def _fields_of(event: Event) -> Object:
    match event:
        case File():
            return file_object(event)
        case Conversation(state):
            return {"state": dict(state)}
        case Sources(items):
            return {"items": [{"url": source.url, "title": source.title} for source in items]}
    return {field.name: _plain(getattr(event, field.name)) for field in fields(type(event))}


def _plain(value: Any) -> Any:
    return error_object(value) if isinstance(value, ProviderError) else value
