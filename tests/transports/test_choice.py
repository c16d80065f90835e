import sys
import warnings

import pytest

from fanout.errors import UsageError
from fanout.transports.choice import NAMES, choose_transport
from fanout.transports.curl import CurlTransport
from fanout.transports.httpx import HttpxTransport


@pytest.mark.parametrize(("name", "kind"), [("curl", CurlTransport), ("httpx", HttpxTransport), (None, CurlTransport)])
def test_a_name_chooses_and_libcurl_is_the_default(name: str | None, kind: type) -> None:
    assert isinstance(choose_transport(name), kind)


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match="no transport 'pigeon'; there are curl and httpx"):
        choose_transport("pigeon")
    assert NAMES == ("curl", "httpx")


def without_libcurl(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith(("fanout.transports.curl", "curl_cffi"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "curl_cffi", None)


def test_without_libcurl_httpx_carries_the_requests_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without_libcurl(monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"libcurl does not run here \(.*curl_cffi.*\): httpx carries") as told:
        transport = choose_transport()
    assert isinstance(transport, HttpxTransport)
    assert len(told) == 1


def test_without_libcurl_who_asked_for_it_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    without_libcurl(monkeypatch)
    with pytest.raises(UsageError, match=r"libcurl does not run here.*use the transport httpx"):
        choose_transport("curl")


def test_who_asks_for_httpx_is_told_nothing_of_libcurl(monkeypatch: pytest.MonkeyPatch) -> None:
    without_libcurl(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(choose_transport("httpx"), HttpxTransport)
