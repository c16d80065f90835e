"""Gemini's function calls: whole ones, and those whose arguments come in pieces."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from fanout.errors import ProtocolError
from fanout.events import Event
from fanout.providers.gemini_arguments import Arguments
from fanout.providers.reader import JsonReader, rows_of, text_of
from fanout.wire.json_text import encode


@define(eq=False)
class _Call:
    """A call that is not whole yet. `given` are arguments that came at once, which go over the pieces."""

    index: int
    name: str
    id: str | None
    signature: str | None = None
    arguments: Arguments = field(factory=Arguments)
    given: Any = None


class Calls:
    """Makes tool calls of function calls.

    A call whose arguments are streamed is told when it begins and with every piece, so that the lane's clocks see that
    something comes, and its arguments when they are whole: as JSON they do not come in order.
    """

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader
        self._count = 0
        self._open: list[_Call] = []

    def read(self, part: Mapping[str, Any], out: list[Event], signature: str | None = None) -> None:
        """Takes a function call or a piece of one, signed or not.

        What has neither the name of a call nor one to belong to is none.
        """
        call_id, name = text_of(part.get("id")), text_of(part.get("name"))
        pieces, given = rows_of(part.get("partialArgs")), part.get("args")
        goes_on = part.get("willContinue") is True or any(piece.get("willContinue") is True for piece in pieces)
        call = self._find_open(call_id, name, is_whole=bool(given) or (goes_on and not pieces))
        if call is None and name is None:
            if pieces or given:
                self._reader.note("arguments came for a call that has no name")
            return
        if call is None:
            call = self._begin(call_id, name or "")
            call.signature = signature
            if not pieces and not goes_on:
                self._tell(call, _text(given), out)
                return
            out.append(self._reader.tool_call(call.index, call_id, name, ""))
            self._open.append(call)
        else:
            call.id = call.id or call_id
            call.signature = signature or call.signature
            out.append(self._reader.tool_call(call.index, None, None, ""))
        call.given = given or call.given
        for piece in pieces:
            call.arguments.add(piece)
        if not goes_on:
            self._open.remove(call)
            self._tell(call, _text(call.given or call.arguments.value()), out)

    def end(self, out: list[Event], *, is_whole: bool) -> None:
        """Takes it that the answer has ended. Some answers end without a word that their last call is whole.

        If the answer was cut off (`is_whole` is false), or a text of the call was to go on, its arguments are told
        without their end: what is no JSON will not be taken for all of it.
        """
        for call in self._open:
            if is_whole and not call.arguments.is_open:
                self._tell(call, _text(call.given or call.arguments.value()), out)
                continue
            self._reader.note(f"the arguments of the call of {call.name} are cut off")
            try:
                text = _text(call.arguments.value())[:-1]
            except ProtocolError:
                text = "{"
            self._tell(call, text, out)
        self._open.clear()

    def _find_open(self, call_id: str | None, name: str | None, *, is_whole: bool) -> _Call | None:
        """The open call that this is a piece of: a known id decides, then the name, else it is the newest.

        `is_whole`: it has all that a call begins with, so without an id its name begins another.
        """
        for call in reversed(self._open):
            if call_id is not None and call.id == call_id:
                return call
        newest = self._open[-1] if self._open else None
        if newest is None or (call_id is not None and newest.id is not None):
            return None
        if name is not None and (name != newest.name or is_whole or call_id is not None):
            return None
        return newest

    def _begin(self, call_id: str | None, name: str) -> _Call:
        call = _Call(self._count, name, call_id)
        self._count += 1
        return call

    def _tell(self, call: _Call, arguments: str, out: list[Event]) -> None:
        told = self._reader.tool_call(call.index, call.id or f"call_{call.index}", call.name, arguments)
        if call.signature:
            self._reader.keep_with(told, {"thoughtSignature": call.signature})
        out.append(told)


def _text(arguments: Any) -> str:
    """Arguments as JSON; some servers that speak like Gemini send them as such a text."""
    return arguments if arguments and isinstance(arguments, str) else encode(arguments or {})
