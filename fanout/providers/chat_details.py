"""The reasoning that a chat service sends as a list of parts, put together so that it can go back as it was made."""

from collections.abc import Mapping
from typing import Any

from fanout.providers.reader import rows_of

NAMES = ("reasoning_details", "thinking_blocks")
"""The names of such lists: OpenRouter's (openrouter.ai/docs, "Preserving reasoning"), LiteLLM's."""

_TEXTS = ("text", "summary", "thinking")


class Details:
    """Joins what is streamed: a signature holds for a whole text, and a part in pieces is refused (agno-agi/agno#8794).

    Pieces of a text or summary are joined that have the same type and the same `index`, or follow one another without
    any. Parts of other types, such as those that are encrypted, come whole.
    """

    def __init__(self) -> None:
        self._lists: dict[str, list[_Part]] = {}

    def add(self, name: str, value: Any, *, whole: bool) -> None:
        """Takes the list of this name in a delta, or all of it in a whole message."""
        rows = rows_of(value)
        if whole and rows:
            self._lists[name] = [_Part(row) for row in rows]
            return
        parts = self._lists.setdefault(name, [])
        for row in rows:
            if (part := _find(parts, row)) is not None:
                part.add(row)
            else:
                parts.append(_Part(row))

    def data(self) -> dict[str, Any]:
        """Returns the lists that are not empty, by their names."""
        return {name: [part.row() for part in parts] for name, parts in self._lists.items() if parts}


class _Part:
    """One part: its texts in pieces, and its other fields."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.kind = row.get("type")
        self.index = row.get("index")
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._fields.update(row)
        for name in _TEXTS:
            if isinstance(text := row.get(name), str):
                self._texts[name] = [text]

    @property
    def is_text(self) -> bool:
        """True if more of it may come."""
        return bool(self._texts) or self.kind in ("reasoning.text", "reasoning.summary", "thinking")

    @property
    def is_signed(self) -> bool:
        return bool(self._fields.get("signature"))

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name in _TEXTS and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            elif value not in (None, ""):
                self._fields[name] = value

    def row(self) -> dict[str, Any]:
        return {**self._fields, **{name: "".join(pieces) for name, pieces in self._texts.items()}}


def _find(parts: list[_Part], row: Mapping[str, Any]) -> _Part | None:
    """The part that a piece goes on with: the last one, or none."""
    last = parts[-1] if parts else None
    if last is None or not last.is_text or (row.get("type"), row.get("index")) != (last.kind, last.index):
        return None
    return None if last.is_signed and last.index is None else last
