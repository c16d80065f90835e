"""Files of answers: where they are fetched from, and where not."""

from typing import Any

import pytest
from trio.testing import MockClock

import fanout
from fanout import ProviderError, UsageError
from fanout.abc import Head, Request
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, NotFound, RedirectRefused, ResetError, TimedOut, TooLarge, Truncated
from fanout.events import File
from fanout.transports.download import FILE_BYTES, HOPS
from fanout.transports.memory import HANG, MemoryTransport
from tests.words import memory


async def test_a_file_with_bytes_needs_no_request(autojump_clock: MockClock) -> None:
    transport = memory()
    assert await fanout.fetch_file(File(data=b"\x89PNG", url="https://x/y"), transport=transport) == b"\x89PNG"
    assert not transport.exchanges


async def test_a_file_is_fetched_by_its_own_request(autojump_clock: MockClock) -> None:
    request = Request("GET", "http://a/1.png", {"cookie": Secret("session=canary")})
    transport = memory(a=[0.1, b"\x89P", b"NG"])
    assert await fanout.fetch_file(File(fetch=request, url="https://b/"), transport=transport) == b"\x89PNG"
    assert transport.exchanges[0].request is request


async def test_a_file_with_an_address_alone_is_fetched_from_there_without_any_header(autojump_clock: MockClock) -> None:
    transport = MemoryTransport({"x.test": [b"GIF89a"]})
    assert await fanout.fetch_file(File(url="https://x.test/a?b=c"), transport=transport) == b"GIF89a"
    assert transport.exchanges[0].request == Request("GET", "https://x.test/a?b=c")


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://x.test/a",
        "http://127.0.0.1/a",
        "file:///etc/passwd",
        "https://me:pw@x.test/a",
        "https://me@x.test/",
        "https:///a",
        "https://[",
        "data:image/png;base64,AAAA",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://localhost/x",
    ],
)
async def test_no_other_address_is_fetched(url: str | None, autojump_clock: MockClock) -> None:
    transport = memory()
    with pytest.raises(UsageError, match="file"):
        await fanout.fetch_file(File(url=url), transport=transport)
    assert not transport.exchanges


async def test_a_redirection_is_followed_without_credentials_only(autojump_clock: MockClock) -> None:
    def script(request: Request) -> Any:
        if request.url.endswith("/there"):
            return [b"GIF89a"]
        return [Head(302, {"location": "//y.test/there" if "x.test" in request.url else "http://z.test/"})]

    transport = MemoryTransport(script)
    assert await fanout.fetch_file(File(url="https://x.test/here"), transport=transport) == b"GIF89a"
    request = Request("GET", "https://x.test/here", {"cookie": Secret("session=canary")})
    with pytest.raises(RedirectRefused):
        await fanout.fetch_file(File(fetch=request), transport=transport)
    with pytest.raises(UsageError, match="https"):
        await fanout.fetch_file(File(url="https://q.test/here"), transport=transport)
    assert len(transport.exchanges) == 4


async def test_no_redirection_leads_to_a_place_of_our_own(autojump_clock: MockClock) -> None:
    transport = MemoryTransport(lambda _: [Head(302, {"location": "https://169.254.169.254/latest"})])
    with pytest.raises(UsageError, match=r"169\.254"):
        await fanout.fetch_file(File(url="https://x.test/"), transport=transport)
    assert len(transport.exchanges) == 1


async def test_redirections_have_an_end(autojump_clock: MockClock) -> None:
    transport = MemoryTransport(lambda _: [Head(302, {"location": "/again"})])
    with pytest.raises(RedirectRefused):
        await fanout.fetch_file(File(url="https://x.test/"), transport=transport)
    assert len(transport.exchanges) == HOPS + 1


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Head(404)], NotFound),
        ([Head(401), b"who is canary-7f3a91?"], AuthError),
        ([Head(200), b"half", ResetError("gone")], ResetError),
        ([HANG], TimedOut),
        ([b"x" * (FILE_BYTES // 4)] * 5, TooLarge),
        ([], Truncated),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_a_file_that_does_not_come_is_a_typed_error(
    script: Any, kind: type[ProviderError], autojump_clock: MockClock
) -> None:
    request = Request("GET", "http://a/1.png", {"authorization": Secret("Bearer canary-7f3a91")})
    with pytest.raises(kind) as caught:
        await fanout.fetch_file(File(fetch=request), transport=memory(a=script))
    assert "canary" not in str(caught.value)
