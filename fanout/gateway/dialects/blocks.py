"""Events as blocks, one after the other: the Messages and Responses of clients know no two that grow at once."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from uuid import uuid4

from attrs import define, field
from orjson import JSONDecodeError, loads

from fanout.answers import Answer
from fanout.events import Delta, Event, File, Reasoning, Refusal, Source, Sources, ToolCall
from fanout.gateway.dialects.sealed import seal
from fanout.prompt import Media
from fanout.providers.media import data_uri

CHECKS = 64
"""Times that one call's arguments are looked at for whether they are whole: each look reads all of them."""

Kind = Literal["text", "reasoning", "refusal", "call"]

_KINDS: dict[type, Kind] = {Delta: "text", Reasoning: "reasoning", Refusal: "refusal"}


@define(eq=False)
class Block:
    """A part of an answer. `id` and `name` are those of a tool call; `pieces` have come so far.

    `sealed` is what a client must send back with it, unchanged.
    """

    kind: Kind
    id: str = ""
    name: str = ""
    pieces: list[str] = field(factory=list)
    sources: list[Source] = field(factory=list)
    sealed: str = ""
    _checks: int = CHECKS

    @property
    def text(self) -> str:
        """All that has come of it."""
        return "".join(self.pieces)

    @property
    def may_close(self) -> bool:
        """True if another block may begin: a call must be whole first, or what comes of it later would be lost."""
        if self.kind != "call":
            return True
        if not self._checks or not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        self._checks -= 1
        try:
            loads(self.text)
        except JSONDecodeError:
            return False
        return True


@define
class Open:
    """A block begins."""

    block: Block


@define
class Piece:
    """More of the block that is open."""

    block: Block
    text: str


@define
class Cite:
    """A page on which the open block, which is a text, rests."""

    block: Block
    source: Source


@define
class Seal:
    """The open block, which is reasoning, has what a client must send back with it."""

    block: Block


@define
class Close:
    """The open block is whole."""

    block: Block


Step = Open | Piece | Cite | Seal | Close


def new_call_id() -> str:
    """Returns the id of a tool call whose service gave it none."""
    return f"call_{uuid4().hex[:24]}"


class Blocks:
    """Turns events into steps. What comes for another block while a call is not whole waits until it is.

    A call begins with its name. Its id is the one that came with it, else one of ours.
    """

    def __init__(self, new_id: Callable[[], str] = new_call_id) -> None:
        self._new_id = new_id
        self._open: Block | None = None
        self._calls: dict[int, Block] = {}
        self._unnamed: dict[int, ToolCall] = {}
        self._held: list[Event] = []

    def feed(self, event: Event) -> Iterator[Step]:
        """Yields the steps of one event; those of no content have none."""
        if isinstance(event, ToolCall):
            named = self._named(event)
            if named is not None:
                if named.opaque is not None:
                    call = self._calls[named.index].id
                    yield from self._place(Reasoning("", {**named.opaque, "call": call}))
                yield from self._place(named)
        elif isinstance(event, Delta | Reasoning | Refusal | File | Sources):
            yield from self._place(event)

    def close(self) -> Iterator[Step]:
        """Yields the steps with which everything ends: what waited comes now."""
        for call in self._unnamed.values():
            self._held.append(ToolCall(call.index, call.id or self._new_id(), "", call.arguments))
        self._unnamed = {}
        yield from self._close_open()
        while self._held:
            held, self._held = self._held, []
            for event in held:
                yield from self._place(event)
            yield from self._close_open()

    def _named(self, event: ToolCall) -> ToolCall | None:
        """The piece with the id of its call, or None where it waits for the name of a call that has not begun."""
        if event.index in self._calls:
            return event
        before = self._unnamed.pop(event.index, None)
        if before is not None:
            event = ToolCall(
                event.index,
                before.id or event.id,
                before.name or event.name,
                before.arguments + event.arguments,
                before.opaque or event.opaque,
            )
        if not event.name:
            self._unnamed[event.index] = event
            return None
        event = ToolCall(event.index, event.id or self._new_id(), event.name, event.arguments, event.opaque)
        self._calls[event.index] = Block("call", event.id or "", event.name or "")
        return event

    def _place(self, event: Event) -> Iterator[Step]:
        if self._open is not None and not self._continues(self._open, event):
            if not self._open.may_close:
                self._held.append(event)
                return
            yield from self._close_open()
            held, self._held = self._held, []
            for waiting in held:
                yield from self._place(waiting)
            if self._open is not None and not self._continues(self._open, event):
                yield from self._place(event)
                return
        yield from self._write(event)

    def _continues(self, block: Block, event: Event) -> bool:
        if isinstance(event, ToolCall):
            return self._calls.get(event.index) is block
        if isinstance(event, File | Sources):
            return block.kind == "text"
        return block.kind == _KINDS[type(event)] and not block.sealed

    def _write(self, event: Event) -> Iterator[Step]:
        if self._open is None:
            self._open = self._begin(event)
            yield Open(self._open)
        block = self._open
        if isinstance(event, Sources):
            for source in event.items:
                block.sources.append(source)
                yield Cite(block, source)
            return
        text = _text_of(event)
        if text:
            block.pieces.append(text)
            yield Piece(block, text)
        if isinstance(event, Reasoning) and event.opaque is not None:
            block.sealed = seal(event.opaque, event.opaque.get("call"))
            yield Seal(block)

    def _begin(self, event: Event) -> Block:
        if isinstance(event, ToolCall):
            return self._calls.setdefault(event.index, Block("call", event.id or "", event.name or ""))
        return Block(_KINDS.get(type(event), "text"))

    def _close_open(self) -> Iterator[Step]:
        if self._open is not None:
            block, self._open = self._open, None
            yield Close(block)


def _text_of(event: Event) -> str:
    if isinstance(event, ToolCall):
        return event.arguments
    if isinstance(event, File):
        return link_to(event)
    return event.text if isinstance(event, Delta | Reasoning | Refusal) else ""


def link_to(file: File) -> str:
    """Returns a picture or file of an answer as Markdown, for a dialect that has no other place for it."""
    address = data_uri(Media(file.data, media_type=file.media_type)) if file.data is not None else file.url or ""
    name = (file.name or "file").translate({ord(mark): None for mark in "[]\n"})
    return f"\n\n{'!' if (file.media_type or '').startswith('image/') else ''}[{name}]({address})\n\n"


def events_of(answer: Answer) -> list[Event]:
    """Returns a whole answer as events, with what is opaque in it at its place among the reasoning."""
    out: list[Event] = _thoughts(answer)
    if answer.text:
        out.append(Delta(answer.text))
    if answer.refusal:
        out.append(Refusal(answer.refusal))
    out += answer.files
    if answer.sources:
        out.append(Sources(list(answer.sources)))
    sealed = {part["call"]: part["data"] for part in _parts(answer) if "call" in part}
    for index, call in enumerate(answer.tool_calls):
        opaque = {**answer.opaque, "data": sealed[call.id]} if answer.opaque and call.id in sealed else None
        out.append(ToolCall(index, call.id, call.name, call.arguments, opaque))
    return out


def _thoughts(answer: Answer) -> list[Event]:
    """The reasoning, cut where something opaque stands; those behind text or calls come at the end."""
    out: list[Event] = []
    at = 0
    for part in _parts(answer):
        if "call" not in part:
            to = max(at, part["reasoning"])
            opaque = {**(answer.opaque or {}), "data": part["data"]}
            out.append(Reasoning(answer.reasoning[at:to], opaque))
            at = to
    rest = answer.reasoning[at:]
    return [*out, Reasoning(rest)] if rest else out


def _parts(answer: Answer) -> list[Mapping[str, Any]]:
    return list(answer.opaque["parts"]) if answer.opaque else []
