"""The calls in a response that the caller has to answer: of functions, of custom tools, of a shell, for an approval."""

from collections.abc import Mapping
from typing import Any

from fanout.errors import ProtocolError
from fanout.events import Event
from fanout.providers.reader import JsonReader, text_of
from fanout.providers.responses_items import Item, Row, arguments_of
from fanout.wire.json_text import JsonText, encode

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "local_shell_call": ("action",),
    "shell_call": ("action",),
    "apply_patch_call": ("operation",),
    "computer_call": ("action", "actions"),
    "tool_search_call": ("arguments",),
    "mcp_approval_request": ("arguments",),
}
"""Other items that the caller must act on and answer, with the fields that may say what is to be done."""

_APPROVAL = "mcpr_"
"""The beginning of ids of OpenAI's approval requests. One of another form is that of an item, which answers nothing."""


class Calls:
    """Makes tool calls of items. `asked` is the body of the request, empty if it is not known."""

    def __init__(self, reader: JsonReader, asked: bytes) -> None:
        self._reader = reader
        self._asked = asked
        self._custom: frozenset[Any] | None = None
        self._used: set[int] = set()
        self._free = 0

    def begin(self, item: Item, row: Row, out: list[Event]) -> None:
        """A call begins as soon as it has a name, so that what comes of it counts as coming."""
        self._name(item, row)
        self._tell(item, "", out)

    def add(self, item: Item, text: str, out: list[Event], *, whole: bool) -> None:
        """Takes a piece of the arguments, or all of them. A call that has not begun yet keeps them."""
        part = item.part("arguments", 0)
        more = part.missing(text) if whole else text
        if more is None:
            self._dispute(item, text)
        elif more and item.call is not None:
            self._tell(item, more, out)
        elif more:
            part.pieces.append(more)

    def read(self, item: Item, row: Row, out: list[Event]) -> None:
        """Takes a whole call."""
        self._name(item, row)
        arguments = arguments_of(row)
        more = item.part("arguments", 0).missing(arguments)
        if more is None:
            self._dispute(item, arguments)
        self._tell(item, more or "", out, whole=True)

    def end(self, item: Item, out: list[Event]) -> None:
        """Takes it that nothing more comes of a call."""
        self._tell(item, "", out, whole=True)
        if item.name is None:
            self._reader.note("arguments came for a call that has no name")

    def act(self, item: Item, row: Row, out: list[Event]) -> None:
        """A shell, patch, computer or approval call becomes a tool call with the JSON of what is to be done.

        Without an id by which it can be answered it is none, nor is it if the service has done it itself.
        """
        environment = row.get("environment")
        is_own = isinstance(environment, dict) and environment.get("type") != "local"
        if item.told or is_own or row.get("execution") == "server":
            return
        call_id, item_id = text_of(row.get("call_id")), text_of(row.get("id")) or ""
        if call_id is None and item.kind == "mcp_approval_request" and item_id.startswith(_APPROVAL):
            call_id = item_id
        if call_id is None:
            self._reader.note(f"the answer has a {item.kind} without an id by which it can be answered")
            return
        what = next((row[name] for name in ACTIONS[item.kind] if row.get(name) is not None), "")
        name = text_of(row.get("name")) or item.kind.removesuffix("_call")
        item.told, item.call = True, self._index(item.index)
        arguments = what if isinstance(what, str) else encode(what)
        out.append(self._reader.tool_call(item.call, call_id, name, arguments))
        if checks := row.get("pending_safety_checks"):
            self._reader.note(f"the call {call_id} has safety checks to be acknowledged: {encode(checks)}")

    def _name(self, item: Item, row: Row) -> None:
        item.name = item.name or text_of(row.get("name"))
        item.call_id = text_of(row.get("call_id")) or item.call_id
        if item.kind == "custom_tool_call" and not self._is_callers(item.name):
            item.told = True

    def _tell(self, item: Item, more: str, out: list[Event], *, whole: bool = False) -> None:
        """Appends what is new of a call, if it has a name: its beginning, its id, more of its arguments.

        Until it is told whole, only the id of its item may be known, and that of the call come later.
        """
        if item.told or item.name is None:
            return
        pieces = item.part("arguments", 0).pieces
        begins = item.call is None
        call_id = item.call_id or (item.id if whole else None)
        if item.call is None:
            item.call = self._index(item.index)
        elif not more and (item.identified or call_id is None):
            return
        text = "".join(pieces) + more if begins else more
        if more:
            pieces.append(more)
        make = self._reader.text_call if item.kind == "custom_tool_call" else self._reader.tool_call
        if begins or whole:
            item.identified = item.identified or call_id is not None
            out.append(make(item.call, call_id, item.name, text))
        else:
            out.append(make(item.call, None, None, text))

    def _dispute(self, item: Item, arguments: str) -> None:
        """Notes that the arguments of a call came twice and differ, if they differ in more than their spaces."""
        if item.disputed:
            return
        item.disputed = True
        try:
            if JsonText().decode("".join(item.pieces("arguments"))) == JsonText().decode(arguments):
                return
        except ProtocolError:
            pass
        words = "the service ended the call of {} with other arguments than came before, which are kept"
        self._reader.note(words.format(item.name))

    def _index(self, index: int | None) -> int:
        """The place of an item in the output, as long as no other call has it, or the first free one."""
        if index is None or index in self._used:
            while self._free in self._used:
                self._free += 1
            index = self._free
        self._used.add(index)
        return index

    def _is_callers(self, name: str | None) -> bool:
        """True if the caller has to answer this call of a custom tool, because the request has the tool.

        xAI tells the calls of its own search like those of custom tools (recorded in vercel/ai). Where the request is
        not known, or takes its tools from a stored prompt, every tool is the caller's.
        """
        if self._custom is None:
            body = JsonText().decode(self._asked.decode()) if self._asked else {"prompt": "not known"}
            self._custom = frozenset([None]) if body.get("prompt") else custom_tools(body.get("tools"))
        return None in self._custom or name in self._custom


def custom_tools(tools: Any) -> frozenset[str]:
    """Returns the names of the custom tools among these, in this wire's form or that of the chat, or in a namespace."""
    names: set[str] = set()
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            inner = tool.get("custom")
            name = text_of((inner if isinstance(inner, Mapping) else tool).get("name"))
            names |= custom_tools(tool.get("tools"))
            if tool.get("type") == "custom" and name:
                names.add(name)
    return frozenset(names)
