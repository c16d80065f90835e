"""A wire as its tests see it: lanes that speak it, its streams and errors, and what it cannot carry."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from attrs import Factory, field, frozen
from hypothesis import strategies as st

from fanout.abc import Head, Provider, Request
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError
from fanout.events import Event
from fanout.prompt import Media, Message, Options, Prompt, ToolUse
from tests.providers.exchange import EVENT_STREAM, read_by

AnyProvider = TypeVar("AnyProvider", bound=Provider)

KEY = "sk-very-secret"
REQUEST_HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "content-type": "application/json",
}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
PICTURE = Media(data=b"x", media_type="image/png")


@frozen
class Stream:
    """A whole answer, and what it becomes however it is cut."""

    data: bytes
    events: Sequence[Event]
    head: Head = EVENT_STREAM
    slow: bool = False


@frozen
class Asked:
    """The request for the prompt `Hi`, and the one for the models, at the usual address and at another one."""

    url: str
    body: Mapping[str, Any]
    elsewhere: tuple[str, str]
    """A base URL, and the URL of the request there."""

    models_url: str
    key_header: tuple[str, str]
    """The header with the key, and its value."""

    no_key: str
    """The end of the error's words for a missing key."""

    headers: Mapping[str, str] = field(factory=dict)
    """Headers besides those of all wires, and that of the key."""


@frozen
class Models:
    """A list of models with their names, and replies that are none, each with its status and the kind of error."""

    reply: bytes
    names: Sequence[str]
    wrong: Sequence[tuple[int, bytes, type[ProviderError]]]


@frozen
class Ways:
    """The ways in which an answer can go."""

    text: bytes
    """The text `a`, in one Delta."""

    end: bytes
    """The end mark."""

    reasons: Sequence[tuple[bytes, str, str | None]]
    """Ends, each with its reason of ours and its own word."""

    odd_ends: Sequence[bytes]
    """Ends with usage that is none, or with odd counts."""

    unfinished: Sequence[Stream]
    """Answers that are cut off; their events are those before the End."""

    no_streams: Sequence[bytes]
    """Whole bodies that are something else."""

    misshapen: Sequence[bytes]
    """Data of another shape than the protocol's."""

    errors: Sequence[tuple[int, bytes, type[ProviderError], str | None]]
    """Bodies of errors by their status, each with its kind and, unless None, its words."""

    ends_at_once: bool = True
    """Nothing counts after the end mark."""


@frozen
class Served:
    """The wire's loopback server, what it refuses, and what comes of the answers that it gives."""

    open: Callable[[], AbstractAsyncContextManager[Any]]
    lane: Callable[..., Provider]
    """Makes a lane that asks the server, its first argument."""

    models: Sequence[str]
    answer: Mapping[str, Any]
    """Fields of the answer of the usual lane."""

    prompts: Mapping[str, Prompt]
    """Prompts with all that the service takes."""

    refused: Sequence[tuple[Mapping[str, Any], Options, type[ProviderError], str, Mapping[str, Any]]]
    """Fields of the lane and options that fail; the error's kind, a pattern of its words, and its other fields."""

    lanes: Sequence[Mapping[str, Any]] = Factory(lambda: [{}])
    """The fields of other lanes that have the same answer."""


@frozen
class Wire(Generic[AnyProvider]):
    """One wire."""

    name: str
    make: Callable[..., AnyProvider]
    usual: Mapping[str, Any]
    """Fields of a lane besides the key."""

    frame: Callable[[Any], bytes]
    """Makes the bytes of one value of the protocol."""

    head: Head
    asked: Asked
    models: Models
    refused: Sequence[tuple[Message, Options, str]]
    """Prompts that the wire cannot carry, each with a pattern of the error."""

    streams: Mapping[str, Stream]
    ways: Ways
    odd: st.SearchStrategy[bytes]
    """Bodies that no service would send, made of the protocol's own names."""

    served: Served

    def provider(self, **fields: Any) -> AnyProvider:
        """A lane with the usual key."""
        return self.make(**{**self.usual, "key": Secret(KEY), **fields})

    def request(self, prompt: str | Prompt = "Hi", options: Options | None = None, **fields: Any) -> Request:
        """The request for a prompt."""
        return self.provider(**fields).request(Prompt.of(prompt).with_options(options or Options()))

    def body(self, *args: Any, **fields: Any) -> dict[str, Any]:
        """The body of the request for a prompt."""
        made = json.loads(self.request(*args, **fields).body)
        assert isinstance(made, dict)
        return made

    def read(self, *values: Any, head: Head | None = None, status: int = 200) -> list[Event]:
        """The events of a response of these values, each in a read of its own; bytes are as they are."""
        chunks = (value if isinstance(value, bytes) else self.frame(value) for value in values)
        return read_by(self.provider(), *chunks, head=head or Head(status, self.head.headers))


def sse(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def odd_bodies(values: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[bytes]:
    """Values as events, or one after the other as JSON."""

    def body(values: list[dict[str, Any]], *, events: bool) -> bytes:
        return b"".join(sse(value) if events else json.dumps(value).encode() for value in values)

    return st.builds(body, values, events=st.booleans())


def asks_for_all(tool_choice: str | None, **options: Any) -> Prompt:
    """A conversation with a tool and a picture, and the options that most services know."""
    messages = (
        Message("developer", "d"),
        Message("user", "u", media=(PICTURE,)),
        Message("assistant", "", tool_uses=(ToolUse("1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="1"),
    )
    schema = {"type": "object"}
    asked = Options(5, 0.5, 0.5, ("x",), 1, tools=(TOOL,), tool_choice=tool_choice, schema=schema, **options)
    return Prompt(messages, asked)
