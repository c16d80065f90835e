"""Pictures and sounds in the answers of Chat Completions, in the forms that services give them."""

from base64 import b64decode
from typing import Any

from attrs import define, field

from fanout.events import File
from fanout.prompt.media_types import type_of_bytes
from fanout.providers.media import file_of, file_of_base64
from fanout.providers.reader import text_of

PCM = "audio/pcm"
"""The type of a sound without a head: OpenAI streams pcm16 and nothing else."""


def picture_of(value: Any) -> File | None:
    """A picture or file that an answer holds, by its address, as a `data:` URI or as base64; None for anything else.

    OpenRouter and Vercel's gateway write `{"type": "image_url", "image_url": {"url": …}}`; elsewhere the inner object
    is a text, or stands alone, or has `b64_json`.
    """
    if isinstance(value, str):
        return file_of(value) or file_of_base64(value)
    if not isinstance(value, dict):
        return None
    for key in ("image_url", "image", "file", "document_url"):
        if inner := value.get(key):
            return picture_of(inner)
    name = text_of(value.get("filename")) or text_of(value.get("file_name"))
    kind = text_of(value.get("media_type")) or text_of(value.get("mime_type"))
    for key in ("url", "file_data", "b64_json", "data"):
        if isinstance(address := value.get(key), str) and address:
            return file_of(address, kind, name) or file_of_base64(address, kind, name)
    return None


@define(eq=False)
class Sound:
    """The sound of an answer, which comes in pieces of base64."""

    _pieces: list[str] = field(factory=list)

    def add(self, data: str) -> None:
        """Takes the next piece."""
        self._pieces.append(data)

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def file(self) -> File | None:
        """The whole sound, or None if it is no base64. Pieces may be encoded each by itself, or cut anywhere."""
        pieces = self._pieces if all(len(piece) % 4 == 0 for piece in self._pieces) else ["".join(self._pieces)]
        try:
            data = b"".join(b64decode(piece, validate=True) for piece in pieces)
        except ValueError:
            return None
        return File(media_type=type_of_bytes(data) or PCM, data=data) if data else None
