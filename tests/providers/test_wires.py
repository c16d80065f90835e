"""The laws of all API wires: about keys, models, what cannot be carried, and streams in whatever form and cut."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanout
from fanout.abc import Head, Reply
from fanout.errors import AllLanesFailed, AuthError, InvalidRequest, NotAStream, ProtocolError, ProviderError, Truncated
from fanout.events import Delta, End, Event, Status, Usage
from fanout.prompt import Message, Options, Prompt
from fanout.transports.fetch import fetch
from tests.providers.exchange import end_of, error_of, read_by
from tests.providers.odd import assert_sound
from tests.providers.wires import WIRES
from tests.providers.wires.wire import KEY, REQUEST_HEADERS, Stream, Wire

AnyWire = Wire[Any]

each_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


def each(names: str, rows: Callable[[AnyWire], Iterable[tuple[Any, ...]]]) -> pytest.MarkDecorator:
    """Runs a test for each row of each wire; a row may end with a mark."""
    params = []
    for wire in WIRES:
        for number, row in enumerate(rows(wire)):
            marks = [value for value in row if isinstance(value, pytest.MarkDecorator)]
            values = [value for value in row if not isinstance(value, pytest.MarkDecorator)]
            word = values[0] if isinstance(values[0], str) else number
            params.append(pytest.param(wire, *values, id=f"{wire.name}-{word}", marks=marks))
    return pytest.mark.parametrize(f"wire, {names}", params)


def one_by_one(rows: Callable[[AnyWire], Iterable[Any]]) -> Callable[[AnyWire], Iterable[tuple[Any, ...]]]:
    return lambda wire: ((row,) for row in rows(wire))


@each_wire
def test_a_request_asks_for_a_stream(wire: AnyWire) -> None:
    made = wire.request("Hi")
    name, value = wire.asked.key_header
    assert (made.method, made.url) == ("POST", wire.asked.url)
    assert json.loads(made.body) == wire.asked.body
    assert made.plain_headers() == {**REQUEST_HEADERS, name: value, **wire.asked.headers}


@each_wire
def test_the_base_url_is_taken_as_it_is(wire: AnyWire) -> None:
    base_url, url = wire.asked.elsewhere
    assert wire.request("Hi", base_url=base_url).url == url
    assert wire.provider(base_url=base_url).models_request().url.startswith(base_url)


@each_wire
def test_a_missing_key_is_named(wire: AnyWire) -> None:
    for names, words in (({}, wire.asked.no_key), ({"key_env": ("A", "B")}, "A or B"), ({"key_env": ()}, "one")):
        lane = wire.provider(key=None, **names)
        for ask in (lambda lane=lane: lane.request(Prompt.of("Hi")), lane.models_request):
            with pytest.raises(AuthError, match=f"no key: set {words}$"):
                ask()


@each_wire
def test_a_server_of_ones_own_needs_no_key(wire: AnyWire) -> None:
    headers = wire.request("Hi", key=None, needs_key=False).headers
    assert headers.keys().isdisjoint({"authorization", "x-api-key", "x-goog-api-key"})
    name, value = wire.asked.key_header
    assert wire.request("Hi", needs_key=False).plain_headers()[name] == value


@each_wire
def test_the_key_stays_out_of_repr(wire: AnyWire) -> None:
    lane = wire.provider()
    for made in (wire.request("Hi"), lane.models_request()):
        assert KEY in str(made.plain_headers())
        assert KEY not in repr(lane) + repr(made) + str(dict(made.headers)) + made.url


@each_wire
def test_the_models_are_listed(wire: AnyWire) -> None:
    made = wire.provider().models_request()
    name, value = wire.asked.key_header
    assert (made.method, made.url, made.body) == ("GET", wire.asked.models_url, b"")
    assert made.plain_headers()[name] == value
    assert wire.provider().models(Reply(Head(200), wire.models.reply)) == wire.models.names


@each("status, reply, kind", lambda wire: wire.models.wrong)
def test_a_reply_without_models_is_an_error(
    wire: AnyWire, status: int, reply: bytes, kind: type[ProviderError]
) -> None:
    with pytest.raises(kind):
        wire.provider().models(Reply(Head(status), reply))


@each("message, options, words", lambda wire: wire.refused)
def test_what_it_cannot_carry_is_refused_by_name(wire: AnyWire, message: Message, options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        wire.request(Prompt((message,)), options)


def streams(wire: AnyWire) -> Iterable[tuple[Any, ...]]:
    for name, stream in wire.streams.items():
        yield (name, stream, pytest.mark.slow) if stream.slow else (name, stream)


@each("name, stream", streams)
def test_the_events_do_not_depend_on_the_cut(wire: AnyWire, name: str, stream: Stream) -> None:
    data = stream.data
    assert read_by(wire.provider(), *(bytes([byte]) for byte in data), head=stream.head) == stream.events
    for cut in range(len(data) + 1):
        assert read_by(wire.provider(), data[:cut], data[cut:], head=stream.head) == stream.events, cut


@each_wire
def test_the_end_comes_at_once_and_nothing_follows(wire: AnyWire) -> None:
    ways = wire.ways
    reader = wire.provider().read(wire.head)
    events = reader.feed(ways.text + ways.end)
    assert reader.complete
    if not ways.ends_at_once:
        events += reader.close()
    assert [type(event) for event in events if not isinstance(event, Usage)] == [Delta, End]
    assert reader.feed(ways.text) + reader.feed(b"<junk>") + reader.close() == []
    if ways.ends_at_once:
        assert wire.read(ways.text + ways.end + ways.text, b"<junk>") == events


@each("last, reason, raw", lambda wire: wire.ways.reasons)
def test_every_end_has_a_reason_of_ours(wire: AnyWire, last: bytes, reason: str, raw: str | None) -> None:
    end = end_of(wire.read(wire.ways.text, last))
    assert (end.status, end.finish_reason, end.raw) == (Status.FINISHED, reason, raw)


@each("last", one_by_one(lambda wire: wire.ways.odd_ends))
def test_odd_usage_does_not_spoil_the_answer(wire: AnyWire, last: bytes) -> None:
    events = wire.read(wire.ways.text, last)
    assert (events[0], end_of(events).status) == (Delta("a"), Status.FINISHED)


@each("stream", one_by_one(lambda wire: wire.ways.unfinished))
def test_a_stream_without_its_end_is_truncated(wire: AnyWire, stream: Stream) -> None:
    events = wire.read(stream.data)
    assert events[:-1] == stream.events
    assert type(end_of(events).error) is Truncated


@each("data", one_by_one(lambda wire: wire.ways.no_streams))
def test_what_is_no_answer_is_no_stream(wire: AnyWire, data: bytes) -> None:
    assert type(end_of(wire.read(data)).error) is NotAStream


@each("data", one_by_one(lambda wire: wire.ways.misshapen))
def test_data_of_the_wrong_shape_is_a_protocol_error(wire: AnyWire, data: bytes) -> None:
    assert type(end_of(wire.read(data)).error) is ProtocolError
    events = wire.read(wire.ways.text, data)
    assert (events[0], type(end_of(events).error)) == (Delta("a"), ProtocolError)


@each("status, body, kind, words", lambda wire: wire.ways.errors)
def test_every_error_is_typed(
    wire: AnyWire, status: int, body: bytes, kind: type[ProviderError], words: str | None
) -> None:
    def read(*chunks: bytes, head: Head) -> list[Event]:
        return read_by(wire.provider(), *chunks, head=head)

    head = Head(status, {"content-type": wire.head.headers["content-type"], "x-request-id": "r1"})
    error = error_of(read, head, body)
    assert type(error) is kind
    assert error.status == (None if status == 200 else status)
    assert error.request_id == "r1"
    assert words is None or error.message == words


@each_wire
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_no_stream_is_too_odd(wire: AnyWire, data: st.DataObject) -> None:
    assert_sound(wire.read(data.draw(wire.odd)))


def prompts(wire: AnyWire) -> Iterable[tuple[str, Prompt, Any]]:
    for name, prompt in wire.served.prompts.items():
        for number, fields in enumerate(wire.served.lanes, 1):
            yield f"{name}, lane {number}", prompt, fields


@each("name, prompt, fields", prompts)
async def test_the_service_takes_what_is_sent_and_its_answer_wins(
    wire: AnyWire, name: str, prompt: Prompt, fields: dict[str, Any]
) -> None:
    async with wire.served.open() as server:
        lane = wire.served.lane(server, **fields)
        answer = await fanout.race(prompt, [lane])
    assert {field: getattr(answer, field) for field in wire.served.answer} == wire.served.answer
    assert (answer.provider, answer.lane) == (wire.name, f"{wire.name}/{lane.model}")


@each("fields, options, kind, words, more", lambda wire: wire.served.refused)
async def test_what_the_service_says_is_the_lanes_error(
    wire: AnyWire, fields: Any, options: Options, kind: type[ProviderError], words: str, more: Any
) -> None:
    async with wire.served.open() as server:
        prompt = Prompt.of("Hi").with_options(options)
        with pytest.raises(AllLanesFailed) as failed:
            await fanout.race(prompt, [wire.served.lane(server, **fields)], retries=0)
    (error,) = failed.value.exceptions
    assert type(error) is kind and isinstance(error, ProviderError)
    with pytest.raises(kind, match=words):
        raise error
    usual = {"partial": "", "retry_after": None}
    assert {name: getattr(error, name) for name in {**usual, **more}} == {**usual, **more}


@each_wire
async def test_the_services_models_are_listed_over_the_wire(wire: AnyWire) -> None:
    async with wire.served.open() as server, fanout.open_transport() as transport:
        lane = wire.served.lane(server)
        request = lane.models_request()
        assert request is not None
        assert lane.models(await fetch(transport, request, connect=5)) == wire.served.models
