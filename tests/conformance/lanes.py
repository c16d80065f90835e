"""A whole lane in virtual time: what it makes of a case with its usual clocks and retries, and how often it asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import trio
from trio.testing import MockClock

import fanout
from fanout.abc import Head, Provider
from fanout.catalog.config import Config
from fanout.credentials.secret import Secret
from fanout.events import Event, Started
from fanout.providers.anthropic import Anthropic
from fanout.providers.cohere import Cohere
from fanout.providers.gemini import Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from fanout.transports.memory import HANG, MemoryTransport, Step
from tests.conformance.cases import Case, Cut
from tests.conformance.judge import Got
from tests.conformance.subjects import counts_of, got_of

_KEY = Secret("canary")

WIRES: Mapping[str, Callable[[str], Provider]] = {
    "openai-chat": lambda url: OpenAI("m-1", base_url=f"{url}/v1", key=_KEY),
    "openai-responses": lambda url: Responses("m-1", base_url=f"{url}/v1", key=_KEY),
    "anthropic": lambda url: Anthropic("m-1", base_url=url, key=_KEY),
    "gemini-sse": lambda url: Gemini("g-1", base_url=f"{url}/v1beta", key=_KEY),
    "ollama": lambda url: Ollama("m", base_url=url),
    "cohere": lambda url: Cohere("c-1", base_url=url, key=_KEY),
}
"""By chat protocol: its provider for a server at this URL."""


def provider_at(wire: str, url: str = "https://lane.test") -> Provider:
    """The provider that speaks `wire`, at this URL."""
    return WIRES[wire](url)


class Lane:
    """A Subject for the cases that say what a lane does, or let seconds pass between their chunks."""

    can: frozenset[str] = frozenset()

    def cuts(self, case: Case) -> Iterator[Cut]:
        """As given: time passes between the chunks."""
        if case.lane is not None or (case.gap is not None and case.format in WIRES):
            yield "in a lane", case.chunks

    def run(self, case: Case, chunks: Sequence[bytes]) -> Got:
        """Asks with the usual clocks and retries; every request gets the same response."""
        return trio.run(_ask, case, chunks, clock=MockClock(autojump_threshold=0))


async def _ask(case: Case, chunks: Sequence[bytes]) -> Got:
    script = _script(case, chunks)
    transport = MemoryTransport(lambda _: script)
    provider = provider_at(case.wire if case.format == "http1" else case.format)
    events: list[Event] = []
    async with fanout.open_fanout("?", [provider], transport=transport, config=Config()) as run:
        async for tagged in run:
            if isinstance(tagged.event, Started):
                events.clear()
            events.append(tagged.event)
    answer = run.run.answers[0]
    return {
        **got_of(answer, events),
        "complete": answer.status == "finished",
        "lane": {
            "requests": len(transport.exchanges),
            "status": answer.status,
            "answered": answer.answered,
            "estimated": bool(answer.usage and answer.usage.estimated),
            "usage": counts_of(answer.usage) if answer.usage else {},
            "elapsed": answer.elapsed,
        },
    }


def _script(case: Case, chunks: Sequence[bytes]) -> list[Step]:
    """A response of these chunks, with the time between them."""
    if case.format == "http1":
        head, body = _head_and_body(b"".join(chunks))
        return [head, body]
    steps: list[Step] = [Head(200, {"content-type": case.content_type})]
    for number, chunk in enumerate(chunks):
        if number and case.gap:
            steps.append(case.gap)
        steps.append(chunk)
    return [*steps, HANG] if case.fields.get("end") == "hold" else steps


def _head_and_body(response: bytes) -> tuple[Head, bytes]:
    raw, _, body = response.partition(b"\r\n\r\n")
    line, *fields = raw.decode("latin-1").split("\r\n")
    status, _, reason = line.partition(" ")[2].partition(" ")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    assert "transfer-encoding" not in headers, "a case with a lane has a plain body"
    return Head(int(status), headers, reason=reason), body
