import gzip
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import define, field

from fanout.abc import Head, Request
from fanout.errors import ProtocolError, ProviderError, ResetError, TooLarge, Truncated
from fanout.transports.curl import transfer
from fanout.transports.curl.libcurl import Easy
from fanout.transports.curl.transfer import Transfer
from fanout.wire.coding import PIECE
from tests.transports.test_contract import Ears as Timed

OK = b"HTTP/1.1 200 OK\r\n"


class Ears(Timed):
    """Outside of Trio there is no time."""

    def data(self, data: bytes, /) -> bool:
        assert self.heads
        assert data
        self.pieces.append(data)
        if self.break_at is not None and self.break_at in data:
            raise TooLarge("enough")
        return self.stop_at is not None and self.stop_at in data


@define
class Handle:
    """In place of libcurl's: keeps the callbacks."""

    head: Callable[[bytes], Any] = print
    body: Callable[[bytes], Any] = print
    handle: object = "one"
    used_proxy: bool = False
    paused: bool = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def receive(self, head: Callable[[bytes], Any], body: Callable[[bytes], Any]) -> None:
        self.head, self.body = head, body


@define
class Scene:
    """A transfer whose lines and reads a test plays."""

    decode: bool = True
    ears: Ears = field(factory=Ears)
    news: list[Transfer] = field(factory=list)
    handle: Handle = field(factory=Handle)
    transfer: Transfer = field(init=False)

    def __attrs_post_init__(self) -> None:
        request = Request("POST", "https://example.com/", impersonate=None if self.decode else "chrome")
        easy = cast("Easy", self.handle)
        self.transfer = Transfer(easy, request, self.ears, self.news, host="example.com", connect=5)

    def hear(self, head: bytes, *reads: bytes) -> None:
        for line in head.splitlines(keepends=True):
            self.handle.head(line)
        for read in reads:
            self.handle.body(read)


def headers(head: bytes) -> dict[str, str]:
    scene = Scene()
    scene.hear(head)
    scene.transfer.complete()
    return dict(scene.ears.heads[0].headers)


def body(head: bytes, *reads: bytes, decode: bool = True) -> list[bytes]:
    """Returns what the receiver is told, read by read."""
    scene = Scene(decode)
    scene.hear(head)
    for read in reads:
        scene.hear(b"", read)
        scene.transfer.deliver()
    scene.transfer.complete()
    return scene.ears.pieces


def test_the_receiver_is_told_of_a_head_when_it_is_whole_and_once() -> None:
    scene = Scene()
    scene.hear(OK + b"x: y\r\n")
    assert not scene.transfer.deliver()
    assert (scene.ears.heads, scene.news) == ([], [])
    scene.hear(b"\r\n")
    assert scene.news == [scene.transfer]
    for _ in range(2):
        assert not scene.transfer.deliver()
    (head,) = scene.ears.heads
    assert (head.status, head.reason, head.headers) == (200, "OK", {"x": "y"})


def test_names_are_lower_case_and_of_a_repeated_one_the_last_value_is_kept() -> None:
    assert headers(OK + b"X-One: 1\r\nx-two:2 \r\nx-ONE:\t3\r\nx-none:\r\n\r\n") == {
        "x-one": "3",
        "x-two": "2",
        "x-none": "",
    }


def test_a_value_may_hold_colons_and_bytes_beyond_ascii() -> None:
    assert headers(OK + b"x: a: b\r\ny: caf\xe9\r\n\r\n") == {"x": "a: b", "y": "café"}


def test_a_folded_line_is_one_value() -> None:
    assert headers(OK + b"x: a\r\n  b\r\n\tc\r\ny: d\r\n\r\n") == {"x": "a b c", "y": "d"}
    assert headers(OK + b"x: a\r\n \r\n b\r\n\r\n") == {"x": "a  b"}


def test_a_short_line_does_not_end_a_head() -> None:
    assert headers(OK + b"a\ny: d\r\n\r\n") == {"a": "", "y": "d"}


def test_all_cookies_are_kept() -> None:
    scene = Scene()
    scene.hear(OK + b"Set-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nSET-COOKIE: a=3\r\n\r\n")
    scene.transfer.deliver()
    assert scene.ears.heads[0].set_cookie == ("a=1; Path=/", "b=2", "a=3")


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.0 404 Not Found at all", 404, "Not Found at all"),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/2 503 ", 503, ""),
        (b"HTTP/1.1 429 Zu viel \xfcberall", 429, "Zu viel überall"),
        (b"HTTP/1.1 200OK", 200, "OK"),
    ],
)
def test_the_status_line_has_a_status_and_perhaps_a_reason(line: bytes, status: int, reason: str) -> None:
    scene = Scene()
    scene.hear(line + b"\r\nx: y\r\n\r\n")
    scene.transfer.deliver()
    assert (scene.ears.heads[0].status, scene.ears.heads[0].reason) == (status, reason)


def test_heads_before_the_last_are_not_told_of() -> None:
    scene = Scene()
    scene.hear(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n")
    assert not scene.transfer.deliver()
    assert scene.ears.heads == []
    scene.hear(OK + b"y: z\r\n\r\n")
    scene.transfer.deliver()
    assert [dict(head.headers) for head in scene.ears.heads] == [{"y": "z"}]


def test_a_header_may_be_named_like_a_protocol() -> None:
    assert headers(OK + b"HTTP/2: y\r\n\r\n") == {"http/2": "y"}


def test_an_exchange_without_a_response_is_a_protocol_error() -> None:
    scene = Scene()
    scene.hear(b"HTTP/1.1 101 Switching\r\n\r\n", b"x" * 100)
    with pytest.raises(ProtocolError, match=r"example\.com does not speak HTTP as it should: there is no response"):
        scene.transfer.complete()
    assert (scene.ears.heads, scene.ears.pieces) == ([], [])


def test_a_head_that_is_not_over_is_a_lost_connection() -> None:
    scene = Scene()
    scene.hear(b"HTTP/1.1 103 Early\r\n\r\n" + OK + b"x: y\r\n")
    with pytest.raises(ResetError, match=r"example\.com closed the connection before the answer was over"):
        scene.transfer.complete()
    assert scene.ears.heads == []


@pytest.mark.parametrize("start", [b"\r\n" + OK, b"http/1.1 200 OK\r\n", b"HTTP/1.1 2000 OK\r\n"])
def test_what_does_not_begin_with_a_status_line_is_a_protocol_error(start: bytes) -> None:
    scene = Scene()
    scene.hear(start + b"x: y\r\n\r\n")
    with pytest.raises(ProtocolError, match="is no status line"):
        scene.transfer.deliver()
    assert scene.ears.heads == []


def test_a_head_has_a_cap() -> None:
    line = b"x: " + b"y" * 995 + b"\r\n"
    assert len(headers(OK + line * 102 + b"\r\n")["x"]) == 995
    scene = Scene()
    scene.hear(OK + line * 103 + b"\r\n")
    with pytest.raises(TooLarge, match="a head of over 102400 bytes"):
        scene.transfer.deliver()
    assert scene.ears.heads == []


def test_trailers_are_not_told_of() -> None:
    scene = Scene()
    scene.hear(OK + b"transfer-encoding: chunked\r\n\r\n", b"2\r\nhi\r\n0\r\n")
    scene.hear(b"x-sum: 3\r\n\r\n")
    scene.transfer.complete()
    assert (dict(scene.ears.heads[0].headers), scene.ears.body) == ({"transfer-encoding": "chunked"}, b"hi")


def test_what_libcurl_wrote_in_one_go_is_one_read() -> None:
    scene = Scene()
    scene.hear(OK + b"\r\n", b"a", b"b", b"c")
    assert not scene.transfer.deliver()
    scene.hear(b"", b"d")
    assert not scene.transfer.deliver()
    assert scene.ears.pieces == [b"abc", b"d"]
    assert scene.news == [scene.transfer]  # once, until its turn comes


def test_what_is_thrown_away_is_not_told_of() -> None:
    scene = Scene()
    scene.hear(OK + b"\r\n", b"a")
    scene.transfer.discard()
    scene.hear(b"", b"b")
    scene.transfer.complete()
    assert scene.ears.pieces == [b"b"]


def test_enough_is_passed_on_and_so_is_what_the_receiver_raises() -> None:
    scene = Scene(ears=Ears(stop_at=b"b", break_at=b"c"))
    for read, enough in ((b"a", False), (b"b", True)):
        scene.hear(OK + b"\r\n", read)
        assert scene.transfer.deliver() is enough
    scene.hear(b"", b"c")
    with pytest.raises(TooLarge):
        scene.transfer.deliver()


CHUNKED = OK + b"Transfer-Encoding: Chunked\r\n\r\n"


def test_chunks_are_put_together() -> None:
    assert body(CHUNKED, b"2\r\nhi\r\n3\r\nyou\r\n", b"1\r", b"\n!\r\n0\r\n\r\n") == [b"hiyou", b"!"]


def test_chunks_in_http2_or_decoded_by_libcurl_are_the_body_itself() -> None:
    assert body(CHUNKED.replace(b"1.1", b"2"), b"2\r\nhi\r\n") == [b"2\r\nhi\r\n"]
    assert body(CHUNKED, b"hi", decode=False) == [b"hi"]


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "chunked, chunked"])
def test_another_transfer_coding_was_not_asked_for(coding: str) -> None:
    with pytest.raises(ProtocolError, match=f"not asked for: {coding}"):
        body(OK + f"transfer-encoding: {coding}\r\n\r\n".encode(), b"x")


GZIP = OK + b"content-encoding: gzip\r\n\r\n"


def test_content_codings_are_undone_at_once() -> None:
    first, second = gzip.compress(b"one"), gzip.compress(b"two")
    assert body(GZIP, first, second[:15], second[15:]) == [b"one", b"two"]
    assert body(GZIP.replace(b"gzip", b"deflate"), zlib.compress(b"one")) == [b"one"]
    assert body(GZIP.replace(b"gzip", b"identity"), b"one") == [b"one"]
    assert body(GZIP, b"one", decode=False) == [b"one"]
    assert body(GZIP) == []


def test_codings_may_be_listed_in_several_fields() -> None:
    head = OK + b"content-encoding: deflate\r\ncontent-encoding: gzip\r\n\r\n"
    assert body(head, gzip.compress(zlib.compress(b"one"))) == [b"one"]


def test_a_content_coding_within_chunks_is_undone() -> None:
    data = gzip.compress(b"one")
    assert body(CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)) == [
        b"one"
    ]


@pytest.mark.parametrize(
    ("coding", "data", "error"),
    [
        (b"zebra", b"x", ProtocolError),
        (b"gzip", b"xyz", ProtocolError),
        (b"gzip", gzip.compress(b"one")[:-1], Truncated),
        (b"gzip, gzip, gzip", b"x", ProtocolError),
    ],
)
def test_a_coding_that_cannot_be_undone_is_a_typed_error(
    coding: bytes, data: bytes, error: type[ProviderError]
) -> None:
    with pytest.raises(error):
        body(GZIP.replace(b"gzip", coding), data)


def test_a_lane_that_its_receiver_cancels_is_told_nothing_more() -> None:
    scene = Scene()

    def data(data: bytes) -> bool:
        scene.transfer.wanted = False
        return Ears.data(scene.ears, data)

    scene.transfer._receiver = cast("Any", SimpleNamespace(head=scene.ears.head, data=data))
    scene.hear(GZIP, gzip.compress(bytes(1_000_000)))
    assert not scene.transfer.deliver()
    assert len(scene.ears.pieces) == 1


def test_a_lane_that_its_receiver_cancels_at_the_head_is_told_of_no_body() -> None:
    scene = Scene()

    def head(head: Head) -> None:
        scene.transfer.wanted = False
        scene.ears.head(head)

    scene.transfer._receiver = cast("Any", SimpleNamespace(head=head, data=scene.ears.data))
    scene.hear(OK + b"\r\n", b"x")
    assert not scene.transfer.deliver()
    assert (len(scene.ears.heads), scene.ears.pieces) == (1, [])


def test_what_libcurl_decodes_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CAP", 10)
    scene = Scene(decode=False)
    scene.hear(OK + b"\r\n", b"12345", b"67890")
    assert not scene.transfer.deliver()
    with pytest.raises(OverflowError):  # which tells libcurl to stop
        scene.hear(b"", b"1")
    for tell in (scene.transfer.deliver, scene.transfer.complete):
        with pytest.raises(TooLarge, match="the decoded body exceeds 10 bytes"):
            tell()
    assert scene.ears.pieces == [b"1234567890"]


def test_what_libcurl_makes_of_one_read_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BOMB", 10)
    scene = Scene(decode=False)
    scene.hear(OK + b"\r\n", *[b"1234"] * 3)
    with pytest.raises(OverflowError):
        scene.hear(b"", b"1")
    with pytest.raises(TooLarge, match="what one read expands to 10"):
        scene.transfer.deliver()


def test_a_transfer_whose_bytes_wait_is_paused_until_they_are_delivered() -> None:
    scene = Scene()
    scene.hear(OK + b"\r\n", *[bytes(16 << 10)] * 3)
    paused = [scene.handle.paused]
    scene.hear(b"", bytes(16 << 10), bytes(16 << 10))
    paused.append(scene.handle.paused)
    turns = 0
    while scene.transfer.has_more or not turns:
        assert not scene.transfer.deliver()
        turns += 1
    assert (turns, {len(piece) for piece in scene.ears.pieces}) == (10, {PIECE})
    scene.transfer.resume()
    assert [*paused, scene.handle.paused] == [False, True, False]


def test_many_small_reads_that_wait_are_delivered_in_bounded_pieces() -> None:
    scene = Scene()
    scene.hear(OK + b"\r\n", *[bytes(1000)] * 100)
    scene.transfer.deliver()
    while scene.transfer.has_more:
        scene.transfer.deliver()
    assert len(scene.ears.body) == 100_000
    assert max(map(len, scene.ears.pieces)) == 8_000


def test_what_a_coding_gives_is_delivered_a_piece_a_turn() -> None:
    scene = Scene()
    scene.hear(GZIP, gzip.compress(bytes(1_000_000)))
    scene.transfer.deliver()
    assert (len(scene.ears.body), scene.transfer.has_more) == (PIECE, True)
    while scene.transfer.has_more:
        scene.transfer.deliver()
    scene.transfer.complete()
    assert len(scene.ears.body) == 1_000_000


def test_bytes_that_become_nothing_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CAP", 100)
    scene = Scene()
    scene.hear(CHUNKED, *[b"1\r\na\r\n"] * 17)
    with pytest.raises(TooLarge, match="the body exceeds 100 bytes"):
        scene.transfer.deliver()


def test_a_decoded_body_comes_in_pieces_until_the_receiver_has_enough() -> None:
    scene = Scene(ears=Ears(stop_at=b"\0"))
    scene.hear(GZIP, gzip.compress(bytes(1_000_000)))
    assert scene.transfer.deliver()
    assert [len(piece) for piece in scene.ears.pieces] == [PIECE]


def test_a_transfer_says_how_far_it_is_and_nothing_of_what_was_said() -> None:
    scene = Scene(ears=Ears(stop_at=b"done"))
    handle = scene.handle
    handle.handle = object()
    assert repr(scene.transfer) == "<Transfer example.com: waiting for the head>"
    scene.hear(OK + b"x: canary\r\n\r\n", b"canary")
    scene.transfer.deliver()
    assert repr(scene.transfer) == "<Transfer example.com: reading the body>"
    scene.transfer.wanted = False
    assert repr(scene.transfer) == "<Transfer example.com: enough was read>"
    handle.handle = None
    assert repr(scene.transfer) == "<Transfer example.com: over>"
