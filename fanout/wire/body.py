"""A response's body, whose status, media type and first bytes tell which framing cuts it."""

import re
from typing import Any

from fanout.abc import Framing, Head
from fanout.errors import NotAStream, ProtocolError, ProviderError, TooLarge, Truncated
from fanout.wire.faults import is_answer, page_error, response_error
from fanout.wire.json_events import JsonEvents
from fanout.wire.json_text import JsonText, excerpt
from fanout.wire.weight import Weight

ERROR_CAP = 64 << 10
"""Bytes that are kept of an error's body."""

PAGE_CAP = 8 << 10
"""Bytes of a web page in which its title is looked for."""

DOCUMENT_CAP = 8 << 20
"""Bytes of an answer that comes as one JSON document."""

BLANK_CAP = 64 << 10
"""Blank bytes before the first that tells what the body is."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")
_FIELD = re.compile(rb"(?:data|event|id|retry|error)(?:[:\r\n]|\Z)|:")
_LINES = re.compile(r"application/(?:x-)?(?:ndjson|jsonl|json-?lines)")


class Body:
    """Cuts a body into Messages, if it is a text/event-stream, or into JSON values, if it is anything else.

    The label is believed only where the first bytes leave a doubt: services call event streams text/plain, and login
    pages event streams. With the status of no answer there are no frames, only an `error`. `lines`: a body that begins
    with an object is newline-delimited JSON, whatever its media type. Once it is known, `framing` is what cuts the
    body, and `is_document` that it is one JSON document in place of a stream.
    """

    def __init__(self, head: Head, json: JsonText | None = None, *, lines: bool = False) -> None:
        self.framing: Framing[Any] | None = None if is_answer(head.status) else _ErrorBody(head)
        self._media_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._json = json or JsonText()
        self._lines = lines or bool(_LINES.fullmatch(self._media_type))
        self.is_document = False
        self._held = b""  # the beginning, while it does not yet tell
        self._blanks = 0

    @property
    def error(self) -> ProviderError | None:
        """The fault of the body, if it has one."""
        return self.framing.error if self.framing else None

    def feed(self, data: bytes, /) -> list[Any]:
        """Takes the bytes of one read and returns the frames they complete."""
        if self.framing is None:
            data = self._sniff(data)
        return self.framing.feed(data) if self.framing else []

    def close(self) -> list[Any]:
        """The input is over; returns what its end completes."""
        frames: list[Any] = []
        if self.framing is None and self._held:
            self.framing = self._framing_of(self._held)
            frames = self.framing.feed(self._held)
        return frames + self.framing.close() if self.framing else frames

    def _sniff(self, data: bytes) -> bytes:
        """Sets the framing as soon as the bytes tell it, and returns those that it shall have."""
        data = self._held + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._held = data
            return b""
        self._held = start = data.removeprefix(_BOM).lstrip(_BLANK)
        self._blanks += len(data) - len(start)
        if start and not any(field.startswith(start) for field in _FIELDS):
            self.framing = self._framing_of(start)
        elif self._blanks > BLANK_CAP:
            self.framing = _Refused(NotAStream("nothing but blanks"))
        return start

    def _make_lines(self) -> Framing[Any]:
        from fanout.wire.ndjson import JsonLines  # noqa: PLC0415  # few services send them

        return JsonLines(self._json)

    def _framing_of(self, start: bytes) -> Framing[Any]:
        match start[:1]:
            case b"<":
                return _Page()
            case b"{":
                self.is_document = not self._lines
                return self._make_lines() if self._lines else JsonDocument(self._json)
            case b"[":
                from fanout.wire.json_array import JsonArray  # noqa: PLC0415  # few services send one

                return JsonArray(self._json)
        if self._media_type == "text/event-stream" or _FIELD.match(start):
            return JsonEvents()
        text = start[:80].decode("utf-8", "replace")
        return _Refused(NotAStream(f"{self._media_type or 'something'} in the place of an answer: {excerpt(text)}"))


class JsonDocument:
    """One JSON document, which is its only frame, from a service that does not stream."""

    def __init__(self, json: JsonText) -> None:
        self.error: ProviderError | None = None
        self._json = json
        self._body = bytearray()
        self._weight = Weight()

    def feed(self, data: bytes, /) -> list[Any]:
        """Takes the bytes of one read."""
        if self.error:
            return []
        self._body += data
        self._weight.add(data)
        if len(self._body) > DOCUMENT_CAP:
            self.error = TooLarge(f"a JSON document of more than {DOCUMENT_CAP} bytes")
        else:
            self.error = self._weight.error
        return []

    def close(self) -> list[Any]:
        """The input is over; returns the document."""
        if self.error:
            return []
        text = self._body.decode("utf-8", "replace")
        try:
            return [self._json.decode(text)]
        except ProtocolError as error:
            self.error = Truncated("the JSON document is cut short") if self._weight.is_open else error
            return []


class _ErrorBody:
    """The body of a response with an error status: as much of it as says what went wrong."""

    def __init__(self, head: Head) -> None:
        self.error: ProviderError | None = None
        self._head = head
        self._body = bytearray()

    def feed(self, data: bytes, /) -> list[Any]:
        self._body += data[: ERROR_CAP - len(self._body)]
        return self.close() if len(self._body) == ERROR_CAP else []

    def close(self) -> list[Any]:
        self.error = response_error(self._head, bytes(self._body))
        return []


class _Page:
    """A web page in the place of an answer: as much of it as says which."""

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self._body = bytearray()

    def feed(self, data: bytes, /) -> list[Any]:
        self._body += data[: PAGE_CAP - len(self._body)]
        if len(self._body) == PAGE_CAP or b"</title>" in self._body.lower():
            self.close()
        return []

    def close(self) -> list[Any]:
        self.error = NotAStream(page_error("an answer", self._body.decode("utf-8", "replace")))
        return []


class _Refused:
    """A body that is no answer."""

    def __init__(self, error: ProviderError) -> None:
        self.error: ProviderError | None = error

    def feed(self, _: bytes, /) -> list[Any]:
        return []

    def close(self) -> list[Any]:
        return []
