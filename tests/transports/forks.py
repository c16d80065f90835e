"""Forks in the middle of an exchange; parent and child both go on, each with a transport of its own.

Run it as `python -m tests.transports.forks`. It prints what became of both.
"""

import json
import os
from threading import Thread
from typing import Any

import trio

from fanout.abc import Request
from fanout.transports.curl import CurlTransport
from tests.servers.script import open_script_server
from tests.transports.test_contract import Ears


async def ask(url: str) -> None:
    """The child's exchange."""
    ears = Ears()
    async with CurlTransport() as transport:
        await transport.exchange(Request("POST", url), ears, 5)
    os._exit(0 if ears.body == b"onetwo" else 1)


async def main() -> dict[str, Any]:
    """The result."""
    children: list[int] = []

    class Forking(Ears):
        def data(self, data: bytes, /) -> bool:
            if not children:
                children.append(os.fork())
                if not children[0]:
                    child = Thread(target=trio.run, args=(ask, server.url))  # this one is in a run already
                    child.start()
                    child.join()
                    os._exit(2)
            return super().data(data)

    ears = Forking()
    async with open_script_server([b"one", 0.05, b"two"]) as server, CurlTransport() as transport:
        await transport.exchange(Request("POST", server.url), ears, 5)
        _, status = await trio.to_thread.run_sync(os.waitpid, children[0], 0)
        again = Ears()
        await transport.exchange(Request("POST", server.url), again, 5)
        connections = server.connections
    return {
        "bodies": [ears.body.decode(), again.body.decode()],
        "child": os.waitstatus_to_exitcode(status),
        "connections": connections,
    }


if __name__ == "__main__":
    print(json.dumps(trio.run(main)))  # noqa: T201
