"""The duties of curl_cffi's private names; who changes its version looks here first."""

import ast
import errno
import inspect
import select
import socket
import tomllib
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from packaging.requirements import Requirement

from fanout.transports.curl import libcurl
from fanout.transports.curl.libcurl import IN, OUT, TIMER, Easy, Multi, ffi, is_browser, lib, version
from fanout.transports.curl.numbers import CurlMOpt, CurlOpt
from tests.servers.http import HI

WHERE = f"curl_cffi {version_of('curl-cffi')} is not what fanout/transports/curl/libcurl.py was written for"


@define(eq=False)
class Told:
    """Keeps what a multi says that it waits for, in order."""

    calls: list[tuple[Any, ...]] = field(factory=list)
    sockets: dict[int, int] = field(factory=dict)
    delay: float | None = None

    def watch(self, fd: int, wanted: int) -> None:
        self.calls.append(("watch", fd, wanted))
        self.sockets[fd] = wanted

    def forget(self, fd: int) -> None:
        self.calls.append(("forget", fd))
        self.sockets.pop(fd, None)

    def wake(self, delay: float | None) -> None:
        self.calls.append(("wake", delay))
        self.delay = delay


def attributes_of(name: str, *modules: str) -> set[str]:
    """The names that follow `name.` in these modules' source."""
    folder = Path(inspect.getfile(libcurl)).parent
    trees = [ast.parse((folder / f"{module}.py").read_text()) for module in modules]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name}


@pytest.mark.parametrize(("name", "owner"), [("lib", lib), ("ffi", ffi)])
def test_every_name_that_is_used_is_there(name: str, owner: Any) -> None:
    used = attributes_of(name, "libcurl")
    assert used
    assert {attribute for attribute in used if not hasattr(owner, attribute)} == set(), WHERE


def test_the_versions_that_pip_may_install_have_an_end_and_this_is_one_of_them() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    (wanted,) = [line for line in map(Requirement, project["dependencies"]) if line.name == "curl_cffi"]
    assert wanted.specifier.contains(version_of("curl-cffi"), prereleases=True), WHERE
    assert {specifier.operator for specifier in wanted.specifier} == {">=", "<"}


def test_the_version_is_that_of_libcurl() -> None:
    assert version()[:2] in {"8.", "9."}, WHERE


@pytest.fixture
def easy() -> Iterator[Easy]:
    easy = Easy()
    yield easy
    easy.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def multi(told: Told) -> Iterator[Multi]:
    multi = Multi(told, 10)
    yield multi
    multi.close()


def test_a_number_goes_by_its_address_and_a_text_as_it_is(easy: Easy) -> None:
    number = ffi.new("long*", 4096)
    assert lib._curl_easy_setopt(easy.handle, CurlOpt.BUFFERSIZE, number) == 0, WHERE
    assert lib._curl_easy_setopt(easy.handle, CurlOpt.URL, b"http://127.0.0.1") == 0, WHERE
    assert lib._curl_easy_setopt(easy.handle, CurlOpt.URL, ffi.NULL) == 0, WHERE


def test_what_a_multi_does_not_take_is_an_error(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CurlMOpt, "MAXCONNECTS", 9999)
    with pytest.raises(RuntimeError, match=r"does not take option 9999 of a multi handle"):
        Multi(told, 10)


def test_what_libcurl_does_not_take_is_a_value_error(easy: Easy) -> None:
    with pytest.raises(ValueError, match=r"does not take 5 for option 9999"):
        easy.set(9999, 5)
    with pytest.raises(ValueError, match=r"does not take b'telepathy'"):
        easy.set(CurlOpt.PROTOCOLS_STR, b"telepathy")


def test_the_callback_for_bytes_passes_them_on() -> None:
    got: list[bytes] = []
    kept = libcurl._Context(got.append)
    context, data = ffi.new_handle(kept), ffi.new("char[]", b"hello")
    assert lib.buffer_callback(data, 1, 5, context) == 5, WHERE
    assert got == [b"hello"], WHERE
    assert type(got[0]) is bytes


def test_the_callback_for_bytes_says_that_it_failed_when_who_hears_them_raises(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(_data: bytes) -> None:
        raise ZeroDivisionError

    kept = libcurl._Context(refuse)
    context, data = ffi.new_handle(kept), ffi.new("char[]", b"hello")
    assert lib.buffer_callback(data, 1, 5, context) != 5, WHERE
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def loop(told: Told) -> libcurl._Loop:
    return libcurl._Loop(told)


def wants(loop: libcurl._Loop, fd: int, what: int) -> None:
    """Says as libcurl does what it waits for: 1 to read, 2 to write, 3 both, 0 neither, 4 no more."""
    handle = ffi.new_handle(loop)
    assert lib.socket_function(ffi.NULL, fd, what, handle, ffi.NULL) == 0, WHERE


@pytest.mark.parametrize("what", [1, 2, 3])
def test_the_callback_for_sockets_adds_readers_and_writers(loop: libcurl._Loop, told: Told, what: int) -> None:
    wants(loop, 7, what)
    assert told.calls == [], WHERE
    loop.tell()
    assert told.calls == [("watch", 7, what)], WHERE


def test_what_is_wanted_replaces_what_was(loop: libcurl._Loop, told: Told) -> None:
    for what in (1, 3, 2, 2, 0):
        wants(loop, 7, what)
        loop.tell()
    assert told.calls == [("watch", 7, what) for what in (IN, IN | OUT, OUT, OUT, 0)], WHERE


@pytest.mark.parametrize("before", [1, 2, 3, None])
def test_a_socket_that_is_about_to_be_closed_is_forgotten_within_the_call(
    loop: libcurl._Loop, told: Told, before: int | None
) -> None:
    if before is not None:
        wants(loop, 7, before)
    wants(loop, 7, 4)
    assert told.calls == [("forget", 7)], f"{WHERE}: who removes a socket no more asks for {type(loop._sockfds)}"
    wants(loop, 7, 2)  # another socket with its number, in the same call
    loop.tell()
    assert told.calls == [("forget", 7), ("watch", 7, OUT)], WHERE


@pytest.mark.parametrize(("milliseconds", "delay"), [(0, 0.0), (1500, 1.5), (-1, None)])
def test_the_callback_for_time_calls_later(
    loop: libcurl._Loop, told: Told, milliseconds: int, delay: float | None
) -> None:
    assert lib.timer_function(ffi.NULL, milliseconds, ffi.new_handle(loop)) == 0, WHERE
    assert lib.timer_function(ffi.NULL, milliseconds, ffi.new_handle(loop)) == 0, WHERE
    assert told.calls == [("wake", delay)] * 2, WHERE


@pytest.mark.parametrize("browser", ["chrome", "firefox", "safari", "chrome110"])
@pytest.mark.parametrize("default_headers", [True, False])
def test_browsers_are_known(easy: Easy, browser: str, default_headers: bool) -> None:
    assert easy.impersonate(browser, default_headers), WHERE
    assert is_browser(browser)


def test_a_browser_that_is_none_is_not_known(easy: Easy) -> None:
    assert not easy.impersonate("netscape", default_headers=True), WHERE
    assert not is_browser("netscape")


def run(multi: Multi, told: Told, *easies: Easy) -> dict[Any, int]:
    """Goes on until all have ended; their codes by handle."""
    ended: dict[Any, int] = {}
    for _ in range(1000):
        if told.delay is not None:
            multi.act(TIMER)
        readers = [fd for fd, wanted in told.sockets.items() if wanted & IN]
        writers = [fd for fd, wanted in told.sockets.items() if wanted & OUT]
        readable, writable, _ = select.select(readers, writers, [], 0.01)
        for fd in {*readable, *writable}:
            multi.act(fd, (IN if fd in readable else 0) | (OUT if fd in writable else 0))
        ended.update(multi.take_ended())
        if len(ended) == len(easies):
            return ended
    raise AssertionError("it does not end")


def serve_once(listener: socket.socket, answer: bytes = HI) -> bytes:
    """Answers the one that has connected; what it sent."""
    stream, _ = listener.accept()
    with stream:
        stream.sendall(answer)
        return stream.recv(100_000)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        yield listener


def url_of(listener: socket.socket) -> bytes:
    return b"http://127.0.0.1:%d/" % listener.getsockname()[1]


def test_a_transfer_from_its_beginning_to_its_end(
    easy: Easy, multi: Multi, told: Told, listener: socket.socket
) -> None:
    lines: list[bytes] = []
    body: list[bytes] = []
    easy.receive(lines.append, body.append)
    easy.set(CurlOpt.URL, url_of(listener))
    easy.set(CurlOpt.POST, 1)
    easy.set(CurlOpt.POSTFIELDSIZE, 3)
    easy.set(CurlOpt.COPYPOSTFIELDS, b"a\0b")
    easy.set_list(CurlOpt.HTTPHEADER, [b"x-one: 1", b"x-two: 2"])
    multi.add(easy)
    assert told.delay == 0, WHERE
    multi.act(TIMER)
    assert multi.running == 1, WHERE
    for _ in range(1000):
        for fd in [fd for fd, wanted in told.sockets.items() if wanted & OUT]:
            multi.act(fd, OUT)
        if OUT not in told.sockets.values():
            break
    sent = serve_once(listener)
    assert run(multi, told, easy) == {easy.handle: 0}, WHERE
    assert sent.startswith(b"POST / HTTP/1.1\r\n")
    assert b"x-one: 1\r\nx-two: 2\r\n" in sent
    assert sent.endswith(b"\r\n\r\na\0b")
    assert b"".join(lines) + b"".join(body) == HI
    assert list(multi.take_ended()) == []
    assert multi.running == 0, WHERE
    multi.remove(easy)


def test_a_failure_has_words_and_the_systems_number(easy: Easy, multi: Multi, told: Told) -> None:
    easy.set(CurlOpt.URL, b"http://127.0.0.1:9/")
    multi.add(easy)
    assert run(multi, told, easy) == {easy.handle: 7}, WHERE
    assert "connect" in easy.error, WHERE
    assert easy.os_errno == errno.ECONNREFUSED, WHERE
    multi.remove(easy)


def test_a_template_gives_its_options_and_keeps_its_errors(easy: Easy, multi: Multi, told: Told) -> None:
    easy.set(CurlOpt.URL, b"http://127.0.0.1:9/")
    copy = Easy(easy)
    multi.add(copy)
    assert run(multi, told, copy) == {copy.handle: 7}, WHERE
    assert copy.error
    assert not easy.error
    multi.remove(copy)
    copy.close()
    copy.close()


def test_a_transfer_is_added_once(easy: Easy, multi: Multi) -> None:
    multi.add(easy)
    with pytest.raises(RuntimeError, match=r"libcurl: .*already"):
        multi.add(easy)
    multi.remove(easy)


def test_a_transfer_that_is_removed_closes_its_connection_at_once(
    easy: Easy, multi: Multi, told: Told, listener: socket.socket
) -> None:
    easy.set(CurlOpt.URL, url_of(listener))
    multi.add(easy)
    multi.act(TIMER)
    stream, _ = listener.accept()
    with stream:
        for fd in [*told.sockets]:
            multi.act(fd, OUT)
        multi.remove(easy)
        assert told.sockets == {}, WHERE
        stream.settimeout(1)
        while stream.recv(1000):
            pass


def test_what_is_closed_can_be_closed_again(told: Told) -> None:
    multi = Multi(told, 1)
    multi.close()
    multi.close()
    easy = Easy()
    easy.close()
    easy.close()


def test_bytes_are_copied_when_they_are_set() -> None:
    easy = Easy()
    easy.set_blob(CurlOpt.CAINFO_BLOB, b"-----BEGIN CERTIFICATE-----")
    easy.close()
    with pytest.raises(ValueError, match="does not take bytes for option 99"):
        Easy().set_blob(99_000, b"x")
