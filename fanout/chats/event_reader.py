"""Reads server-sent events whose names count, or whose data are other JSON than objects."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from fanout.abc import Head
from fanout.errors import NotAStream, ProtocolError, ProviderError, Truncated
from fanout.events import CONTENT, Event
from fanout.providers.ending import AnswerEnding
from fanout.providers.reader import READ_ERRORS, to_provider_error
from fanout.wire.faults import fault, stray_fault
from fanout.wire.json_text import JsonText, excerpt
from fanout.wire.sse import ServerSentEvent, ServerSentEvents


class EventReader(AnswerEnding, ABC):
    """Reads an answer into events. A subclass says what one server-sent event means.

    Its `take` appends the events of one, and calls `finish` at the protocol's end mark, with which the End comes. It
    may take the shape of its data for granted: a KeyError, TypeError and the like become a ProtocolError here. An event
    that lacks the blank line after it counts if it is whole.
    """

    body_ends: ClassVar[bool] = False
    """True if the end of the body is the protocol's end mark."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._json = JsonText()
        self._sse = ServerSentEvents()
        self._began = False  # a server-sent event came
        self._came = False  # content came

    @abstractmethod
    def take(self, message: ServerSentEvent, out: list[Event], /) -> None:
        """Appends the events of one server-sent event to `out`."""

    @abstractmethod
    def rest(self, out: list[Event], /) -> None:
        """Appends what is to come before the End."""

    def value(self, message: ServerSentEvent) -> Any:
        """The JSON value of an event's data. Raises ProtocolError, or the error that the value is."""
        value = self._json.decode(message.data)
        if error := fault(value, self._head, named=message.event == "error"):
            raise error
        return value

    def feed(self, data: bytes, /) -> list[Event]:
        """Takes the bytes of one read and returns their events."""
        out: list[Event] = []
        if self._ended:
            return out
        self._take_all(self._sse.feed(data), out)
        self._error = self._error or self._sse.error
        if self.complete or self._error:
            self._end(out)
        return out

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """Takes the end of the body, or the `error` that cut it off; returns the rest, and the End unless it is out."""
        out: list[Event] = []
        if self._ended:
            return out
        cut = self._take_last(out)
        if not self.complete and not self._error:
            self._take_stray(out)
        if not self.complete and not self._error:
            self._error = error
            if cut and error is None:
                self._error = Truncated("the stream ended within an event")
            elif error is None and self.body_ends and self._came:
                self.finish("unknown")
        self._end(out)
        return out

    def _take_all(self, messages: list[ServerSentEvent], out: list[Event]) -> None:
        """Makes events of messages. What goes wrong is kept in `_error`, after the events before it."""
        try:
            for message in messages:
                self._began = True
                self.take(message, out)
                if self.complete:
                    break
        except READ_ERRORS as error:
            self._error = to_provider_error(error)
        self._came = self._came or any(type(event) in CONTENT for event in out)

    def _take_last(self, out: list[Event]) -> bool:
        """Takes the event that lacks its blank line, if it is whole; returns whether one is cut short."""
        lines = len(self._sse.stray)
        self._sse.close()
        pending, begun = self._sse.pending, self._sse.stray[lines:]
        if pending is None:
            return bool(begun) and b"data".startswith(begun[0])
        try:
            if pending.data.strip() != "[DONE]":
                self._json.decode(pending.data)
        except ProtocolError:
            return True
        self._take_all([pending], out)
        return False

    def _take_stray(self, out: list[Event]) -> None:
        """Takes the lines that are no events: an error, a web page, or one JSON document in the place of events."""
        self._error = stray_fault(self._sse.stray, self._head)
        text = b"\n".join(self._sse.stray).decode("utf-8", "replace")
        if self._error or self._began or not text.strip():
            return
        if text.lstrip().startswith("{"):
            self._take_all([ServerSentEvent("message", text, "")], out)
        if not (self.complete or self._error):
            self._error = NotAStream(f"something else in the place of events: {excerpt(text)}")

    def _end(self, out: list[Event]) -> None:
        self._ended = True
        self.rest(out)
        missing = "the stream ended without its end mark" if self._came else "the answer is empty"
        out.append(self.make_end(self._error or Truncated(missing)))
