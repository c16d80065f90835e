"""The models that a HuggingChat server lists, and which of them takes the files of a message."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from fanout.abc import Reply
from fanout.errors import InvalidRequest, ProtocolError
from fanout.wire.json_text import JsonText, show

Row = Mapping[str, Any]
"""A model as the list describes it: `multimodal` in every generation, `multimodalAcceptedMimetypes` in some."""

TEXTS = ("text/*", "application/json", "application/xml", "application/csv")
"""Files that servers since November 2025 read into the message themselves (chat-ui, src/lib/constants/mime.ts)."""


def read_rows(reply: Reply) -> list[Row]:
    """Reads the models in a reply, in the server's order. Raises ProtocolError if it holds no list."""
    value = JsonText().decode(reply.body.decode("utf-8", "replace"))
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ProtocolError(f"no list of models: {show(value)}")
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def choose(rows: Sequence[Row], types: Sequence[str], usual: str | None = None) -> str:
    """Chooses the first model that takes files of all these media types; `usual` goes before the others if it does.

    Raises ProtocolError for an empty list, InvalidRequest if no model takes them: the server would drop the files
    without a word.
    """
    if not rows:
        raise ProtocolError("the server lists no model; name one")
    fit: list[str] = [row["id"] for row in rows if all(_takes(row, media_type) for media_type in types)]
    if not fit:
        raise InvalidRequest(f"no model that this server lists takes {' and '.join(types)}; name one that does")
    return usual if usual is not None and usual in fit else fit[0]


def _takes(row: Row, media_type: str) -> bool:
    # `supportsTools` came into the list a week after the texts were read (12 and 5 November 2025).
    if "supportsTools" in row and _matches(media_type, TEXTS):
        return True
    accepted = row.get("multimodalAcceptedMimetypes")
    if not isinstance(accepted, list):
        return row.get("multimodal") is True
    patterns = [pattern for pattern in accepted if isinstance(pattern, str)]
    return row.get("multimodal", True) is True and _matches(media_type, patterns)


def _matches(media_type: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(media_type.lower(), pattern.lower()) for pattern in patterns)
