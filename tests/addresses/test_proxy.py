import pickle

import pytest
from attrs import evolve

from fanout.abc import Request
from fanout.addresses.proxy import NO_PROXY, Proxy, as_proxy
from fanout.credentials.secret import Secret
from fanout.errors import UsageError


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
    proxy = Proxy.parse(text)
    assert proxy.url == url
    assert not proxy.direct
    assert credentials == (proxy.credentials and tuple(secret.reveal() for secret in proxy.credentials))
    assert proxy.address == url.partition("//")[2]


@pytest.mark.parametrize("text", ["none", "None", "NONE"])
def test_none_is_no_proxy_whatever_the_environment_says(text: str) -> None:
    assert Proxy.parse(text) == NO_PROXY
    assert NO_PROXY.direct


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with none of these"),
        ("direct", "begins with none of these"),
        ("canary:canary@host:3128", "begins with none of these"),
        ("ftp://canary@host", "begins with none of these"),
        ("socks4://host", "begins with none of these"),
        ("http://", "no valid host and port"),
        ("http://me:canary", "no valid host and port"),
        ("http://me:canary@host:0", "no valid host and port"),
        ("http://me:canary@host:99999", "no valid host and port"),
        ("http://[::1", "no valid host and port"),
        ("http://..a..:1", "no valid host and port"),
        ("http://me:1#canary@host:3128", "goes on after host and port"),
        ("http://me:canary@host:3128/path", "goes on after host and port"),
        ("http://me:can ary@host:3128", "a character that no URL can have"),
        ("http://host:3128\n", "a character that no URL can have"),
        ("http://me:canary%00@host:3128", "a character that cannot be sent"),
        ("http://me:canary%0d%0a@host:3128", "a character that cannot be sent"),
    ],
)
def test_what_is_no_address_of_a_proxy_is_told_without_repeating_it(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Proxy.parse(text)
    assert "http://host:3128 (http://, https://, socks5://, socks5h://), or none" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_nothing_prints_the_credentials() -> None:
    proxy = Proxy.parse("http://canary:bird@host:3128")
    for text in (repr(proxy), str(proxy), f"{proxy}", repr(Request("GET", "https://x/", proxy=proxy)), proxy.url):
        assert "host" in text
        assert "canary" not in text
        assert "bird" not in text
    with pytest.raises(TypeError):
        pickle.dumps(proxy)


def test_a_request_takes_a_proxy_or_its_address() -> None:
    proxy = Proxy.parse("http://me:pw@host:3128")
    request = Request("GET", "https://x/")
    assert request.proxy is None
    for value in (proxy, "http://me:pw@host:3128", Secret("http://me:pw@host:3128")):
        assert evolve(request, proxy=value).proxy == proxy
        assert as_proxy(value) == proxy
    assert evolve(request, proxy="none").proxy == NO_PROXY
    assert evolve(evolve(request, proxy=proxy), proxy=None).proxy is None
    with pytest.raises(UsageError):
        evolve(request, proxy="canary")


def test_proxies_that_differ_in_credentials_alone_are_different() -> None:
    assert len({Proxy.parse(f"http://{who}host:1") for who in ("", "me:a@", "me:b@", "you:a@")}) == 4
