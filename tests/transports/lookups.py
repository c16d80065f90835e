"""Cancels a lookup of a name that takes long, and leaves the transport while another is under way.

Run it as `python -m tests.transports.lookups` with SLOW in LD_PRELOAD. It prints how long each took, in seconds.
"""

import json
from contextlib import suppress
from itertools import pairwise
from time import monotonic

import trio

from fanout.abc import Request
from fanout.errors import ConnectError
from fanout.transports.curl import CurlTransport
from tests.transports.test_contract import Ears

SLOW = """
#include <netdb.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    sleep(3);
    return EAI_NONAME;
}
"""


async def ask(transport: CurlTransport, host: str) -> None:
    with suppress(ConnectError):  # a libcurl that looks names up itself may be quick
        await transport.exchange(Request("POST", f"http://{host}.invalid/"), Ears(), 5)


async def main() -> list[float]:
    """The seconds that the cancellation took, and the end."""
    times = [monotonic()]
    async with CurlTransport() as transport:
        with trio.move_on_after(0.05):
            await ask(transport, "one")
        times.append(monotonic())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, transport, "two")
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    times.append(monotonic())
    return [after - before for before, after in pairwise(times)]


if __name__ == "__main__":
    print(json.dumps(trio.run(main)))  # noqa: T201
