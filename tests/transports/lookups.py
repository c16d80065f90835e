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
from tests.servers.http import HI, read_request, serve
from tests.transports.test_contract import Ears

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && !strcmp(name, "good.invalid"))
        return hints && hints->ai_family == PF_INET6 ? EAI_NONAME : real("127.0.0.1", service, hints, found);
    if (!name || !strstr(name, ".invalid")) return real(name, service, hints, found);
    sleep(3);
    return EAI_NONAME;
}
"""

HANGING = 30
"""Names that hang beside a good one; libcurl's own threads are enough for ten."""


async def ask(transport: CurlTransport, host: str) -> None:
    with suppress(ConnectError):  # a libcurl that looks names up itself may be quick
        await transport.exchange(Request("POST", f"http://{host}.invalid/"), Ears(), 5)


async def ask_beside_hanging() -> float:
    """Asks a good name where others hang, and others again were cancelled; returns how long that took."""
    async with serve(say_hi) as url, CurlTransport() as transport, trio.open_nursery() as nursery:
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as cancelled:
                for number in range(HANGING):
                    cancelled.start_soon(ask, transport, f"cancelled{number}")
        for number in range(HANGING):
            nursery.start_soon(ask, transport, f"hangs{number}")
        await trio.sleep(0.1)
        began = monotonic()
        await transport.exchange(Request("POST", url.replace("127.0.0.1", "good.invalid")), Ears(), 2)
        nursery.cancel_scope.cancel()
    return monotonic() - began


async def say_hi(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await stream.send_all(HI)


async def main() -> list[float]:
    """The seconds that the cancellation took, the end, and a good name beside those that hang."""
    good = await ask_beside_hanging()
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
    return [*(after - before for before, after in pairwise(times)), good]


if __name__ == "__main__":
    print(json.dumps(trio.run(main)))  # noqa: T201
