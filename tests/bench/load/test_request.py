"""One request of a load, and its record."""

import gc
import sys
from typing import Any

import pytest
import trio
from attrs import define
from trio.testing import MockClock

from fanout.abc import Flow, Head, Reply, Request
from fanout.bench.load.request import Sender, _carrier, open_stamped
from fanout.bench.records.record import Record, from_line, to_line
from fanout.catalog import LaneSpec, find
from fanout.connections import Connections
from fanout.errors import UsageError
from fanout.events import Status
from fanout.prompt import Prompt
from fanout.settings.timeouts import Timeouts
from fanout.transports.httpx import HttpxTransport
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.servers.http import serve
from tests.servers.openai import OpenAIServer, open_server
from tests.transports.tls import Certificate, secure_url
from tests.words import Words, said


async def sent(script: Script, lane: LaneSpec | None = None, **known: Any) -> Record:
    sender = Sender(Connections(MemoryTransport(lambda _: script)), 60)
    records: list[Record] = []
    await sender.send(lane or LaneSpec("a", Words("a")), Prompt.of("?"), 7, records.append, **known)
    (record,) = records
    return record


async def test_what_a_service_says_of_its_own_time_is_kept(autojump_clock: MockClock) -> None:
    head = Head(200, {"openai-processing-ms": "120", "x-envoy-upstream-service-time": "soon"})
    record = await sent([0.2, head, *said("x")])
    assert record.server == {"openai-processing-ms": 0.12}
    assert record.first_byte == pytest.approx(0.2)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-5", "1e999"])
async def test_a_time_that_no_service_can_mean_is_not_kept(autojump_clock: MockClock, value: str) -> None:
    record = await sent([Head(200, {"openai-processing-ms": value}), *said("x")])
    assert record.server == {}
    assert from_line(to_line(record)) == record


async def test_an_answer_in_one_piece_of_json_was_not_streamed(autojump_clock: MockClock) -> None:
    json = Head(200, {"content-type": "application/json; charset=utf-8"})
    assert not (await sent([json, *said("x")])).streamed
    assert (await sent([json, *said("x", "y")])).streamed
    assert (await sent(said("x"))).streamed


@define
class LoggedIn(Words):
    """A lane that people log in to."""

    credentials: None = None


async def test_all_requests_of_a_lane_share_one_source_of_credentials(autojump_clock: MockClock) -> None:
    sender = Sender(Connections(MemoryTransport(lambda _: said("x"))), 60)
    logins = []
    for block in range(2):
        await sender.send(LaneSpec("a", LoggedIn("a")), Prompt.of("?"), block, lambda _: None)
        logins.append(sender.connections.login)
    assert logins[0] is logins[1] is not None


async def test_fields_that_nothing_tells_are_given(autojump_clock: MockClock) -> None:
    record = await sent(said("x"), place=3, intended=1.5, warmup=True, level=8.0)
    assert (record.block, record.place, record.intended, record.warmup, record.level) == (7, 3, 1.5, True, 8)


async def test_a_lane_s_own_clocks_go_before_the_time_out(autojump_clock: MockClock) -> None:
    lane = LaneSpec("a", Words("a"), Timeouts(first=2))
    record = await sent([HANG], lane)
    assert (record.status, record.clock, record.limit) == (Status.TIMED_OUT, "first", 2)
    assert (await sent([HANG])).limit == 60


@define
class Two(Words):
    """Asks for something else first."""

    def flow(self, prompt: Prompt) -> Flow:
        reply: Reply = yield Request("GET", "http://first/")
        assert reply.body == b"token"
        return self.request(prompt)


async def test_a_request_counts_from_its_last_round_trip(autojump_clock: MockClock) -> None:
    scripts: dict[str, Script] = {"first": [5, b"token"], "a": said("x", first=0.5)}
    sender = Sender(Connections(MemoryTransport(scripts)), 60)
    records: list[Record] = []
    await sender.send(LaneSpec("a", Two("a")), Prompt.of("?"), 0, records.append)
    assert records[0].sent == pytest.approx(5)
    assert records[0].times == pytest.approx((0.5,))


async def test_a_request_that_could_not_even_be_made_is_a_record(autojump_clock: MockClock) -> None:
    class Broken(Words):
        def request(self, prompt: Prompt) -> Request:
            raise ValueError("no")

    record = await sent(said("x"), LaneSpec("a", Broken("a")))
    assert (record.status, record.error, record.first_byte, record.times) == (
        Status.FAILED,
        "invalid_request",
        None,
        (),
    )


@pytest.mark.parametrize(
    ("name", "kind"), [(None, "CurlTransport"), ("curl", "CurlTransport"), ("httpx", "HttpxTransport")]
)
async def test_measurements_go_over_a_transport_that_stamps_if_there_is_one(name: str | None, kind: str) -> None:
    assert gc.get_freeze_count() == 0
    async with open_stamped(name) as connections:
        carrier: Any = connections.transport
        assert type(carrier._inner).__name__ == kind
        assert getattr(carrier._inner, "_stamps", True)
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0


async def test_measurements_over_a_transport_that_does_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no transport 'nonsense'"):
        async with open_stamped("nonsense"):
            pass


@pytest.mark.parametrize("name", ["curl", "httpx"])
@pytest.mark.parametrize("reuse", [False, True])
async def test_every_request_has_a_connection_of_its_own_unless_they_are_used_again(name: str, reuse: bool) -> None:
    records: list[Record] = []
    async with open_server() as server:
        lane = find(server.lane("a"))
        async with open_stamped(name, reuse=reuse) as connections:
            sender = Sender(connections, 10, fresh=not reuse)
            for block in range(3):
                await sender.send(lane, Prompt.of("?"), block, records.append)
        await server.all_closed()
    assert [record.status for record in records] == [Status.FINISHED] * 3
    assert server.connections == (1 if reuse else 3)
    if name == "curl":
        assert [record.connect is None for record in records] == [False, reuse, reuse]


@pytest.mark.slow
async def test_where_a_connection_is_opened_for_each_request_the_time_for_that_counts(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    records: list[Record] = []

    async def agree_late(stream: trio.SocketStream) -> None:
        await trio.sleep(0.2)
        secure = trio.SSLStream(stream, certificate.context(), server_side=True, https_compatible=True)
        await OpenAIServer().handle(secure)  # type: ignore[arg-type]  # all that it needs of a stream

    async with serve(agree_late) as url:
        lane = find(f"a=openai/ttft=0.01?base_url={secure_url(url)}/v1&key_env=")
        for fresh in (False, True):
            async with open_stamped("curl", reuse=not fresh) as connections:
                await Sender(connections, 10, fresh=fresh).send(lane, Prompt.of("?"), 0, records.append)
    before, within = records
    assert [record.status for record in records] == [Status.FINISHED] * 2
    assert before.tls is not None
    assert before.ended < 0.2 < before.tls
    assert within.tls is not None
    assert within.ended > within.tls > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curl", "httpx"])
async def test_a_new_connection_resumes_no_session_of_tls(
    name: str, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    context, server, records = certificate.context(), OpenAIServer(), list[Record]()
    resumed: list[bool | None] = []

    async def agree(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await secure.do_handshake()
        resumed.append(secure.session_reused)
        await server.handle(secure)  # type: ignore[arg-type]  # all that it needs of a stream

    async with serve(agree) as url, open_stamped(name, reuse=False) as connections:
        sender = Sender(connections, 10, fresh=True)
        for block in range(3):
            await sender.send(
                find(f"a=openai/m?base_url={secure_url(url)}/v1&key_env="), Prompt.of("?"), block, records.append
            )
    assert resumed == [False] * 3


async def test_without_libcurl_measurements_go_over_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fanout.transports.curl", None)
    for reuse in (True, False):
        with pytest.warns(RuntimeWarning, match="httpx"):
            carrier = _carrier(None, reuse=reuse)
        assert isinstance(carrier, HttpxTransport)
        assert carrier._kept == 100 * reuse
    with pytest.raises(UsageError, match="does not run"):
        async with open_stamped("curl"):
            pass
