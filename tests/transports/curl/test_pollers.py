import os
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from fanout.transports.curl.libcurl import IN, OUT
from fanout.transports.curl.pollers import EpollPoller, KqueuePoller, Poller, open_poller

KINDS: dict[str, Callable[[], Poller]] = {"epoll": EpollPoller, "kqueue": KqueuePoller}


@pytest.fixture(params=KINDS)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    if not hasattr(select, request.param):
        pytest.skip(f"this system has no {request.param}")
    poller = KINDS[request.param]()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


Pair = tuple[socket.socket, socket.socket]


def ready(poller: Poller) -> dict[int, int]:
    """By socket, because a kqueue tells of each of IN and OUT on its own."""
    found: dict[int, int] = {}
    for fd, happened in poller.ready():
        found[fd] = found.get(fd, 0) | happened
    return found


def test_what_is_watched_is_ready_when_it_happens(poller: Poller, pair: Pair) -> None:
    one, other = pair
    poller.watch(one.fileno(), IN)
    assert ready(poller) == {}
    other.send(b"x")
    assert ready(poller) == {one.fileno(): IN}
    assert ready(poller) == {one.fileno(): IN}  # until it is read
    one.recv(1)
    assert ready(poller) == {}


def test_the_descriptor_can_be_read_when_something_has_happened(poller: Poller, pair: Pair) -> None:
    one, other = pair
    poller.watch(one.fileno(), IN)
    assert select.select([poller], [], [], 0)[0] == []
    other.send(b"x")
    assert select.select([poller], [], [], 0)[0] == [poller]


def test_what_is_wanted_changes(poller: Poller, pair: Pair) -> None:
    one, other = pair
    other.send(b"x")
    poller.watch(one.fileno(), OUT)
    assert ready(poller) == {one.fileno(): OUT}
    poller.watch(one.fileno(), IN | OUT)
    assert ready(poller) == {one.fileno(): IN | OUT}
    poller.watch(one.fileno(), IN)
    assert ready(poller) == {one.fileno(): IN}
    poller.watch(one.fileno(), IN)
    assert ready(poller) == {one.fileno(): IN}
    poller.watch(one.fileno(), 0)
    assert ready(poller) == {}
    poller.watch(one.fileno(), OUT)
    assert ready(poller) == {one.fileno(): OUT}


def test_where_nothing_is_wanted_a_hang_up_is_not_told_of(poller: Poller, pair: Pair) -> None:
    one, other = pair
    poller.watch(one.fileno(), IN)
    poller.watch(one.fileno(), 0)
    other.close()
    assert ready(poller) == {}


def test_what_is_forgotten_is_watched_no_more(poller: Poller, pair: Pair) -> None:
    one, other = pair
    poller.watch(one.fileno(), IN | OUT)
    poller.forget(one.fileno())
    other.send(b"x")
    assert ready(poller) == {}
    poller.forget(one.fileno())
    poller.forget(12345)
    poller.watch(one.fileno(), IN)
    assert ready(poller) == {one.fileno(): IN}


def test_a_hang_up_is_read_as_the_end_and_nothing_more(poller: Poller, pair: Pair) -> None:
    one, other = pair
    poller.watch(one.fileno(), IN)
    other.close()
    assert ready(poller) == {one.fileno(): IN}


def test_a_refused_connection_wakes_who_waits_to_write(poller: Poller) -> None:
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))  # it does not listen
        client.setblocking(False)
        assert client.connect_ex(listener.getsockname())
        poller.watch(client.fileno(), OUT)
        assert ready(poller)[client.fileno()] & OUT


def test_a_broken_connection_wakes_who_waits_to_read_and_says_nothing_else(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        poller.watch(client.fileno(), IN)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        assert select.select([poller], [], [], 1)[0] == [poller]
        (happened,) = ready(poller).values()
        assert happened & IN
        assert happened | IN | OUT == IN | OUT
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_closed_socket_can_be_forgotten(poller: Poller, pair: Pair) -> None:
    one, _ = pair
    fd = one.fileno()
    poller.watch(fd, IN)
    one.close()
    assert ready(poller) == {}
    poller.forget(fd)
    poller.forget(fd)
    assert ready(poller) == {}


@pytest.mark.parametrize("forgotten", ["before the close", "after the close"])
def test_a_number_that_is_used_again_at_once_is_the_new_sockets(poller: Poller, forgotten: str) -> None:
    first, peer = socket.socketpair()
    second, other = socket.socketpair()
    fd = first.fileno()
    poller.watch(fd, OUT)
    if forgotten == "before the close":
        poller.forget(fd)
    first.close()
    os.dup2(second.fileno(), fd)
    again = socket.socket(fileno=fd)
    with peer, second, other, again:
        if forgotten == "after the close":
            poller.forget(fd)
        poller.watch(fd, IN)
        assert ready(poller) == {}
        other.send(b"x")
        assert ready(poller) == {fd: IN}


def test_many_are_found_in_several_looks(poller: Poller, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanout.transports.curl.pollers.MAX_EVENTS", 1)
    one, other = pair
    poller.watch(one.fileno(), IN)
    poller.watch(other.fileno(), IN)
    one.send(b"x")
    other.send(b"x")
    (first,) = poller.ready()
    os.read(first[0], 1)
    (second,) = poller.ready()
    assert {first[0], second[0]} == {one.fileno(), other.fileno()}


def test_the_one_that_this_system_has_is_opened() -> None:
    poller = open_poller()
    try:
        assert isinstance(poller, EpollPoller if hasattr(select, "epoll") else KqueuePoller)
        assert os.fstat(poller.fileno())
    finally:
        poller.close()
    with pytest.raises((OSError, ValueError)):
        os.fstat(poller.fileno())
