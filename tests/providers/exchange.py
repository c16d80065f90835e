"""Reads with a provider, also over a real transport, without the engine that an Answer comes from."""

from collections.abc import Callable
from math import inf

from attrs import define, field

from fanout.abc import Head, Provider, Reader, Reply, Request
from fanout.errors import ProviderError
from fanout.events import Conversation, Delta, End, Event, Replace
from fanout.prompt import Prompt
from fanout.transports.fetch import fetch
from fanout.transports.httpx import HttpxTransport
from tests.servers import website
from tests.servers.website import EVENTS


@define(eq=False)
class Exchange:
    """Receives one answer, as the provider reads it."""

    provider: Provider
    request: Request
    heads: list[Head] = field(factory=list)
    events: list[Event] = field(factory=list)
    reader: Reader | None = None

    def head(self, head: Head, /) -> None:
        self.heads.append(head)
        self.reader = self.provider.read(head, self.request)

    def data(self, data: bytes, /) -> bool:
        assert self.reader is not None
        self.events += self.reader.feed(data)
        return bool(self.events) and isinstance(self.events[-1], End)


async def exchange(provider: Provider, prompt: Prompt | str) -> Exchange:
    """All the round trips of one prompt, to the End. A ProviderError of the flow is raised."""
    async with HttpxTransport() as transport:
        flow = provider.flow(Prompt.of(prompt))
        reply: Reply | None = None
        while True:
            try:
                request = next(flow) if reply is None else flow.send(reply)
            except StopIteration as last:
                done = Exchange(provider, last.value)
                break
            reply = await fetch(transport, request, inf)
        await transport.exchange(done.request, done, inf)
    assert done.reader is not None
    done.events += done.reader.close()
    return done


EVENT_STREAM = Head(200, EVENTS)


def read_by(
    provider: Provider, *chunks: bytes, head: Head = EVENT_STREAM, error: ProviderError | None = None
) -> list[Event]:
    """Reads these chunks of a response, to its end or to the error that breaks it off."""
    reader = provider.read(head)
    return [event for data in chunks for event in reader.feed(data)] + reader.close(error)


def text_in(events: list[Event]) -> str:
    """The text after all events."""
    text = ""
    for event in events:
        if isinstance(event, Replace):
            text = event.text
        elif isinstance(event, Delta):
            text += event.text
    return text


def end_of(events: list[Event]) -> End:
    """The End, which is last."""
    end = events[-1]
    assert isinstance(end, End)
    return end


def error_of(read: Callable[..., list[Event]], head: Head, data: bytes) -> ProviderError:
    """The error of an answer, which is the same when its bytes come one by one."""
    whole, cut = (end_of(read(*chunks, head=head)).error for chunks in ((data,), website.pieces(data)))
    assert whole is not None
    assert repr(cut) == repr(whole)  # errors are equal by their words
    return whole


def state_of(events: list[Event]) -> Conversation | None:
    """The state that continues the conversation."""
    return next((event for event in events if isinstance(event, Conversation)), None)


def merged(events: list[Event]) -> list[Event]:
    """The events with neighbouring Deltas joined: how the bytes were cut does not show."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Delta) and out and isinstance(before := out[-1], Delta):
            out[-1] = Delta(before.text + event.text)
        else:
            out.append(event)
    return out
