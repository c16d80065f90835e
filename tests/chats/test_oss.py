"""The request that stores a file: its signature, and to which hosts it may go."""

from typing import Any

import pytest

from fanout.chats.oss import Bucket
from fanout.credentials.secret import Secret
from fanout.errors import ProtocolError

HOME = "https://www.hailuo.ai"
GIVEN = {
    "endpoint": "oss-cn-hangzhou.aliyuncs.com",
    "bucketName": "whales-1",
    "dir": "prod/2025 03/",
    "accessKeyId": "STS.key",
    "accessKeySecret": "canary-secret",
    "securityToken": "canary-token",
}


def test_a_file_is_put_with_a_signature_of_its_place_type_and_date() -> None:
    request = Bucket.of(GIVEN).put("a.png", b"\x89PNG", "image/png", 1448180318.0, HOME)
    assert (request.method, request.body) == ("PUT", b"\x89PNG")
    assert request.url == "https://whales-1.oss-cn-hangzhou.aliyuncs.com/prod/2025%2003/a.png"
    assert request.plain_headers() == {
        # openssl dgst -sha1 -hmac canary-secret -binary | base64, of the text that the storage's documentation gives
        "authorization": "OSS STS.key:nIDwVS0O8gu5C//OVq1qgC1qoqk=",
        "content-type": "image/png",
        "date": "Sun, 22 Nov 2015 08:18:38 GMT",
        "x-oss-security-token": "canary-token",
    }


def test_its_credentials_are_not_shown() -> None:
    place = Bucket.of(GIVEN)
    assert "canary" not in repr(place) + repr(place.put("a", b"x", "text/plain", 0.0, HOME))
    assert place.token == Secret("canary-token")


@pytest.mark.parametrize(
    ("endpoint", "base_url", "url"),
    [
        ("oss.example.com", HOME, "https://whales-1.oss.example.com/prod/2025%2003/a"),
        ("https://oss.example.com", HOME, "https://whales-1.oss.example.com/prod/2025%2003/a"),
        ("http://oss.example.com:8443", HOME, "https://whales-1.oss.example.com:8443/prod/2025%2003/a"),
        ("http://127.0.0.1:9", "http://127.0.0.1:8", "http://127.0.0.1:9/whales-1/prod/2025%2003/a"),
        ("http://localhost:9", "http://127.0.0.1:8", "http://localhost:9/whales-1/prod/2025%2003/a"),
        ("http://[::1]:9", "http://[::1]:8", "http://[::1]:9/whales-1/prod/2025%2003/a"),
        ("http://127.1:9", "http://localhost.:8", "http://127.1:9/whales-1/prod/2025%2003/a"),
    ],
)
def test_a_file_goes_over_https_but_on_this_machine(endpoint: str, base_url: str, url: str) -> None:
    place = Bucket.of({**GIVEN, "endpoint": endpoint})
    assert place.put("a", b"x", "text/plain", 0.0, base_url).url == url


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://127.0.0.1:9"},
        {"endpoint": "127.0.0.1"},
        {"endpoint": "10.0.0.1"},
        {"endpoint": "127.1"},
        {"endpoint": "2130706433"},
        {"endpoint": "storage.local"},
        {"endpoint": "http://127.1:9"},
        {"endpoint": "http://10.0.0.1:9"},
        {"endpoint": "localhost"},
        {"endpoint": "https://me@oss.example.com"},
        {"endpoint": "oss.example.com/path"},
        {"endpoint": "oss.example.com?x"},
        {"endpoint": "ftp://oss.example.com"},
        {"endpoint": ""},
        {"endpoint": "[::1]"},
        {"bucketName": "evil.example.com/"},
        {"bucketName": "a.b"},
        {"bucketName": ""},
    ],
    ids=repr,
)
def test_a_storage_at_no_host_s_name_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="the service names a storage"):
        Bucket.of({**GIVEN, **change}).put("a", b"x", "text/plain", 0.0, HOME)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:80@evil.example",
        "http://localhost:80:81@evil.example",
        "http://127.0.0.1:9/path",
        "http://127.0.0.1:9?x",
        "http://127.0.0.1.evil.example@localhost",
        "http://127.0.0.1:",
        "http://10.0.0.1:9",
        "http://127.1@evil.example",
        "http://[::1]@evil.example",
        "x://http://127.0.0.1:9",
    ],
)
def test_nor_may_a_service_on_this_machine_name_one_that_only_begins_like_this_machine(endpoint: str) -> None:
    with pytest.raises(ProtocolError, match="the service names a storage"):
        Bucket.of({**GIVEN, "endpoint": endpoint}).put("a", b"x", "text/plain", 0.0, "http://127.0.0.1:8")


@pytest.mark.parametrize("given", [{}, {**GIVEN, "dir": None}, {**GIVEN, "securityToken": 5}, {"endpoint": "x"}])
def test_what_names_no_place_makes_no_sense(given: Any) -> None:
    with pytest.raises((LookupError, TypeError)):
        Bucket.of(given)
