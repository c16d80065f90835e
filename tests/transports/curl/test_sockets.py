import socket
from collections.abc import Iterator
from math import inf
from typing import Any, cast

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from fanout.transports.curl.libcurl import IN, OUT, Multi
from fanout.transports.curl.pollers import open_poller
from fanout.transports.curl.sockets import BUSY, Clock, Load, Sockets


@define(eq=False)
class Owner:
    """In place of a multi: keeps what it is told, and does something then."""

    told: list[tuple[int, int]] = field(factory=list)
    then: Any = None

    def act(self, fd: int, happened: int) -> None:
        self.told.append((fd, happened))
        if self.then is not None:
            self.then()

    @property
    def multi(self) -> Multi:
        return cast("Multi", self)


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    pairs = [socket.socketpair() for _ in range(2)]
    yield pairs
    for one, other in pairs:
        one.close()
        other.close()


async def test_the_owner_of_a_socket_goes_on_when_something_happens_to_it(pairs: list[Pair]) -> None:
    sockets, owners = Sockets(open_poller()), [Owner(), Owner()]
    for (one, _), owner in zip(pairs, owners, strict=True):
        sockets.watch(one.fileno(), IN, owner.multi)
    assert (len(sockets), sockets.act()) == (2, 0)
    pairs[0][1].send(b"x")
    await trio.lowlevel.wait_readable(sockets.fileno())
    assert sockets.act() == 1
    assert [owner.told for owner in owners] == [[(pairs[0][0].fileno(), IN)], []]
    sockets.close()


async def test_what_is_waited_for_replaces_what_was(pairs: list[Pair]) -> None:
    sockets, owner = Sockets(open_poller()), Owner()
    fd = pairs[0][0].fileno()
    sockets.watch(fd, IN, owner.multi)
    sockets.watch(fd, OUT, owner.multi)
    assert sockets.act() == 1
    assert owner.told == [(fd, OUT)]
    sockets.forget(fd)
    assert (len(sockets), sockets.act()) == (0, 0)
    sockets.close()


async def test_a_socket_that_another_one_has_ended_is_left_alone(pairs: list[Pair]) -> None:
    sockets = Sockets(open_poller())
    fds = [one.fileno() for one, _ in pairs]
    told: list[int] = []

    def end_all() -> None:
        told.append(len(sockets))
        for fd in fds:
            sockets.forget(fd)

    for (_, other), fd in zip(pairs, fds, strict=True):
        sockets.watch(fd, IN, Owner(then=end_all).multi)
        other.send(b"x")
    assert sockets.act() == 2
    assert told == [2]
    sockets.close()


async def test_closing_ends_both_waits() -> None:
    sockets = Sockets(open_poller())
    ended: list[object] = []

    async def wait_for_sockets() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(sockets.fileno())
        ended.append("sockets")

    async def wait_for_time() -> None:
        ended.append(await sockets.clock.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_sockets)
        nursery.start_soon(wait_for_time)
        await trio.testing.wait_all_tasks_blocked()
        sockets.close()
        assert sockets.closed
    assert sorted(map(str, ended)) == ["False", "sockets"]
    assert not await sockets.clock.wait()


async def test_a_deadline_only_moves_earlier_until_it_is_set_anew(autojump_clock: MockClock) -> None:
    clock, began = Clock(), trio.current_time()
    clock.wake_by(began + 5)
    clock.wake_by(began + 9)
    assert await clock.wait()
    assert trio.current_time() - began == pytest.approx(5)
    clock.set(inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.wait)
        await trio.testing.wait_all_tasks_blocked()
        clock.wake_by(began + 7)
    assert trio.current_time() - began == pytest.approx(7)


def test_reads_gather_soon_after_they_come_fast_and_not_before() -> None:
    load = Load()
    now = 10_000.0  # what a clock says is no measure of time
    slow = [load.is_heavy(1, now := now + BUSY * 1.5) for _ in range(1000)]
    fast = [load.is_heavy(1, now := now + BUSY / 4) for _ in range(100)]
    assert not any(slow)
    assert 10 < fast.index(True) < 60
    assert all(fast[fast.index(True) :])
    assert not load.is_heavy(1, now + 60)
