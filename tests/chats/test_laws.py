"""The laws of every provider of a page's own service; its module has the answers that these are tried with."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import trio
from attrs import frozen

import fanout
from fanout.abc import Head, Provider
from fanout.chats.aura import Aura
from fanout.chats.koala import Koala
from fanout.chats.vitalentum import Vitalentum
from fanout.events import Delta, End, Event, Status
from tests.chats import test_aura, test_hailuo, test_koala, test_vitalentum
from tests.providers.exchange import end_of, merged
from tests.providers.faults import Fault
from tests.servers import vitalentum, website
from tests.servers.aura import AuraServer
from tests.servers.http import running
from tests.servers.koala import KoalaServer
from tests.servers.website import EVENTS, HANG, Answer, Website


@frozen
class Reading:
    """A way to read chunks, and bodies that are all the same answer to it."""

    read: Callable[..., list[Event]]
    streams: Mapping[str, bytes]
    whole: Sequence[Event]


READINGS = {
    "aura": Reading(
        test_aura.read,
        {"odd text": test_aura.ODD_TEXT.encode()},
        [Delta(test_aura.ODD_TEXT), End(Status.FINISHED, "unknown")],
    ),
    "hailuo": Reading(test_hailuo.read, test_hailuo.STREAMS, test_hailuo.WHOLE),
    "koala": Reading(test_koala.read, test_koala.STREAMS, test_koala.WHOLE),
    "vitalentum": Reading(test_vitalentum.read, test_vitalentum.STREAMS, test_vitalentum.WHOLE),
}


@pytest.mark.parametrize(("name", "stream"), [(name, stream) for name in READINGS for stream in READINGS[name].streams])
def test_the_events_do_not_depend_on_the_cut(name: str, stream: str) -> None:
    reading = READINGS[name]
    read, data, whole = reading.read, reading.streams[stream], reading.whole
    assert merged(read(*website.pieces(data))) == whole
    for place in range(len(data) + 1):
        assert merged(read(data[:place], data[place:])) == whole, place


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize(("status", "answers"), [(201, True), (203, True), (202, False), (204, False), (302, False)])
def test_any_status_of_success_may_have_an_answer_but_one_that_promises_none(
    name: str, status: int, answers: bool
) -> None:
    reading = READINGS[name]
    (stream, *_) = reading.streams.values()
    events = merged(reading.read(stream, head=Head(status, {} if name == "aura" else EVENTS)))
    assert (events == reading.whole) is answers
    assert end_of(events).status is (Status.FINISHED if answers else Status.FAILED)


@frozen
class Site:
    """A provider, the server that it asks, an answer that has begun, and what else the service may answer."""

    provider: Callable[..., Provider]
    server: Callable[[], Website]
    begun: bytes
    headers: dict[str, str]
    faults: Sequence[Fault]


SITES = {
    "aura": Site(Aura, AuraServer, b"a", {}, test_aura.FAULTS),
    "koala": Site(Koala, KoalaServer, b'data: "a"\n\n', EVENTS, test_koala.FAULTS),
    "vitalentum": Site(
        Vitalentum, vitalentum.VitalentumServer, vitalentum.TRANSCRIPT[1], EVENTS, test_vitalentum.FAULTS
    ),
}


@pytest.mark.parametrize("name", SITES)
async def test_a_lane_that_is_cut_off_closes_the_connection(name: str) -> None:
    site = SITES[name]
    async with running(site.server()) as server:
        server.replies.append(Answer([site.begun, HANG], headers=site.headers))
        async with fanout.open_fanout("Hi", [site.provider(base_url=server.url)]) as lanes:
            async for tagged in lanes:
                if isinstance(tagged.event, Delta):
                    break
        with trio.fail_after(1):
            await server.left.wait()


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in SITES for fault in SITES[name].faults])
async def test_what_the_service_does_is_the_lanes_error(name: str, fault: Fault) -> None:
    site = SITES[name]
    async with running(site.server()) as server:
        server.replies.append(fault.reply)
        run = await fanout.ask("Hi", [site.provider(base_url=server.url)], retries=0)
    (answer,) = run.answers
    assert type(answer.error) is fault.kind and answer.text == fault.text
    with pytest.raises(fault.kind, match=fault.words):
        raise answer.error
    assert len(server.requests) == 1
