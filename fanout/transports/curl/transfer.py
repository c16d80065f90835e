"""One exchange that libcurl carries: its callbacks collect, and the receiver is told of it outside of them."""

import re
from collections.abc import Iterable
from typing import Any

import trio

from fanout.abc import Head, Receiver, Request
from fanout.errors import ProtocolError, ResetError, TooLarge
from fanout.timeouts import Leniency
from fanout.transports.curl.chunked import Chunks
from fanout.transports.curl.libcurl import Easy
from fanout.transports.outgoing import describe_refusal, find_environment_proxy, make_connect_error
from fanout.wire.coding import CAP, Decoder

HEAD_CAP = 100 << 10
"""Bytes of a response's head, as h11 has it; libcurl's own limit is three times that."""


class Transfer:
    """A response on its way from libcurl to its receiver.

    The two callbacks only collect, and put the transfer on the list of those that have news; everything that may raise
    is done by `deliver`, outside libcurl. `wanted` is False once the receiver has enough, or nobody waits any more.
    `task` is the task that waits, `error` the exception that it is to raise. `connect_by` is the Trio time by which
    there must be a connection.
    """

    __slots__ = (
        "_chunks",
        "_decode",
        "_decoder",
        "_leniency",
        "_lines",
        "_news",
        "_pieces",
        "_receiver",
        "_size",
        "_told",
        "_whole",
        "connect",
        "connect_by",
        "easy",
        "error",
        "host",
        "pool",
        "request",
        "stamped",
        "task",
        "wanted",
    )

    def __init__(
        self,
        easy: Easy,
        request: Request,
        receiver: Receiver,
        news: "list[Transfer]",
        *,
        host: str,
        connect: float,
    ) -> None:
        self.easy = easy
        self.request = request
        self.host = host
        self.connect = connect
        self.connect_by = trio.current_time() + connect
        self._leniency = Leniency()
        self.wanted = True
        self.error: BaseException | None = None
        self.task: Any = None
        self.pool: Any = None
        self.stamped: Any = None
        self._receiver = receiver
        self._news = news
        self._decode = request.impersonate is None  # else libcurl undoes what its browser has asked for
        self._decoder: Decoder | None = None
        self._chunks: Chunks | None = None
        self._lines: list[bytes] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._told = False
        self._whole = False
        easy.receive(self._hear_head, self._hear_body if self._decode else self._hear_decoded)

    def __repr__(self) -> str:
        if self.easy.handle is None:
            state = "over"
        elif not self.wanted:
            state = "enough was read"
        else:
            state = "reading the body" if self._told else "waiting for the head"
        return f"<Transfer {self.host}: {state}>"

    def _hear_head(self, line: bytes) -> None:
        """Collects a line of a head. Lines of trailers are dropped."""
        if self._whole:
            return
        if _STATUS_LINE.match(line):
            self._lines.clear()  # what came before was the head of a 1xx
        self._lines.append(line)
        if line in (b"\r\n", b"\n") and not _INTERIM.match(self._lines[0]):  # the empty line that ends it
            self._whole = True
            self._news.append(self)

    def _hear_body(self, data: bytes) -> None:
        if not self._pieces:
            self._news.append(self)
        self._pieces.append(data)

    def _hear_decoded(self, data: bytes) -> None:
        """Collects bytes that libcurl has decoded; raises, which ends the transfer, before they fill the memory."""
        self._size += len(data)
        if self._size > CAP:
            self._pieces.clear()
            raise OverflowError
        self._hear_body(data)

    def put_off(self, late: float) -> bool:
        """Moves `connect_by`, which is past, where we are so many seconds late ourselves; False: that is no excuse."""
        more = self._leniency.pardon(late)
        self.connect_by = trio.current_time() + more
        return more > 0

    @property
    def secure(self) -> bool:
        """True if there is TLS between this machine and the service."""
        return self.request.url.startswith("https:")

    @property
    def proxy(self) -> str:
        """The address of the proxy, if one was used: the request's own, or the environment's."""
        proxy = self.request.proxy
        return find_environment_proxy(self.request.url) if proxy is None else proxy.address

    @property
    def waiting(self) -> int:
        """Bytes that have come since the last `deliver`, as they came unless libcurl decodes."""
        return sum(map(len, self._lines)) + sum(map(len, self._pieces))

    def deliver(self) -> bool:
        """Tells the receiver of all that has come since the last time; returns True if it has enough.

        An exception of the receiver passes through. Raises ProviderError for codings that cannot be undone.
        """
        if not self._told and not (self._tell_head() and self.wanted):
            return False
        if self._size > CAP:
            raise TooLarge(f"the decoded body exceeds {CAP} bytes")
        pieces = self._pieces
        if not pieces:
            return False
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._chunks is not None:
            data = self._chunks.feed(data)
        if not data:
            return False
        if self._decoder is None:
            return self._receiver.data(data)
        for piece in self._decoder.feed(data):
            if self._receiver.data(piece):
                return True
            if not self.wanted:  # the receiver has cancelled its own lane
                return False
        if self._decoder.error:
            raise self._decoder.error
        return False

    def discard(self) -> None:
        """Throws away all that has come since the last time."""
        self._pieces.clear()

    def complete(self) -> bool:
        """Tells the receiver of the rest of a body that is over, as `deliver` does.

        Raises ResetError if its head was not over, and ProtocolError also if there was no response but 1xx.
        """
        enough = self.deliver()
        if not self._told:
            if self._lines and not _INTERIM.match(self._lines[0]):
                raise ResetError(f"{self.host} closed the connection before the answer was over")
            raise ProtocolError(f"{self.host} does not speak HTTP as it should: there is no response")
        if self._decoder is not None and not enough:
            for piece in self._decoder.close():
                enough = self._receiver.data(piece)
            if self._decoder.error:
                raise self._decoder.error
        return enough

    def _tell_head(self) -> bool:
        """Tells the receiver of the head; returns False if that has not come yet."""
        if not self._whole:
            return False
        if not _STATUS_LINE.match(self._lines[0]):
            raise ProtocolError(
                f"{self.host} does not speak HTTP as it should: {self._lines[0]!r:.80} is no status line"
            )
        if sum(map(len, self._lines)) > HEAD_CAP:
            raise TooLarge(f"{self.host} sends more than is allowed: a head of over {HEAD_CAP} bytes")
        protocol, status, reason = _parse_status_line(self._lines[0])
        if status == 407 and not self.secure and self.easy.used_proxy:
            raise make_connect_error(self.host, describe_refusal(status), self.proxy, by_proxy=True)
        fields = list(_parse_fields(self._lines[1:]))
        self._lines.clear()
        self._told = True
        if self._decode:
            self._prepare(protocol, fields)
        headers = dict(fields)
        cookies = tuple(value for name, value in fields if name == "set-cookie")
        self._receiver.head(Head(status, headers, cookies, reason))
        return True

    def _prepare(self, protocol: str, fields: list[tuple[str, str]]) -> None:
        """Makes the decoders for the codings of the body."""
        if protocol.startswith("HTTP/1"):
            codings = [value.strip().lower() for name, value in fields if name == "transfer-encoding"]
            if codings == ["chunked"]:
                self._chunks = Chunks()
            elif codings:
                raise ProtocolError(
                    f"the body is transferred in a way that was not asked for: {', '.join(codings):.40}"
                )
        coding = ", ".join(value for name, value in fields if name == "content-encoding")
        if coding:
            self._decoder = Decoder(coding)


# Stricter than libcurl, which takes `http/1.1`, an empty line before, and a status of four digits.
_STATUS_LINE = re.compile(rb"(HTTP/\d(?:\.\d)?) +(\d{3})(?!\d)([^\r\n]*)")
_INTERIM = re.compile(rb"\S+ +1")


def _parse_status_line(line: bytes) -> tuple[str, int, str]:
    """Returns protocol, status and reason."""
    match = _STATUS_LINE.match(line)
    assert match
    protocol, status, reason = match.groups()
    return protocol.decode(), int(status), reason.decode("latin-1").strip()


def _parse_fields(lines: Iterable[bytes]) -> Iterable[tuple[str, str]]:
    """Yields names, in lower case, and values; a line that begins with white space goes on with the one before.

    That is RFC 9112, 5.2.
    """
    unfolded: list[str] = []
    for line in lines:
        text = line.decode("latin-1").rstrip("\r\n")
        if text[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += f" {text.strip()}"
        elif text:
            unfolded.append(text)
    for text in unfolded:
        name, _, value = text.partition(":")
        yield name.strip().lower(), value.strip()
