"""One exchange that libcurl carries: its callbacks collect, and the receiver is told of it outside of them."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from fanout.abc import Head, Receiver, Request
from fanout.errors import ProtocolError, ResetError, TooLarge
from fanout.transports.curl.chunked import Chunks
from fanout.transports.curl.libcurl import Easy
from fanout.transports.curl.numbers import CurlOpt
from fanout.transports.outgoing import describe_refusal, find_environment_proxy, make_connect_error
from fanout.transports.stalls import TIMES
from fanout.wire.coding import CAP, PIECE, Decoder

HEAD_CAP = 100 << 10
"""Bytes of a response's head, as h11 has it; libcurl's own limit is three times that."""

MOST_HEADS = 1000
"""Heads of 1xx before that of the response. libcurl's limit of bytes admits 12,000, and reads them in one go."""

SHARE = 64 << 10
"""Bytes that may wait to be delivered before a transfer is paused: libcurl would read on as long as there is more."""

BOMB = 8 << 20
"""Bytes that one read may become where libcurl decodes it, which it does in one go: of a browser's 8 KiB."""


class Transfer:
    """A response on its way from libcurl to its receiver.

    The two callbacks only collect, put the transfer on the list of those that have news, and pause it when SHARE bytes
    wait; everything that may raise is done by `deliver`, outside libcurl, a portion at a time. `queued` is True while
    it is on that list. `wanted` is False once the receiver has enough, or nobody waits any more. `task` is the task
    that waits, `error` the exception that it is to raise, and `code` what libcurl has ended it with.
    `connect_by` is the Trio time by which there must be a connection.
    """

    __slots__ = (
        "_chunks",
        "_decode",
        "_decoded",
        "_decoder",
        "_given_back",
        "_heads",
        "_held",
        "_lines",
        "_news",
        "_paused",
        "_pieces",
        "_receiver",
        "_size",
        "_stalls",
        "_told",
        "_whole",
        "code",
        "connect",
        "connect_by",
        "easy",
        "error",
        "host",
        "pool",
        "queued",
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
        self.connect_by = inf
        self._given_back = 0.0
        self._stalls = 0
        self.wanted = True
        self.queued = False
        self.code: int | None = None
        self.error: BaseException | None = None
        self.task: Any = None
        self.pool: Any = None
        self.stamped: Any = None
        self._receiver = receiver
        self._news = news
        self._decode = request.impersonate is None  # else libcurl undoes what its browser has asked for
        self._decoder: Decoder | None = None
        self._chunks: Chunks | None = None
        self._decoded: Iterator[bytes] | None = None  # what is left of a portion that is being undone
        self._heads = 0
        self._lines: list[bytes] = []
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes of the pieces
        self._size = 0  # and of all that came
        self._paused = False
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
        """Collects a line of a head, not of trailers; raises, which ends the transfer, for a flood of 1xx."""
        if self._whole:
            return
        if _STATUS_LINE.match(line):
            self._heads += 1
            if self._heads > MOST_HEADS:
                raise OverflowError
            self._lines.clear()  # what came before was the head of a 1xx
        self._lines.append(line)
        if line in (b"\r\n", b"\n") and not _INTERIM.match(self._lines[0]):  # the empty line that ends it
            self._whole = True
            self.queue()

    def _hear_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if not self.queued:
            self.queue()
        if self._held >= SHARE and not self._paused:
            self._paused = True
            self.easy.pause()

    def _hear_decoded(self, data: bytes) -> None:
        """Collects bytes that libcurl has decoded; raises, which ends the transfer, before they fill the memory."""
        if self._held > BOMB:
            self._size = CAP
        self._size += len(data)
        if self._size > CAP:
            self.drop()
            raise OverflowError
        self._hear_body(data)

    @property
    def is_connecting(self) -> bool:
        """True as long as somebody waits, and there is neither a connection nor an end."""
        return self.wanted and self.code is None and not self.easy.connected

    def put_off(self, lost: float) -> bool:
        """Moves `connect_by` by the seconds in which we did not run; False where that was often enough.

        libcurl's own clock is set to ring after it: libcurl counts from the start, and gives each of a service's
        addresses a half of what is left.
        """
        if self._stalls == TIMES or self.connect_by == inf:
            return False
        self._stalls += 1
        self._given_back += lost
        self.connect_by += lost
        self.easy.set(CurlOpt.CONNECTTIMEOUT_MS, int((2 * self.connect + self._given_back) * 1000) + 1)
        return True

    def queue(self) -> None:
        """Puts this on the list of those that have news, if it is not there."""
        if not self.queued:
            self.queued = True
            self._news.append(self)

    def end(self, code: int) -> None:
        """Notes that libcurl is done with this, and with what: 0 is success. What has come is still to be delivered."""
        self.code = code
        self.queue()

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
        """Bytes that have come and are not delivered, as they came unless libcurl decodes."""
        return sum(map(len, self._lines)) + self._held

    def deliver(self) -> bool:
        """Tells the receiver of the next portion of what has come; returns True if it has enough.

        An exception of the receiver passes through. Raises ProviderError for codings that cannot be undone.
        """
        if self._heads > MOST_HEADS:
            raise TooLarge(f"{self.host} sends more than is allowed: over {MOST_HEADS} heads of 1xx")
        if not self._told and not (self._tell_head() and self.wanted):
            return False
        if self._size > CAP:
            raise TooLarge(f"the decoded body exceeds {CAP} bytes, or what one read expands to {BOMB}")
        if self._decoder is not None:
            return self._deliver_decoded(self._decoder)
        data = self._take()
        return self._receiver.data(data) if data else False

    def _take(self) -> bytes:
        """Returns the next bytes of the body as they were sent: at most PIECE of them."""
        pieces = self._pieces
        if self._held <= PIECE:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._held = 0
        else:
            first = pieces.popleft()
            if len(first) > PIECE:
                pieces.appendleft(first[PIECE:])
                first = first[:PIECE]
            some, size = [first], len(first)
            while pieces and size + len(pieces[0]) <= PIECE:
                some.append(pieces.popleft())
                size += len(some[-1])
            self._held -= size
            data = b"".join(some)
        if self._decode:
            self._size += len(data)
            if self._size > CAP:
                raise TooLarge(f"the body exceeds {CAP} bytes")
        return data if self._chunks is None else self._chunks.feed(data)

    def _deliver_decoded(self, decoder: Decoder) -> bool:
        """The same for a coding: the portion is what comes out of it, or what went in where nothing comes out."""
        if self._decoded is None:
            self._decoded = decoder.undo(self._take())
        size = 0
        for piece in self._decoded:
            if self._receiver.data(piece):
                return True
            size += len(piece)
            if size >= PIECE or not self.wanted:  # the receiver may have cancelled its own lane
                return False
        self._decoded = None
        if decoder.error:
            raise decoder.error
        return False

    @property
    def has_more(self) -> bool:
        """True if another `deliver` has something to do."""
        return self._told and (bool(self._pieces) or self._decoded is not None)

    def discard(self) -> None:
        """Throws away all that has come and is not delivered, and reads on: to the end, perhaps."""
        self.drop()
        self.resume()

    def drop(self) -> None:
        """Throws away all that has come and is not delivered."""
        self._pieces.clear()
        self._held = 0
        self._decoded = None

    def resume(self) -> None:
        """Lets libcurl read on, if this is paused."""
        if self._paused:
            self._paused = False
            if self.code is None and self.easy.handle is not None:
                self.easy.resume()

    def complete(self) -> bool:
        """Tells the receiver of the rest of a body that is over, as `deliver` does.

        Raises ResetError if its head was not over, and ProtocolError also if there was no response but 1xx.
        """
        enough = self.deliver()
        while self.has_more and self.wanted and not enough:
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
