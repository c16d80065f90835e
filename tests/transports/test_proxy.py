import pickle

import pytest

from fanout.abc import Request
from fanout.errors import ConnectError
from fanout.transports.proxy import Proxy, read_proxy


@pytest.mark.parametrize(
    ("text", "url", "credentials"),
    [
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128", None),
        ("HTTP://Proxy.Example/", "http://proxy.example:80", None),
        ("https://proxy.example", "https://proxy.example:443", None),
        ("socks5://proxy.example", "socks5://proxy.example:1080", None),
        ("socks5h://[::1]:9050", "socks5h://[::1]:9050", None),
        ("http://me:pw@proxy.example:8080", "http://proxy.example:8080", ("me", "pw")),
        ("http://me@proxy.example:8080", "http://proxy.example:8080", ("me", "")),
        ("http://m%40e:p%2Fw%3a@proxy.example:8080", "http://proxy.example:8080", ("m@e", "p/w:")),
        ("http://me:p@w@proxy.example:8080", "http://proxy.example:8080", ("me", "p@w")),
        ("http://@proxy.example:8080", "http://proxy.example:8080", None),
    ],
)
def test_an_address_is_read_with_its_credentials_apart(
    text: str, url: str, credentials: tuple[str, str] | None
) -> None:
    proxy = read_proxy(text, "service")
    assert proxy
    assert (proxy.url, proxy.address) == (url, url.partition("//")[2])
    assert credentials == (proxy.credentials and tuple(secret.reveal() for secret in proxy.credentials))


def test_none_is_no_proxy() -> None:
    assert read_proxy("none", "service") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "direct",
        "canary:canary@host:3128",
        "ftp://canary@host",
        "socks4://host",
        "http://",
        "http://me:canary",
        "http://me:canary@host:0",
        "http://me:canary@host:99999",
        "http://[::1",
        "http://..a..:1",
        "http://me:1#canary@host:3128",
        "http://me:canary@host:3128/path",
        "http://me:can ary@host:3128",
        "http://host:3128\n",
        "http://me:canary%00@host:3128",
        "http://me:canary%0d%0a@host:3128",
    ],
)
def test_what_is_no_address_of_a_proxy_fails_the_lane_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ConnectError) as caught:
        read_proxy(text, "service")
    assert caught.value.message == (
        "cannot reach service by way of the proxy: that is no address of a proxy (proxy of the lane)"
    )
    assert caught.value.__context__ is None


def test_nothing_prints_the_credentials() -> None:
    text = "http://canary:bird@host:3128"
    proxy = Proxy.parse(text)
    for shown in (repr(proxy), str(proxy), f"{proxy}", proxy.url, repr(Request("GET", "https://x/", proxy=text))):
        assert "canary" not in shown
        assert "bird" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(proxy)


def test_proxies_that_differ_in_credentials_alone_are_different() -> None:
    assert len({Proxy.parse(f"http://{who}host:1") for who in ("", "me:a@", "me:b@", "you:a@")}) == 4
