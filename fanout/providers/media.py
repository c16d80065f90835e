"""Pictures, sounds and files as text, in the forms that several wires share."""

from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from fanout.errors import InvalidRequest
from fanout.events import File
from fanout.prompt import Media

_BEGINNINGS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp"}


def type_of(media: Media) -> str:
    """Its media type: the one it has, or what its name or address tells; else it is taken for a picture."""
    return media.media_type or guess_type_of(media.name or urlsplit(media.url or "").path) or "image/png"


def guess_type_of(path: str) -> str | None:
    """The media type that a file's name or path tells, or None."""
    from mimetypes import guess_type  # noqa: PLC0415  # reads the system's tables; few prompts have files

    return guess_type(path)[0]


def base64_of(media: Media) -> str:
    """Its bytes in base64. Raises InvalidRequest if it has only an address, which this wire does not take."""
    if media.data is None:
        raise InvalidRequest(f"{type_of(media)} is sent as bytes only; this service does not fetch {media.url}")
    return b64encode(media.data).decode()


def data_uri(media: Media) -> str:
    """Its bytes as a `data:TYPE;base64,…` URI. Raises InvalidRequest if it has only an address."""
    return f"data:{type_of(media)};base64,{base64_of(media)}"


def file_of(address: Any, media_type: str | None = None, name: str | None = None) -> File | None:
    """A picture or file of an answer, given its address on the web or a `data:` URI; None for anything else."""
    if not isinstance(address, str):
        return None
    if address.startswith(("http://", "https://")):
        return File(name, media_type, address)
    head, comma, data = address.partition(",")
    if not comma or not head.startswith("data:"):
        return None
    kind, _, coding = head.removeprefix("data:").partition(";")
    if coding.rpartition(";")[2] == "base64":
        return file_of_base64(data, media_type or kind or None, name)
    return File(name, media_type or kind or None, data=unquote_to_bytes(data))


def file_of_base64(data: Any, media_type: str | None = None, name: str | None = None) -> File | None:
    """A picture or file of an answer, given its bytes in base64; None for anything else, or for no bytes.

    Without a media type it has the one that its bytes tell.
    """
    try:
        decoded = b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError:  # characters that are no ASCII, too
        return None
    return File(name, media_type or type_of_bytes(decoded), data=decoded) if decoded else None


def type_of_bytes(data: bytes) -> str | None:
    """Returns the media type that the beginning of a picture or sound tells, or None."""
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12])
    return next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), None)
