"""Connections that all calls share: opened once a name, opened anew after a mistake, closed at the end."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from fanout.connections import Connections
from fanout.errors import UsageError
from fanout.facades import kept
from fanout.transports.memory import MemoryTransport


class Opening:
    """Stands where transports are opened, and counts; `broken` lets one fail while it is open."""

    def __init__(self) -> None:
        self.opened: list[str | None] = []
        self.closed = 0
        self.broken = trio.Event()

    @asynccontextmanager
    async def open_transport(self, name: str | None) -> AsyncGenerator[Connections]:
        await trio.lowlevel.checkpoint()
        if name == "nonsense":
            raise UsageError("there is no such transport")
        self.opened.append(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._break)
            try:
                yield Connections(MemoryTransport({}))
            finally:
                self.closed += 1
                nursery.cancel_scope.cancel()

    async def _break(self) -> None:
        await self.broken.wait()
        raise ValueError("a mistake of the transport")


@pytest.fixture
async def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    opening = Opening()
    monkeypatch.setattr(kept, "open_transport", opening.open_transport)
    return opening


async def test_calls_at_once_share_what_the_first_opens(opening: Opening) -> None:
    got: list[Connections] = []
    async with trio.open_nursery() as connections:
        shared = kept.Kept(connections)

        async def call() -> None:
            got.append(await shared.connections(None))

        async with trio.open_nursery() as calls:
            for _ in range(5):
                calls.start_soon(call)
        assert len(set(map(id, got))) == 1
        assert await shared.connections("httpx") is not got[0]
        assert opening.opened == [None, "httpx"]
        connections.cancel_scope.cancel()
    assert opening.closed == 2


async def test_a_name_that_is_none_is_refused_each_time(opening: Opening) -> None:
    async with trio.open_nursery() as connections:
        shared = kept.Kept(connections)
        for _ in range(2):
            with pytest.raises(UsageError, match="no such transport"):
                await shared.connections("nonsense")
        await shared.connections(None)
        connections.cancel_scope.cancel()


async def test_a_mistake_of_a_transport_is_logged_and_the_next_call_opens_another(
    opening: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as connections:
        shared = kept.Kept(connections)
        first = await shared.connections(None)
        opening.broken.set()
        await trio.testing.wait_all_tasks_blocked()
        opening.broken = trio.Event()
        assert await shared.connections(None) is not first
        connections.cancel_scope.cancel()
    assert "opened anew" in caplog.text
    assert opening.opened == [None, None]
