import errno

import pytest

from fanout.errors import ConnectError, ProtocolError, ProviderError, ResetError, TimedOut, TooLarge
from fanout.transports.curl.errors import Route, translate
from tests.transports.curl.constants import load_constants

CurlECode = load_constants().CurlECode

KINDS: dict[type[ProviderError], tuple[str, ...]] = {
    ConnectError: (
        "UNSUPPORTED_PROTOCOL URL_MALFORMAT NOT_BUILT_IN COULDNT_RESOLVE_PROXY COULDNT_RESOLVE_HOST COULDNT_CONNECT",
        "SSL_CONNECT_ERROR INTERFACE_FAILED SSL_ENGINE_NOTFOUND SSL_ENGINE_SETFAILED SSL_CERTPROBLEM SSL_CIPHER",
        "PEER_FAILED_VERIFICATION USE_SSL_FAILED SSL_ENGINE_INITFAILED SSL_CACERT_BADFILE SSL_SHUTDOWN_FAILED",
        "SSL_CRL_BADFILE SSL_ISSUER_ERROR NO_CONNECTION_AVAILABLE SSL_PINNEDPUBKEYNOTMATCH SSL_INVALIDCERTSTATUS PROXY",
        "QUIC_CONNECT_ERROR SSL_CLIENTCERT ECH_REQUIRED REMOTE_ACCESS_DENIED",
    ),
    ResetError: (
        "HTTP2 PARTIAL_FILE GOT_NOTHING SEND_ERROR RECV_ERROR SEND_FAIL_REWIND HTTP2_STREAM HTTP3 UNRECOVERABLE_POLL",
    ),
    TimedOut: ("OPERATION_TIMEDOUT",),
    TooLarge: ("FILESIZE_EXCEEDED TOO_LARGE",),
    ProtocolError: ("WEIRD_SERVER_REPLY BAD_CONTENT_ENCODING WRITE_ERROR OUT_OF_MEMORY TOO_MANY_REDIRECTS",),
}
NAMED = [(name, kind) for kind, lines in KINDS.items() for line in lines for name in line.split()]


def code(name: str) -> int:
    return int(CurlECode[name])


@pytest.mark.parametrize(("name", "kind"), NAMED)
def test_a_code_is_the_error_that_its_name_says(name: str, kind: type[ProviderError]) -> None:
    error = translate(code(name), "libcurl's words", 0, "example.com", 5)
    assert type(error) is kind
    assert "example.com" in str(error)


@pytest.mark.parametrize("number", range(1, 102))
@pytest.mark.parametrize("text", ["", "libcurl's words", "x" * 1000])
def test_every_code_is_a_typed_error_that_names_the_host(number: int, text: str) -> None:
    error = translate(number, text, 0, "example.com", 5)
    assert isinstance(error, ConnectError | ResetError | TimedOut | TooLarge | ProtocolError)
    assert "example.com" in str(error)
    assert len(str(error)) < 400
    if isinstance(error, ProtocolError | TooLarge) and not text:
        assert f"libcurl's error {number}" in str(error)


def test_every_code_that_libcurl_has_is_within_these() -> None:
    assert {int(code) for code in CurlECode} <= set(range(102))


def test_only_what_was_surely_not_sent_is_safe_to_repeat() -> None:
    safe = {number for number in range(1, 102) if translate(number, "", 0, "h", 5).retry_safe}
    assert {code(name) for name in ("COULDNT_RESOLVE_HOST", "COULDNT_CONNECT", "OPERATION_TIMEDOUT")} <= safe
    lost = ("SEND_ERROR", "RECV_ERROR", "GOT_NOTHING", "PARTIAL_FILE", "HTTP2", "HTTP2_STREAM", "WRITE_ERROR")
    assert not {code(name) for name in lost} & safe
    assert translate(code("HTTP2_STREAM"), "stream 3 was reset: REFUSED_STREAM", 0, "h", 5).retry_safe


def test_a_refusal_has_the_systems_reason() -> None:
    error = translate(code("COULDNT_CONNECT"), "Failed to connect to h:80 after 0 ms", errno.ECONNREFUSED, "h", 5)
    assert str(error) == "connect: cannot reach h: Connection refused"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("COULDNT_CONNECT", "Failed to connect to h:443 over proxy p after 0 ms: Could not connect to server"),
        ("COULDNT_CONNECT", "CONNECT tunnel failed, response 407"),
        ("RECV_ERROR", "Proxy CONNECT aborted"),
        ("COULDNT_RESOLVE_PROXY", "Could not resolve proxy: p"),
        ("PROXY", "No authentication method was acceptable."),
    ],
)
def test_where_the_proxy_failed_that_is_said(name: str, text: str) -> None:
    error = translate(code(name), text, 0, "h", 5)
    assert type(error) is ConnectError
    assert "cannot reach h by way of the proxy: " in str(error)


P = "p:3128"
NO_TUNNEL = "it does not answer CONNECT as it should"


@pytest.mark.parametrize(
    ("name", "route", "message"),
    [
        ("COULDNT_CONNECT", Route(P), "cannot reach h by way of the proxy: libcurl's words (proxy p:3128)"),
        (
            "COULDNT_CONNECT",
            Route(P, tunnel=407),
            "cannot reach h by way of the proxy: it asks for credentials, or for others (407) (proxy p:3128)",
        ),
        (
            "COULDNT_CONNECT",
            Route(P, tunnel=503),
            "cannot reach h by way of the proxy: it answers 503 to CONNECT (proxy p:3128)",
        ),
        (
            "PEER_FAILED_VERIFICATION",
            Route(P, proxy_tls=True, opening=True),
            "cannot reach h by way of the proxy: libcurl's words (proxy p:3128)",
        ),
        (
            "PEER_FAILED_VERIFICATION",
            Route(P, tunnel=200, service_tls=True, opening=True),
            "cannot reach h: libcurl's words (behind the proxy p:3128)",
        ),
        *(
            (
                name,
                Route(P, opening=True),
                f"cannot reach h by way of the proxy: {NO_TUNNEL}: libcurl's words (proxy p:3128)",
            )
            for name in ("RECV_ERROR", "WEIRD_SERVER_REPLY")
        ),
        ("RECV_ERROR", Route(P), "the connection to h was lost (behind the proxy p:3128)"),
        (
            "RECV_ERROR",
            Route(P, tunnel=200, opening=True),
            "the connection to h was lost (behind the proxy p:3128)",
        ),
        (
            "GOT_NOTHING",
            Route(P),
            "h closed the connection before the answer was over (behind the proxy p:3128)",
        ),
        (
            "OPERATION_TIMEDOUT",
            Route(P, opening=True),
            "no connection to h by way of the proxy within 5 s (proxy p:3128)",
        ),
        ("OPERATION_TIMEDOUT", Route(P, tunnel=200), "no connection to h within 5 s (behind the proxy p:3128)"),
        ("OPERATION_TIMEDOUT", Route(), "no connection to h within 5 s"),
        (
            "WEIRD_SERVER_REPLY",
            Route(P),
            "h does not speak HTTP as it should: libcurl's words (behind the proxy p:3128)",
        ),
    ],
)
def test_the_one_that_failed_is_told_from_how_far_libcurl_got(name: str, route: Route, message: str) -> None:
    error = translate(code(name), "libcurl's words", 0, "h", 5, route)
    assert error.message == message


def test_only_a_connection_on_which_nothing_was_sent_makes_a_lost_one_safe_to_repeat() -> None:
    for name in ("RECV_ERROR", "SEND_ERROR", "GOT_NOTHING", "HTTP2"):
        assert translate(code(name), "", 0, "h", 5, Route(P, opening=True)).retry_safe
        assert not translate(code(name), "", 0, "h", 5, Route(P)).retry_safe
        assert not translate(code(name), "", 0, "h", 5, Route()).retry_safe


def test_the_credentials_of_a_proxy_are_not_shown() -> None:
    for text in (
        "Unsupported proxy scheme for 'odd://me:canary@p'",
        "Unsupported proxy syntax in 'me:can'ary@p:x'",
        "Unsupported proxy syntax in 'http://me:canary': Port number was not a decimal number",
    ):
        error = translate(code("COULDNT_RESOLVE_PROXY"), text, 0, "h", 5)
        assert "canary" not in str(error)
        assert "Unsupported proxy" in str(error)


def test_a_clock_says_what_it_was_set_to() -> None:
    error = translate(code("OPERATION_TIMEDOUT"), "Connection timed out after 300 milliseconds", 0, "h", 0.3)
    assert isinstance(error, TimedOut)
    assert (error.clock, error.seconds, error.message) == ("connect", 0.3, "no connection to h within 0.3 s")


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("RECV_ERROR", "Recv failure: Connection reset by peer", ResetError),
        ("RECV_ERROR", "chunk hex-length char not a hex digit: 0x7a", ProtocolError),
        ("RECV_ERROR", "Illegal or missing hexadecimal sequence", ProtocolError),
        ("RECV_ERROR", "Too large response headers: 308402 > 307200", TooLarge),
        ("UNSUPPORTED_PROTOCOL", "Received HTTP/0.9 when not allowed", ProtocolError),
        ("UNSUPPORTED_PROTOCOL", "Unsupported HTTP/1 subversion in response", ProtocolError),
        ("UNSUPPORTED_PROTOCOL", 'Protocol "odd" not supported', ConnectError),
        ("HTTP2_STREAM", "stream 1 was closed cleanly, but before getting all response header fields", ResetError),
        ("HTTP2", "nghttp2 shuts down connection with error 9: COMPRESSION_ERROR", ProtocolError),
        ("PARTIAL_FILE", "transfer closed with 3 bytes remaining to read", ResetError),
    ],
)
def test_where_a_code_is_ambiguous_libcurls_words_decide(name: str, text: str, kind: type[ProviderError]) -> None:
    assert type(translate(code(name), text, 0, "h", 5)) is kind
