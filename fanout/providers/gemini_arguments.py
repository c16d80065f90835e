"""The arguments of a function call of Gemini's that come in pieces, each with the path of its place.

Vertex AI sends them so where the request has `streamFunctionCallArguments`: a text comes as several pieces with one
path, of which all but the last say `willContinue`; other values come whole.
(cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling, and streams recorded in vercel/ai.)
"""

import re
from collections.abc import Iterator
from typing import Any

from fanout.errors import ProtocolError
from fanout.wire.json_text import JsonText, excerpt, show

DEPTH = 64
"""Names and indexes in one path."""

_STEP = re.compile(
    r"\.?([^.\[]++)|\[([0-9]{1,9})\]|\['((?:[^'\\]++|\\.)*+)'\]|\[\"((?:[^\"\\]++|\\.)*+)\"\]", re.DOTALL
)
_QUOTES = re.compile(r"\\(.)|\"", re.DOTALL)

_KINDS = ("stringValue", "numberValue", "boolValue", "nullValue")
"""The fields that may hold a value, of which one does; the others may be null."""

Node = dict[str | int, Any]
"""An object by its names or an array by its indexes. A text in it is the list of its pieces."""


class Arguments:
    """Puts arguments together. Takes time and memory in proportion to what came, whatever the paths say."""

    def __init__(self) -> None:
        self._root: Node = {}
        self._open: set[tuple[str | int, ...]] = set()

    @property
    def is_open(self) -> bool:
        """True while a text is to go on."""
        return bool(self._open)

    def add(self, piece: dict[str, Any]) -> None:
        """Takes one piece. Raises ProtocolError if its path makes no sense, or not beside those before it."""
        told = [name for name in _KINDS if isinstance(piece.get(name), str | int | float)]
        told = told or ["nullValue"] * ("nullValue" in piece)
        goes_on = piece.get("willContinue") is True
        if not told and not goes_on and not piece.get("jsonPath"):
            return
        path = tuple(_steps(piece.get("jsonPath")))
        if goes_on:
            self._open.add(path)
        else:
            self._open.discard(path)
        if not told:
            return
        value = None if told[0] == "nullValue" else piece[told[0]]
        if isinstance(value, str):
            self._place(path, []).append(value)
        else:
            self._place(path, value)

    def value(self) -> Any:
        """Returns the arguments so far. Raises ProtocolError if an array has gaps."""
        return _build(self._root)

    def _place(self, path: tuple[str | int, ...], value: Any) -> Any:
        """Puts a value in its place, or leaves the pieces of a text that are there; returns what is there then."""
        node = self._root
        for step in path[:-1]:
            node = _child(node, step, {}, path)
        found = _child(node, path[-1], value, path)
        if isinstance(value, list):
            return found
        node[path[-1]] = value
        return value


def _child(node: Node, step: str | int, new: Any, path: tuple[str | int, ...]) -> Any:
    """Returns what is at a step, or puts `new` there.

    An object has no indexes, an array no names, and a value no children.
    """
    found = node.get(step)
    if step not in node:
        if node and type(next(iter(node))) is not type(step):
            raise ProtocolError(f"arguments that are an object and an array at once: {_show(path)}")
        found = node[step] = new
    elif isinstance(found, dict) is not isinstance(new, dict) or isinstance(found, list) is not isinstance(new, list):
        raise ProtocolError(f"arguments with two kinds of values at one place: {_show(path)}")
    return found


def _steps(path: Any) -> Iterator[str | int]:
    """The names and indexes of a path like `$.a.b[0]['c d']`."""
    if not isinstance(path, str) or not path.removeprefix("$"):
        raise ProtocolError(f"an argument without a path: {show(path)}")
    at, count = int(path.startswith("$")), 0
    while at < len(path):
        match = _STEP.match(path, at)
        count += 1
        if match is None or count > DEPTH:
            raise ProtocolError(f"an argument with a path that is not known: {excerpt(path)}")
        name, index, single, double = match.groups()
        if index is not None:
            yield int(index)
        else:
            yield name if name is not None else _unquote(single if single is not None else double)
        at = match.end()


def _unquote(text: str) -> str:
    """A quoted name without its escapes, those of JSON and one for either quotation mark (RFC 9535, 2.3.1)."""
    quoted = _QUOTES.sub(lambda match: "'" if match[1] == "'" else match[0] if match[1] else '\\"', text)
    name = JsonText().decode(f'"{quoted}"')
    assert isinstance(name, str)
    return name


def _build(node: Any) -> Any:
    if isinstance(node, list):
        return "".join(node)
    if not isinstance(node, dict):
        return node
    if not node or isinstance(next(iter(node)), str):
        return {name: _build(value) for name, value in node.items()}
    if max(node) != len(node) - 1:
        raise ProtocolError(f"arguments with an array of {max(node) + 1} of which {len(node)} came")
    return [_build(node[index]) for index in range(len(node))]


def _show(path: tuple[str | int, ...]) -> str:
    return excerpt(".".join(map(str, path)))
