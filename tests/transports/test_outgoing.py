from pathlib import Path

import pytest

from fanout.abc import Request
from fanout.addresses.proxy import Proxy
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, ConnectError, InvalidRequest
from fanout.transports.outgoing import (
    AUTHORITIES,
    find_bundle,
    find_environment_proxy,
    find_socks,
    make_connect_error,
    make_connect_timeout,
    name_server,
    read_host,
    reveal_headers,
)


def test_the_host_is_that_of_the_url() -> None:
    assert read_host("https://user@api.example.com:8443/v1?x=https://other/") == "api.example.com"


def test_a_server_is_named_with_its_port_and_without_credentials() -> None:
    assert name_server("https://user:pass@api.example.com:8443/v1") == "api.example.com:8443"
    assert name_server("http://api.example.com/v1") == "api.example.com"
    assert name_server("http://[::1]:11434/api") == "[::1]:11434"
    with pytest.raises(ConnectError, match="its port is no number from 0 to 65535"):
        name_server("http://127.0.0.1:99999/")


@pytest.mark.parametrize(
    "url", ["http://..a../", "http://" + "x" * 70 + ".com/", "http://[::1/", "", "localhost/v1", "file:///etc/hosts"]
)
def test_what_is_no_host_name_is_a_connect_error(url: str) -> None:
    with pytest.raises(ConnectError, match="no host name"):
        read_host(url)


@pytest.mark.parametrize("url", ["http://a\0b/", "http://a/\0b", "http://a/b\nc", "http://a/b\x7f"])
def test_an_address_with_a_control_character_is_cut_nowhere_and_leads_nowhere(url: str) -> None:
    with pytest.raises(ConnectError, match="a character that no URL can have"):
        read_host(url)


def test_credentials_come_out_in_clear() -> None:
    assert reveal_headers(Request("GET", "", {"a": "b", "authorization": Secret("Bearer k")})) == {
        "a": "b",
        "authorization": "Bearer k",
    }


@pytest.mark.parametrize("key", ["canary\r\nx-evil: 1", "canaryÉ", "canary\n"])
def test_a_key_that_no_header_can_carry_is_an_auth_error_that_does_not_show_it(key: str) -> None:
    with pytest.raises(AuthError, match="authorization has a character") as caught:
        reveal_headers(Request("GET", "", {"authorization": Secret(f"Bearer {key}")}))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x y", "x:", "x\r\nx-evil", "\0x", "xé", "x\n", "(x)"])
def test_what_is_no_name_of_a_header_is_an_invalid_request_that_shows_no_value(name: str) -> None:
    with pytest.raises(InvalidRequest, match="no header can be named") as caught:
        reveal_headers(Request("GET", "", {name: Secret("canary"), "x-fine": "y"}))
    assert "canary" not in str(caught.value)


def test_every_character_of_a_token_may_be_in_the_name_of_a_header() -> None:
    name = "!#$%&'*+-.^_`|~09azAZ"
    assert reveal_headers(Request("GET", "", {name: "x"})) == {name: "x"}


@pytest.mark.parametrize(
    ("url", "variables", "address"),
    [
        ("https://x/", {"https_proxy": "http://me:canary@p:3128/"}, "p:3128"),
        ("https://x/", {"HTTPS_PROXY": "p:3128", "all_proxy": "q"}, "p:3128"),
        ("https://x/", {"ALL_PROXY": "socks5h://[::1]:9"}, "[::1]:9"),
        ("http://x/", {"http_proxy": "p", "HTTP_PROXY": "q"}, "p"),
        ("http://x/", {"HTTP_PROXY": "q"}, "of the environment"),
        ("http://x/", {"http_proxy": "http://me:ca/na@ry@p"}, "of the environment"),
        ("http://x/", {}, "of the environment"),
    ],
)
def test_the_environments_proxy_is_named_without_credentials(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], address: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_environment_proxy(url) == address


@pytest.fixture
def no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AUTHORITIES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_authorities")
def test_the_bundles_of_other_programs_count_after_openssls_own_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_bundle() == (None, None)
    monkeypatch.setenv("CURL_CA_BUNDLE", "/c.pem")
    assert find_bundle() == ("/c.pem", None)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert find_bundle() == (None, str(tmp_path))
    monkeypatch.setenv("SSL_CERT_DIR", "/d")
    assert find_bundle() == (None, None)


@pytest.mark.usefixtures("no_authorities")
def test_an_error_about_a_certificate_names_the_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    error = make_connect_error("x.test", "self-signed certificate")
    assert str(error) == "connect: cannot reach x.test: self-signed certificate; SSL_CERT_FILE names other authorities"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/c.pem")
    assert "the authorities are those of REQUESTS_CA_BUNDLE=/c.pem" in str(make_connect_error("x", "bad certificate"))


def test_socks_without_a_number_means_socks_5_with_the_proxys_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890/")
    assert find_socks("https://x.test/") == Proxy("socks5h", "127.0.0.1", 7890)
    assert find_environment_proxy("https://x.test/") == "127.0.0.1:7890"
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:7890/")
    assert find_socks("https://x.test/") is None


def test_a_proxy_that_failed_and_is_not_known_is_not_named() -> None:
    assert make_connect_error("h", "why", by_proxy=True).message == "cannot reach h by way of the proxy: why"
    assert make_connect_timeout("h", 2, by_proxy=True).message == "no connection to h by way of the proxy within 2 s"
