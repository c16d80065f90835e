import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.servers.openai import OpenAIServer, open_server

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """A Trio run beside the test, for servers."""
    with start_blocking_portal("trio") as portal:
        yield portal


@pytest.fixture
def server(portal: BlockingPortal) -> Iterator[OpenAIServer]:
    with portal.wrap_async_context_manager(open_server()) as server:
        yield server


def _run_on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(params=[asyncio.run, _run_on_uvloop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each loop."""
    run: Run = request.param
    return run
