"""One provider's round trips over a real transport, without the engine: for what a lane's answer does not tell."""

from math import inf

from attrs import define, field

from fanout.abc import Head, Provider, Reader, Reply, Request
from fanout.attempt import fetch
from fanout.events import Conversation, Delta, End, Event, Replace
from fanout.prompt import Prompt
from fanout.transports.httpx import HttpxTransport


@define(eq=False)
class Exchange:
    """Receives one answer, read by the provider's `read_answer` if it has one."""

    provider: Provider
    request: Request
    events: list[Event] = field(factory=list)
    reader: Reader | None = None

    def head(self, head: Head, /) -> None:
        read_answer = getattr(self.provider, "read_answer", None)
        self.reader = read_answer(self.request, head) if read_answer else self.provider.read(head)

    def data(self, data: bytes, /) -> bool:
        assert self.reader is not None
        self.events += self.reader.feed(data)
        return bool(self.events) and isinstance(self.events[-1], End)


async def exchange(provider: Provider, prompt: Prompt) -> Exchange:
    """All the round trips of one prompt, to the End."""
    async with HttpxTransport() as transport:
        flow = provider.flow(prompt)
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


def state_of(events: list[Event]) -> Conversation | None:
    """What continues the conversation."""
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
