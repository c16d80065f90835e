"""The events of a lane, from its start to its one End."""

from collections.abc import Mapping
from enum import StrEnum
from math import inf
from typing import Any

from attrs import define, field

from fanout.errors import ProviderError

# Events are made once per chunk: attrs.define, because constructing a frozen attrs object costs three times as much.


class Status(StrEnum):
    """The ways in which a lane ends."""

    FINISHED = "finished"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@define
class Started:
    """A try of the lane begins; `attempt` counts from 1."""

    attempt: int = 1


@define
class Delta:
    """A piece of the answer's text, never empty."""

    text: str


@define
class Reasoning:
    """A piece of the model's reasoning.

    `opaque` is what its service must have back at this place in a later turn, byte for byte: a signature, an encrypted
    thought. It is plain data (JSON): `wire`, `service` and `model` mark who made it, `data` is theirs. A piece that has
    it may have no text, and is no content then.
    """

    text: str
    opaque: Mapping[str, Any] | None = field(default=None, repr=False)


@define
class Refusal:
    """A piece of a refusal, which some services keep apart from the text."""

    text: str


@define
class ToolCall:
    """A piece of a tool call; pieces with the same `index` belong together.

    `arguments` concatenate to JSON, or to any text where a custom tool of OpenAI's is called. `opaque` is what the
    service must have back with this call, as in Reasoning.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    opaque: Mapping[str, Any] | None = field(default=None, repr=False)


@define
class File:
    """A picture or file in the answer, by address or as bytes.

    `fetch` is the Request that gets it where its address needs the lane's credentials: `fanout.fetch_file` sends it.
    """

    name: str | None = None
    media_type: str | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    fetch: Any = field(default=None, repr=False, eq=False)


@define
class Source:
    """One web page that the answer rests on."""

    url: str
    title: str | None = None


@define
class Sources:
    """Pages that the answer rests on."""

    items: list[Source]


@define
class Title:
    """The service's title for the conversation."""

    text: str


@define
class Replace:
    """The whole text so far, rewritten by the service: it replaces every Delta before it."""

    text: str


@define
class Conversation:
    """The state that a later prompt must carry to continue this conversation: plain data, JSON-able."""

    state: Mapping[str, Any] = field(repr=False)


@define
class LoginNeeded:
    """The lane has no credentials; `command` gets them."""

    command: str


@define
class Usage:
    """Token counts, cumulative: the last one is right. None where the service did not say.

    `output` holds the tokens of reasoning too, `input` those that were cached. A 0 for the output of an answer that has
    content counts nothing.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    estimated: bool = False


@define
class End:
    """The last event of every lane, exactly once.

    `finish_reason` is one of stop, length, tool_calls, content_filter, unknown; `raw` is the service's own word for it.
    `headers` are those of the response that tell of rate limits and of the request. `notes` say, a sentence each, what
    a reader of the answer should know: a finish reason that is not known, parts of the answer that are not.
    """

    status: Status
    finish_reason: str | None = None
    error: ProviderError | None = None
    raw: str | None = None
    model: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = field(factory=dict)
    notes: tuple[str, ...] = ()


Event = (
    Started
    | Delta
    | Reasoning
    | Refusal
    | ToolCall
    | File
    | Sources
    | Title
    | Replace
    | Conversation
    | LoginNeeded
    | Usage
    | End
)

CONTENT: frozenset[type] = frozenset({Delta, Reasoning, Refusal, ToolCall, File, Replace})
"""The events that move the content clocks. Comments, pings, role chunks and usage do not."""

ANSWERING: frozenset[type] = frozenset({Delta, ToolCall, File, Replace})
"""The events that an answer consists of: they can win a race on its first token."""


def is_content(event: Event) -> bool:
    """True if an event is content: of a kind in CONTENT, and no Reasoning that has only something opaque."""
    kind = type(event)
    return kind in CONTENT and (kind is not Reasoning or bool(event.text))  # type: ignore[union-attr]  # a Reasoning's


DEEPEST = 32
"""Levels of opaque data. It is written as JSON, whose encoders fail at some hundreds."""


def weigh(data: Any, depth: int = 0) -> float:
    """Returns about how many characters plain data has; infinity if it has more than DEEPEST levels."""
    if isinstance(data, str):
        return len(data)
    if depth > DEEPEST:
        return inf
    if isinstance(data, Mapping):
        return sum(len(str(name)) + weigh(value, depth + 1) for name, value in data.items())
    if isinstance(data, list | tuple):
        return sum(weigh(value, depth + 1) for value in data)
    return 8  # a number, or less


@define
class Tagged:
    """An event, whose it is, and when it arrived: `at` seconds after the prompt was put."""

    lane: str
    at: float
    event: Event
