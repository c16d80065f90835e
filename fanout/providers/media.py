"""Pictures, sounds and files as text, in the forms that several wires share."""

from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from fanout.errors import InvalidRequest
from fanout.events import File
from fanout.prompt import Media


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
    """A picture or file of an answer, given its bytes in base64; None for anything else, or for no bytes."""
    try:
        decoded = b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError:  # characters that are no ASCII, too
        return None
    return File(name, media_type, data=decoded) if decoded else None
