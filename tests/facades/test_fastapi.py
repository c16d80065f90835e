"""The service of examples/fastapi_app.py, run by uvicorn: it answers, streams, and lets go when a client leaves."""

import asyncio
import importlib.util
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from anyio.from_thread import BlockingPortal

from tests.servers.openai import OpenAIServer

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
PATH = Path(__file__).parents[2] / "examples" / "fastapi_app.py"


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("fastapi_app", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def serving(example: Any) -> AsyncGenerator[httpx.AsyncClient]:
    config = uvicorn.Config(example.app, port=0, log_level="warning", lifespan="off", ws="none")
    service = uvicorn.Server(config)
    task = asyncio.create_task(service.serve())
    while not service.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = service.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
    service.should_exit = True
    await task


@pytest.mark.slow
def test_it_answers_and_streams(example: Any, server: OpenAIServer) -> None:
    example.LANES = [server.lane("slow", ttft=3), server.lane("fast", ttft=0.02, gap=0.02, n=4)]

    async def main() -> None:
        async with serving(example) as client:
            reply = await client.get("/answer", params={"question": "?"})
            assert reply.json() == {"lane": "fast", "text": "w0 w1 w2 w3 "}
            async with client.stream("GET", "/stream", params={"question": "?"}) as streamed:
                pieces = [piece async for piece in streamed.aiter_text()]
            assert "".join(pieces) == "w0 w1 w2 w3 "
            assert len(pieces) > 1

    asyncio.run(main())


@pytest.mark.slow
def test_a_client_that_leaves_cancels_every_lane(example: Any, server: OpenAIServer, portal: BlockingPortal) -> None:
    example.LANES = [server.lane("a", gap=0.02, n=1000)]
    took: list[float] = []

    async def closed() -> None:
        with trio.fail_after(1):
            await server.all_closed()

    async def main() -> None:
        async with serving(example) as client:
            for _ in range(5):
                async with client.stream("GET", "/stream", params={"question": "?"}) as streamed:
                    await anext(aiter(streamed.aiter_text()))
                left = time.monotonic()
                await asyncio.to_thread(portal.call, closed)
                took.append(time.monotonic() - left)

    asyncio.run(main())
    assert len(server.served) == 5
    assert sorted(took)[2] < 0.25
