"""Pictures, sounds and files as text, in the forms that several wires share."""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from fanout.errors import InvalidRequest
from fanout.events import File
from fanout.prompt import Media
from fanout.prompt.media_types import guess_type_of, type_of_bytes

TAKEN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")
"""The pictures that services take; most no BMP, but servers on one's own machine do."""

DOCUMENTS = re.compile(r"application/(pdf|rtf|msword|vnd\.(ms-|openxmlformats-|oasis\.).+|epub\+zip)|text/.*")
"""The files that some service reads."""


def type_of(media: Media) -> str:
    """Its media type: the one it has, or what its name or address tells; else it is taken for a picture."""
    return media.media_type or guess_type_of(media.name or urlsplit(media.url or "").path) or "image/png"


def check_picture(media: Media, also: Sequence[str] = ()) -> None:
    """Raises InvalidRequest for a picture of a kind that services of this wire do not take, before it is sent.

    `also` are kinds that this one takes besides. An address is the service's matter.
    """
    kind = type_of(media)
    if media.data is None or not kind.startswith("image/") or kind in TAKEN or kind in also:
        return
    source = "; with -f its source goes along as text" if kind == "image/svg+xml" else ""
    raise InvalidRequest(
        f"{media.name or 'the picture'} is {kind}, which this service does not take; make it a PNG or JPEG{source}"
    )


def check_document(media: Media) -> None:
    """Raises InvalidRequest for a file of a kind that no service reads, before it is sent."""
    if media.data is not None and not DOCUMENTS.fullmatch(kind := type_of(media)):
        raise InvalidRequest(f"{media.name or 'a file'} is {kind}; pictures, sounds, documents and texts can be sent")


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
