import pytest

from fanout.abc import Request
from fanout.errors import AuthError, ConnectError
from fanout.secret import Secret
from fanout.transports.outgoing import headers_of, host_of


def test_the_host_is_that_of_the_url() -> None:
    assert host_of("https://user@api.example.com:8443/v1?x=https://other/") == "api.example.com"


@pytest.mark.parametrize(
    "url", ["http://..a../", "http://" + "x" * 70 + ".com/", "http://[::1/", "", "localhost/v1", "file:///etc/hosts"]
)
def test_what_is_no_host_name_is_a_connect_error(url: str) -> None:
    with pytest.raises(ConnectError, match="no host name"):
        host_of(url)


def test_credentials_come_out_in_clear() -> None:
    assert headers_of(Request("GET", "", {"a": "b", "authorization": Secret("Bearer k")})) == {
        "a": "b",
        "authorization": "Bearer k",
    }


@pytest.mark.parametrize("key", ["canary\r\nx-evil: 1", "canaryÉ", "canary\n"])
def test_a_key_that_no_header_can_carry_is_an_auth_error_that_does_not_show_it(key: str) -> None:
    with pytest.raises(AuthError, match="authorization has a character") as caught:
        headers_of(Request("GET", "", {"authorization": Secret(f"Bearer {key}")}))
    assert "canary" not in str(caught.value)
