from types import SimpleNamespace

import pytest

from fanout.abc import Request
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, UsageError
from fanout.transports.curl import libcurl
from fanout.transports.curl.handles import LONGEST_CONNECT, Handles
from fanout.transports.curl.libcurl import Easy
from fanout.transports.curl.numbers import CurlOpt
from tests.transports.fuzz import easies

HANDLES = Handles(ca_file=None, proxies=True, prior_knowledge=False, reuse=True)
Options = dict[int, int | bytes]


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Options:
    """The last value of each option that is set on handles."""
    found: Options = {}
    take = Easy.set

    def keep(easy: Easy, option: int, value: int | bytes) -> None:
        found[option] = value
        take(easy, option, value)

    monkeypatch.setattr(Easy, "set", keep)
    return found


def make(request: Request, connect: float = 5, handles: Handles = HANDLES) -> None:
    template = handles.make_template(request.impersonate)
    handles.make(template, request, "service.invalid", connect).close()
    template.close()


URL = "https://service.invalid/"


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(0.3, 300), (0.0, 1), (float("inf"), int(LONGEST_CONNECT * 1000))]
)
def test_the_connect_clock_is_libcurls(options: Options, seconds: float, milliseconds: int) -> None:
    make(Request("POST", URL), seconds)
    assert options[CurlOpt.CONNECTTIMEOUT_MS] == milliseconds


def test_a_proxy_is_set_with_its_credentials_apart(options: Options) -> None:
    make(Request("POST", URL, proxy="socks5h://me:p%40w@[::1]:9050"))
    assert options[CurlOpt.PROXY] == b"socks5h://[::1]:9050"
    assert options[CurlOpt.NOPROXY] == b""
    assert (options[CurlOpt.PROXYUSERNAME], options[CurlOpt.PROXYPASSWORD]) == (b"me", b"p@w")


def test_no_proxy_is_none_whatever_the_environment_says(options: Options) -> None:
    make(Request("POST", URL, proxy="none"))
    assert options[CurlOpt.PROXY] == b""
    assert CurlOpt.PROXYUSERNAME not in options


def test_without_a_proxy_of_its_own_the_environment_is_left_to_libcurl(options: Options) -> None:
    make(Request("POST", URL))
    assert CurlOpt.PROXY not in options
    make(Request("POST", URL), handles=Handles(ca_file=None, proxies=False, prior_knowledge=False, reuse=True))
    assert options[CurlOpt.PROXY] == b""


def test_a_handle_that_cannot_be_made_is_closed() -> None:
    before = easies()[1]
    template = HANDLES.make_template(None)
    with pytest.raises(AuthError):
        HANDLES.make(template, Request("POST", URL, {"authorization": Secret("a\nb")}), "service.invalid", 5)
    template.close()
    with pytest.raises(UsageError, match="cannot impersonate 'netscape'"):
        HANDLES.make_template("netscape")
    assert easies()[1] == before


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        (b"libcurl/8.21.0 nghttp2/1.63.0 ngtcp2/1.20.0", False),
        (b"libcurl/8.21.0 nghttp2/1.68.0", False),
        (b"libcurl/8.21.0 nghttp2/1.68.1", True),
        (b"libcurl/8.21.0 nghttp2/1.70.0-DEV", True),
        (b"libcurl/8.21.0 BoringSSL", False),
    ],
)
def test_http2_is_spoken_only_by_a_library_without_the_known_fault(
    monkeypatch: pytest.MonkeyPatch, version: bytes, *, sound: bool
) -> None:
    text = libcurl.ffi.new("char[]", version)
    monkeypatch.setattr(libcurl, "lib", SimpleNamespace(curl_version=lambda: text))
    assert libcurl.speaks_http2_soundly.__wrapped__() is sound
