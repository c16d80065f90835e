"""Server-sent events whose data are JSON objects, which nearly every frame is: bytes to objects."""

from typing import Any

from orjson import JSONDecodeError, loads

from fanout.wire.sse import ServerSentEvent, ServerSentEvents

IDLE_EVENTS = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})
"""Names of events that are signs of life, whatever their data."""

_TOLD_BY_NAME = IDLE_EVENTS | {"error"}


class JsonEvents(ServerSentEvents):
    """Cuts a text/event-stream into objects, each a dict, and events, where one may be anything else.

    A ServerSentEvent may hold an object too: its name tells something, or it came in an unusual form or cut.
    A line of data that is a whole object ends its event where the next one begins, also without a blank line between
    them: `unspaced` tells that this has happened (GLM and Kimi are seen to do it, rexxars/eventsource-parser#31).
    """

    unspaced = False

    def _read_whole(self, data: bytes) -> list[Any] | None:
        # One event a read is the commonest case. Bytes that orjson takes are UTF-8, and need not become a text first.
        lines = self._lines
        if data[-2:] == b"\n\n" and data.startswith(lines.start) and lines.event not in _TOLD_BY_NAME:
            line = data[len(lines.start) : -2]
            if 0x0A not in line and len(data) <= self._whole_cap:
                try:
                    value = loads(line)
                except JSONDecodeError:
                    value = None
                if type(value) is dict:
                    self.last_id = self._id
                    return [value]
        return self._read_several(data)

    def _frames(self, event: str, values: list[str]) -> list[Any]:
        if event in _TOLD_BY_NAME:
            return super()._frames(event, values)
        frames: list[Any] = []
        for text in values:
            try:
                value = loads(text)
            except JSONDecodeError:
                value = None
            frames.append(value if type(value) is dict else ServerSentEvent(event, text, self._id))
        return frames

    def _end_unspaced(self, messages: list[Any]) -> None:
        """Ends the event before this line if its only line of data is a whole object: tried once an event."""
        if len(self._data) != 1 or self._data[0][-1:] != b"}":
            return
        try:
            value = loads(self._data[0])
        except JSONDecodeError:
            return
        if type(value) is dict:
            self.unspaced = True
            self._dispatch(messages)
