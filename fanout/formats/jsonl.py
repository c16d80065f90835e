"""A run as it happens: one JSON object a line for every event, and the run itself last, in ASCII."""

import re
from typing import Any

from attrs import fields

from fanout.answers import Run
from fanout.answers.objects import Object, error_object, file_object, seconds
from fanout.errors import ProviderError
from fanout.events import Conversation, End, Event, File, Sources, Started, Status, Tagged
from fanout.formats import Output
from fanout.formats.json import NOT_STARTED, line, run_object


class JsonLines(Output):
    """A line for every event, then one for the run."""

    def __init__(self) -> None:
        self._started: set[str] = set()

    def event(self, tagged: Tagged) -> str:
        """Returns the event's line."""
        shown = event_object(tagged)
        if isinstance(tagged.event, Started):
            self._started.add(tagged.lane)
        elif isinstance(tagged.event, End) and tagged.event.status is Status.CANCELLED:
            shown["status"] = tagged.event.status if tagged.lane in self._started else NOT_STARTED
        return line(shown)

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
