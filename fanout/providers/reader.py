"""The reader of JSON chat protocols: all but the meaning of one JSON object."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any, ClassVar

from fanout.abc import Head
from fanout.errors import NotAStream, ProtocolError, ProviderError, Truncated
from fanout.errors.parsing import PARSE_ERRORS
from fanout.events import Delta, End, Event, Reasoning, Refusal, ToolCall, Usage, is_content, weigh
from fanout.providers.ending import AnswerEnding
from fanout.wire.body import Body
from fanout.wire.faults import fault, is_answer, stray_fault
from fanout.wire.json_events import IDLE_EVENTS, JsonEvents
from fanout.wire.json_text import Joiner, JsonText, excerpt, repair, show
from fanout.wire.shortcut import Repeats
from fanout.wire.sse import ServerSentEvent, ServerSentEvents

MAX_TOOL_CALLS = 128
"""Tool calls in one answer."""

READ_ERRORS = (ProviderError, *PARSE_ERRORS, AttributeError, RecursionError)
"""The errors that a reader may raise: it takes the shape of a service's data for granted."""

_BLANK_LINE = b"\n\n"
_DONE = "[DONE]"


class JsonReader(AnswerEnding, ABC):
    """Reads one response into events. A subclass says what one JSON object means.

    Its `read` appends the events of one object, calls `count` for what the service counts, `finish` at the protocol's
    end mark, and `end` when nothing of interest can follow. It may take the shape of its objects for granted: a
    KeyError, TypeError and the like become a ProtocolError here. An object with a truthy `error`, or in an SSE event of
    that name, does not get to it. `maker` is the mark of the provider; without it nothing is told that is opaque.
    """

    lines: ClassVar[bool] = False
    """True if the protocol is newline-delimited JSON, whatever the media type."""

    done_ends: ClassVar[bool] = False
    """True if `[DONE]` is an end mark of the protocol."""

    repeats: ClassVar[bool] = False
    """True if two events that differ only in their text may share one parse.

    Where besides the text something else changes with every event, there is no use in it.
    """

    def __init__(self, head: Head, maker: Mapping[str, Any] | None = None) -> None:
        super().__init__(head)
        self._maker = maker
        self._json = JsonText()
        self._body = Body(head, self._json, lines=self.lines)
        self._over = False
        self._calls: dict[int, bool] = {}  # of each tool call, whether arguments came
        self._nulls: dict[int, str] = {}  # and what may yet become a `null` in place of arguments
        self._came = False  # content came, in any read before this one
        self._usage: Usage | None = None
        self._counted_early = False  # the output was counted before any of it came
        self._joiners: dict[tuple[type, int], Joiner] = {}
        self._repeats = Repeats() if self.repeats else None

    @abstractmethod
    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one object of the stream to `out`."""

    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        """The same for a whole answer in one JSON document, from a service that does not stream."""
        self.read(value, out)

    def rest(self, out: list[Event], /) -> list[Event]:
        """Returns `out`, the events before the End, with those that were held back until then."""
        return out

    def end(self) -> None:
        """Nothing of interest follows: the End comes now, not with the end of the body."""
        self._over = True

    def count(self, usage: Usage, out: list[Event]) -> None:
        """Takes what the service has counted so far, to be told before the End; `out` are the events of this read.

        Not all is counted each time: a None or a 0 leaves what was counted before. Output that was counted before any
        of it came is not the answer's: Anthropic's message_start says 1, llama.cpp's 0.
        """
        if usage.output:
            self._counted_early = not self._has_come(out)
        if (known := self._usage) is not None:
            usage.input = usage.input or known.input
            usage.output = usage.output or known.output
            usage.cached = usage.cached or known.cached
            usage.reasoning = usage.reasoning or known.reasoning
        self._usage = usage

    def _has_come(self, out: list[Event]) -> bool:
        """True if there is content in the answer, before this read or among its events."""
        return self._came or any(map(is_content, out))

    def refuse(self, value: object, *, named: bool = False) -> None:
        """Raises the error that `value` is, if it is one."""
        if error := fault(value, self._head, named=named):
            raise error

    def tool_call(self, index: Any, call_id: Any, name: Any, arguments: str) -> ToolCall:
        """A piece of a tool call. Raises ProtocolError if there are too many.

        A call of which no arguments come gets those of a function without parameters, `{}`, at the answer's end. Some
        services say `null` for them.
        """
        if type(index) is not int:
            raise ProtocolError(f"a tool call with the index {show(index, 40)}")
        argued = self._calls.get(index, False)
        if arguments and not argued:
            arguments = self._nulls.pop(index, "") + arguments
            if "null".startswith(arguments.strip()):
                self._nulls[index], arguments = arguments, ""
        self._calls[index] = argued or bool(arguments)
        if len(self._calls) > MAX_TOOL_CALLS:
            raise ProtocolError(f"more than {MAX_TOOL_CALLS} tool calls")
        return ToolCall(index, text_of(call_id), text_of(name), arguments)

    def text_call(self, index: Any, call_id: Any, name: Any, text: str) -> ToolCall:
        """A piece of a call of a tool that takes any text in place of JSON; no text at all stays none."""
        piece = self.tool_call(index, call_id, name, "")
        self._calls[index] = True
        piece.arguments = text
        return piece

    def keep(self, data: Mapping[str, Any], out: list[Event]) -> None:
        """Has the service get `data` back, byte for byte, at this place of the answer."""
        if (sealed := self._seal(data)) is not None:
            out.append(Reasoning("", sealed))

    def keep_with(self, call: ToolCall, data: Mapping[str, Any]) -> None:
        """Has the service get `data` back with this tool call."""
        call.opaque = self._seal(data)

    def _seal(self, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The data with the provider's mark; None where nobody can write it down, as nested as it is."""
        if self._maker is None:
            return None
        if weigh(data) == inf:
            self.note("data for the service alone is nested too deeply, so a later turn goes without it")
            return None
        return {**self._maker, "data": data}

    def feed(self, data: bytes, /) -> list[Event]:
        """Takes the bytes of one read and returns their events."""
        if self._repeats is None:
            return self._feed(data)
        if (events := self._repeats.try_read(data)) is not None:
            return events
        return self._feed_unrepeated(self._repeats, data)

    def _feed_unrepeated(self, repeats: Repeats, data: bytes) -> list[Event]:
        """Takes a read that is not of the known form, and learns the form of the last whole event in it."""
        data = repeats.forget() + data
        end = data.rfind(_BLANK_LINE) + 2
        if end < 2:
            return self._feed(data)
        start = data.rfind(_BLANK_LINE, 0, end - 2) + 2
        start = 0 if start < 2 else start
        out = self._feed(data[:start]) if start else []
        framing = self._body.framing
        whole = isinstance(framing, ServerSentEvents) and framing.fresh
        out += (last := self._feed(data[start:end]))
        if self.complete or self._ended or self._json.halves or not repeats.learning:
            self._repeats = None
        elif whole and len(last) == 1 and isinstance(piece := last[0], Delta | Reasoning):
            repeats.learn(data[start:end], piece)
        return out + self.feed(data[end:]) if end < len(data) else out

    def _feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        framing = self._body.framing or self._body
        frames = framing.feed(data)
        self._take(frames if self._came else self._take_beginning(frames, out), self.read, out)
        if self._over or self._error or framing.error:
            self._end(out, framing.error)
        return self._join_halves(out) if self._json.halves else out

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """The body is over, or `error` cut it off; returns what is left, with the End unless `feed` gave it."""
        out: list[Event] = []
        if self._ended:
            return out
        if self._repeats is not None and (held := self._repeats.forget()):
            self._body.feed(held)  # the beginning of an event, which completes none
        # A document's only frame comes with the end.
        self._take(self._body.close(), self.document if self._body.is_document else self.read, out)
        if not is_answer(self._head.status):
            error = self._body.error  # says more than how the body ended
        elif isinstance(events := self._body.framing, JsonEvents) and not self.complete:
            if not error and events.pending:
                self._take_pending(events.pending, out, whole=events.unspaced)
            self._error = self._error or stray_fault(events.stray, self._head)
        if self._reason and not (self._error or error or self._body.error):
            self.complete = True  # the body is whole, and said how it ends, if only at its beginning
        self._end(out, error or self._body.error)
        return self._join_halves(out) if self._json.halves else out

    def _take_beginning(self, frames: list[Any], out: list[Event]) -> list[Any]:
        """Takes frames up to the first content, and returns those after it.

        A finish reason before any content finishes nothing: what it is about is still to come, and has an end of its
        own (0xPlaygrounds/rig#2328). Without content it stays the end.
        """
        finished = self.complete
        for number, frame in enumerate(frames):
            self.complete = False
            self._take([frame], self.read, out)
            if self._error:
                break
            if any(map(is_content, out)):
                self._came = True
                return [] if self._error else frames[number + 1 :]
            self.complete = finished = finished or self.complete
        return []

    def _take(self, frames: list[Any], read: Callable[[dict[str, Any], list[Event]], None], out: list[Event]) -> None:
        """Makes events of frames. What goes wrong is kept in `_error`, after the events before it."""
        try:
            for value in frames:
                if self._over:
                    break
                if type(value) is dict and "error" not in value:
                    read(value, out)  # nearly always
                else:
                    self._take_unusual(value, read, out)
        except READ_ERRORS as error:
            self._error = to_provider_error(error)

    def _take_unusual(self, frame: Any, read: Callable[[dict[str, Any], list[Event]], None], out: list[Event]) -> None:
        """Takes a frame that may be anything: several values, an error, the end mark. Raises the error that it is."""
        named = isinstance(frame, ServerSentEvent) and frame.event == "error"
        for value in self._values(frame) if isinstance(frame, ServerSentEvent) else (frame,):
            if named or not isinstance(value, dict) or "error" in value:
                self.refuse(value, named=named)
            if not isinstance(value, dict):
                raise ProtocolError(f"JSON, but no object: a {type(value).__name__}")
            read(value, out)
        if isinstance(frame, ServerSentEvent) and self.done_ends and frame.data.rstrip().endswith(_DONE):
            if not self.complete:
                self.finish(self._reason or "unknown", self._raw)
            self.end()

    def _values(self, message: ServerSentEvent) -> Iterator[Any]:
        """The values in the data of a message, without an end mark behind them.

        Nearly always it is one. Some services leave out the blank line between events, whose values then stand there a
        line each (rexxars/eventsource-parser#31).
        """
        text = message.data.strip().removesuffix(_DONE)
        if message.event in IDLE_EVENTS or not text:
            return
        if message.event != "error":
            yield from self._json.decode_all(text)
            return
        try:
            yield self._json.decode(text)
        except ProtocolError:
            yield text

    def _take_pending(self, message: ServerSentEvent, out: list[Event], *, whole: bool) -> None:
        """Takes an event without its blank line: it may still be an error or the end mark, and nothing else.

        `whole`: this service writes no blank lines, so what can be decoded counts.
        """
        try:
            self._take_unusual(message, self.read if whole else _ignore, out)
        except ProtocolError:
            pass  # cut short like the stream
        except ProviderError as error:
            self._error = error

    def _end(self, out: list[Event], error: ProviderError | None) -> None:
        self._ended = True
        error = self._error or error
        uncounted = self._counted_early and self._has_come(out)
        try:
            self.rest(out)
        except READ_ERRORS as wrong:
            error = error or to_provider_error(wrong)
        for index, argued in self._calls.items():
            held = self._nulls.get(index, "").strip()
            if not argued and (self.complete or held not in ("", "null")):
                out.append(ToolCall(index, arguments="{}" if held in ("", "null") else held))
        if self._usage is not None:
            if uncounted or (not self._usage.output and self._has_come(out)):
                self._usage.output = None
            out += [] if self._usage == Usage() else [self._usage]
        if self._body.is_document and not error and not self.complete:
            if self._has_come(out):
                self.finish("unknown")
            else:
                error = NotAStream("a JSON document that is no answer")
        if self._reason == "stop" and self._calls:
            self._reason = "tool_calls"  # some services say "stop" although they have called tools
        missing = "the stream ended without its end mark" if self._body.framing else "the answer is empty"
        out.append(self.make_end(error or Truncated(missing)))

    def _join_halves(self, events: list[Event]) -> list[Event]:
        """The events with their surrogate pairs made whole."""
        out: list[Event] = []
        for event in events:
            keep = True
            match event:
                case Delta() | Reasoning() | Refusal():
                    event.text = self._joiner(type(event)).join(event.text)
                    keep = bool(event.text or getattr(event, "opaque", None))
                case ToolCall():
                    event.id, event.name = event.id and repair(event.id), event.name and repair(event.name)
                    event.arguments = self._joiner(ToolCall, event.index).join(event.arguments)
                    keep = bool(event.id or event.name or event.arguments or event.opaque)
                case End():
                    event.raw, event.model = event.raw and repair(event.raw), event.model and repair(event.model)
                    out += self._halves()
            if keep:
                out.append(event)
        return out

    def _joiner(self, kind: type, index: int = 0) -> Joiner:
        return self._joiners.setdefault((kind, index), Joiner())

    def _halves(self) -> list[Event]:
        """Halves whose other half never came."""
        held = [(kind, index, text) for (kind, index), joiner in self._joiners.items() if (text := joiner.close())]
        return [ToolCall(index, arguments=text) if kind is ToolCall else kind(text) for kind, index, text in held]


def _ignore(_value: dict[str, Any], _out: list[Event], /) -> None:
    """Reads nothing."""


def to_provider_error(error: Exception) -> ProviderError:
    """Returns one of READ_ERRORS as it is, or as a ProtocolError where it is Python's own."""
    if isinstance(error, ProviderError):
        return error
    words = error.args[0] if error.args else ""  # `str` of it would write all that it holds
    said = excerpt(words) if isinstance(words, str) and not isinstance(error, KeyError) else show(words)
    made = ProtocolError(f"the answer does not make sense: {type(error).__name__}: {said}")
    made.__cause__ = error
    return made


def text_of(value: Any) -> str | None:
    """A JSON value if it is a text with anything in it, else None."""
    return value if isinstance(value, str) and value else None


def rows_of(value: Any) -> list[dict[str, Any]]:
    """The objects in a JSON list; none where there is no list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def count_of(value: Any) -> int | None:
    """A JSON value if it is a count, else None; some services write counts as floats."""
    if value is None or (type(value) is int and value >= 0):
        return value  # what nearly all are, also where usage comes with every chunk
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return int(value)


def object_of(value: Any) -> dict[str, Any]:
    """Returns a JSON value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
