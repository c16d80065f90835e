from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from fanout.abc import Request
from fanout.transports.curl.handles import Handles
from fanout.transports.curl.libcurl import TIMER
from fanout.transports.curl.pollers import open_poller
from fanout.transports.curl.pool import Pool
from fanout.transports.curl.sockets import Sockets
from fanout.transports.curl.transfer import Transfer
from tests.servers.script import open_script_server
from tests.transports.test_contract import Ears

HANDLES = Handles(ca_file=None, proxies=False, prior_knowledge=False, reuse=True)


@asynccontextmanager
async def open_pool() -> AsyncGenerator[tuple[Sockets, Pool]]:
    sockets = Sockets(open_poller())
    pool = Pool(sockets, HANDLES.make_template(None), share=True)
    yield sockets, pool
    pool.close()
    sockets.close()


def begin(pool: Pool, url: str, news: list[Transfer]) -> Transfer:
    request = Request("POST", url)
    easy = HANDLES.make(pool.template, request, "127.0.0.1", 5)
    transfer = Transfer(easy, request, Ears(), news, host="127.0.0.1", connect=5)
    pool.add(transfer)
    return transfer


async def test_a_transfer_begins_when_it_is_time_and_ends_once() -> None:
    news: list[Transfer] = []
    async with open_script_server([b"hi"]) as server, open_pool() as (sockets, pool):
        transfer = begin(pool, server.url, news)
        assert transfer.pool is pool
        assert pool.due <= trio.current_time()
        pool.multi.act(TIMER)
        with trio.fail_after(5):
            while pool.multi.running:
                await trio.lowlevel.wait_readable(sockets.fileno())
                sockets.act()
        assert pool.some_ended
        assert pool.take_ended() == [(transfer, 0)]
        assert pool.take_ended() == []
        assert set(news) == {transfer}
        pool.remove(transfer)
        pool.remove(transfer)
        assert pool.transfers == {}


async def test_a_transfer_that_is_removed_is_not_among_those_that_end() -> None:
    async with open_script_server([b"hi"]) as server, open_pool() as (sockets, pool):
        gone, stays = begin(pool, server.url, []), begin(pool, "http://127.0.0.1:9/", [])
        pool.remove(gone)
        assert pool.some_ended
        with trio.fail_after(5):
            while not (ended := pool.take_ended()):
                pool.multi.act(TIMER)
                sockets.act()
                await trio.sleep(0.001)
        assert [transfer for transfer, _ in ended] == [stays]
        assert gone.easy.handle is None
        pool.remove(stays)
