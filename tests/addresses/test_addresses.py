"""Hosts in every spelling, base URLs, and Ollama's variable."""

import re
from urllib.parse import quote

import pytest

from fanout.addresses import (
    check_base_url,
    check_secrecy,
    is_private,
    is_public,
    is_this_machine,
    join_url,
    read_ollama_host,
)
from fanout.catalog import find
from fanout.errors import UsageError
from fanout.login.services import check_address


@pytest.mark.parametrize(
    "url", ["https://me:pw-1@x.test:y/v1", "https://me:pw-1@[x/v1", "https://me:pw-1@x.test/v1", "https:/\t/me:pw-1@x"]
)
def test_a_password_in_an_address_is_repeated_in_no_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_base_url(url)
    assert "pw-1" not in str(caught.value)


def test_an_address_is_http_or_https_and_without_a_password() -> None:
    for url in ("http://127.0.0.1:9/v1", "http://[::1]:80/v1", "http://127.0.0.1.example.org/v1", "local://smollm2/v1"):
        check_base_url(url)
    with pytest.raises(UsageError, match="no user or password"):
        check_base_url("http://127.0.0.1:80@example.org/v1")
    with pytest.raises(UsageError, match="Port"):
        check_base_url("http://127.0.0.1:x/v1")
    with pytest.raises(UsageError, match="http or https"):
        check_base_url("ftp://example.org")


LOOPBACK = [
    *("localhost", "LOCALHOST", "localhost.", "foo.localhost", "a.b.localhost.", "127.0.0.1", "127.0.0.1.", "127.1"),
    *("127.255.255.254", "127.0.1", "2130706433", "0x7f000001", "0X7F.1", "0x7f.0.0.1", "0177.0.0.1", "017700000001"),
    *("0.0.0.0", "0", "::", "::1", "::1%lo", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1"),
]
AROUND = [
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.168.1.1.", "0xa000001", "10.1"),
    *("3232235777", "::ffff:10.0.0.1", "::ffff:c0a8:101", "169.254.1.1", "fc00::1", "fdab::1", "fe80::1", "febf::1"),
    *("fe80::1%eth0", "fe80::1%25eth0", "printer.local", "Printer.LOCAL.", "a.b.local", "ollama", "gpu-box_2", "GPU"),
]
ELSEWHERE_HOSTS = [
    *("example.org", "a.example.org.", "8.8.8.8", "134744072", "0x8080808", "2606:4700::1", "localhost.example.org"),
    *("172.15.0.1", "172.32.0.1", "192.169.0.1", "100.64.0.1", "::ffff:100.64.0.1", "::ffff:8.8.8.8", "fec0::1"),
    *("198.18.0.1", "192.0.2.1", "224.0.0.1", "2002:a00:1::", "notlocalhost.net", "local.example.org", "ai.", "local."),
]
SENSELESS = [
    *(
        "",
        ".",
        "..",
        "a..b",
        "a b",
        "%31%32%37.0.0.1",
        "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.1",
        "127.0.0.0x",
    ),
    *(
        "1.2.3.4.5",
        "256.1.1.1",
        "4294967296",
        "08.0.0.1",
        "::1::",
        "[::1]",
        "fe80::1%",
        "\u00b2",
        "127.0.0.1:80",
        "loc\u00e4l",
    ),
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_known_in_every_spelling(host: str) -> None:
    assert is_this_machine(host)
    assert is_private(host)
    assert not is_public(host)


@pytest.mark.parametrize("host", AROUND)
def test_networks_around_this_machine_are_private(host: str) -> None:
    assert is_private(host)
    assert not is_this_machine(host)
    assert not is_public(host)


@pytest.mark.parametrize("host", [*ELSEWHERE_HOSTS, *SENSELESS])
def test_nothing_else_is_private(host: str) -> None:
    assert not is_private(host)
    assert not is_this_machine(host)


@pytest.mark.parametrize("host", SENSELESS)
def test_what_is_no_host_is_not_public_either(host: str) -> None:
    assert not is_public(host)


def test_no_host_is_neither() -> None:
    assert not is_this_machine(None) and not is_private(None) and not is_public(None)


# The table of Ollama's own tests (envconfig/config_test.go), and the examples in the docstring of its Python client's
# _parse_host; addresses that a server listens on are reached on this machine (envconfig.ConnectableHost).
OLLAMA_HOSTS = {
    "1.2.3.4": "http://1.2.3.4:11434",
    ":1234": "http://127.0.0.1:1234",
    "1.2.3.4:1234": "http://1.2.3.4:1234",
    "example.com": "http://example.com:11434",
    "example.com:1234": "http://example.com:1234",
    ":66000": "http://127.0.0.1:11434",
    ":-1": "http://127.0.0.1:11434",
    "example.com:x": "http://example.com:11434",
    "example.com:": "http://example.com:11434",
    "[::1]": "http://[::1]:11434",
    "::1": "http://[::1]:11434",
    "[::1]:1337": "http://[::1]:1337",
    "fe80::1%eth0": "http://[fe80::1%eth0]:11434",
    " 1.2.3.4 ": "http://1.2.3.4:11434",
    '"1.2.3.4"': "http://1.2.3.4:11434",
    ' " 1.2.3.4 " ': "http://1.2.3.4:11434",
    "'1.2.3.4'": "http://1.2.3.4:11434",
    "http://1.2.3.4": "http://1.2.3.4:80",
    "http://1.2.3.4:4321": "http://1.2.3.4:4321",
    "https://1.2.3.4": "https://1.2.3.4:443",
    "https://1.2.3.4:4321": "https://1.2.3.4:4321",
    "https://example.com/ollama": "https://example.com:443/ollama",
    "example.com/": "http://example.com:11434",
    "example.com/path/": "http://example.com:11434/path",
    "example.com:56789/a/b/": "http://example.com:56789/a/b",
    "https://[1::2]/path": "https://[1::2]:443/path",
    "ollama.com": "https://ollama.com:443",
    "localhost": "http://localhost:11434",
    "127.0.0.1": "http://127.0.0.1:11434",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:18101": "http://127.0.0.1:18101",
    "http://0.0.0.0:11434": "http://127.0.0.1:11434",
    "http://0.0.0.0": "http://127.0.0.1:80",
    "[::]": "http://127.0.0.1:11434",
    "::": "http://127.0.0.1:11434",
    "[::]:18101": "http://127.0.0.1:18101",
    "https://x.example": "https://x.example:443",
}


@pytest.mark.parametrize("text", OLLAMA_HOSTS)
def test_ollamas_variable_is_read_as_ollama_reads_it(text: str) -> None:
    assert read_ollama_host(text) == OLLAMA_HOSTS[text]


@pytest.mark.parametrize("text", ["", "  ", '""', " '' "])
def test_a_blank_variable_says_nothing(text: str) -> None:
    assert read_ollama_host(text) is None


@pytest.mark.parametrize("url", ["https://example.org", "http://10.0.0.1", "http://gpu", "local://smollm2/v1"])
def test_a_secret_goes_where_nobody_else_reads_it(url: str) -> None:
    check_secrecy(url, "the key")


def test_a_secret_in_clear_is_named_with_who_would_read_it() -> None:
    with pytest.raises(UsageError, match=r"would send the login in clear to example.org; use https"):
        check_secrecy("http://example.org", "the login")
    with pytest.raises(UsageError, match=r"would send the key in K in clear to proxy.example.org"):
        check_secrecy("http://10.0.0.1", "the key in K", "proxy.example.org")
    check_secrecy("http://10.0.0.1", "the key in K", "proxy")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001"),
        *("0x7f.0.0.1", "0177.0.0.1", "1.2.3.0x4", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1", "%31%32%37.0.0.1", "127。0。0。1", "", ".", "a..b", "a b"),
    ],
)
def test_an_address_of_this_machine_or_its_network_is_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    "host", ["x.test", "Files.Example.org", "a.example.org.", "1.example", "8.8.8.8", "2606:4700::1"]
)
def test_names_and_addresses_of_the_world_are(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "url",
    [
        "u:PASSWORD@host/v1",
        "https:/u:PASSWORD@host",
        "//u:PASSWORD@host",
        "https:u:PASSWORD@host",
        "https://u:PASS/PASSWORD@host",
        "https://u:PASSWORD%40host",
        "https://u:PASSWORD@host:x/v1",
        "https://u:PASSWORD",
        "https://u:PASSWORD/v1",
        "https://[u:PASSWORD@host/v1",
        "http:\\\\u:PASSWORD@host",
        " https://u:PASSWORD@host",
        "https://u:P#PASSWORD@host",
        "https://u:P?PASSWORD@host",
        "ftp://u:PASSWORD@host",
        "PASSWORD@host",
        "https://host:x?key=PASSWORD",
        "ftp://host/?key=PASSWORD",
        "https:///v1?key=PASSWORD",
        "https://host /v1?key=PASSWORD",
    ],
)
def test_no_form_of_an_address_has_its_password_repeated(url: str) -> None:
    for check in (check_base_url, check_address):
        with pytest.raises(UsageError) as caught:
            check(url)
        assert "PASSWORD" not in str(caught.value)
    misspelt = [f"openai/m?bas_url={quote(url)}", url] if re.search(":.*@", url) else []
    for spec in (f"openai/m?base_url={quote(url)}", f"openai/m?base_url={quote(quote(url))}", *misspelt):
        with pytest.raises(UsageError) as caught:
            find(spec)
        assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["u:PASSWORD@host", "http://u:PASS/PASSWORD@host:1/x", "http://u:PASSWORD@[::1", "PASSWORD@h"]
)
def test_ollama_s_variable_is_not_repeated_with_a_password(host: str) -> None:
    url = read_ollama_host(host)
    assert url
    with pytest.raises(UsageError, match="no user or password") as caught:
        check_base_url(url)
    assert "PASSWORD" not in str(caught.value)


def test_what_is_shown_of_an_address_that_is_merely_wrong() -> None:
    with pytest.raises(UsageError, match=r"not 'ftp://example.org:21/a'"):
        check_base_url("ftp://example.org:21/a")
    with pytest.raises(UsageError, match=r"not 'localhost:8000/v1'"):
        check_base_url("localhost:8000/v1")
    with pytest.raises(UsageError, match=r"not 'ftp://example.org/a\?…'"):
        check_base_url("ftp://example.org/a?b=c")


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://h/v1", "/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/", "/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1?api-version=p", "/chat/completions", "https://h/v1/chat/completions?api-version=p"),
        ("https://h/v1/chat/completions", "/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions/?a=b", "/chat/completions", "https://h/v1/chat/completions?a=b"),
        ("https://h?a=b", "/models?pageSize=9", "https://h/models?pageSize=9&a=b"),
        ("https://h", "/models?pageSize=9", "https://h/models?pageSize=9"),
    ],
)
def test_a_path_goes_before_the_query_of_a_base_url_and_not_twice(base_url: str, path: str, url: str) -> None:
    assert join_url(base_url, path) == url
