"""Pictures, sounds and files as text, in the forms that several wires share."""

from base64 import b64encode
from mimetypes import guess_type
from urllib.parse import urlsplit

from fanout.errors import InvalidRequest
from fanout.prompt import Media


def type_of(media: Media) -> str:
    """Its media type: the one it has, or what its name or address tells; else it is taken for a picture."""
    return media.media_type or guess_type(media.name or urlsplit(media.url or "").path)[0] or "image/png"


def base64_of(media: Media) -> str:
    """Its bytes in base64. Raises InvalidRequest if it has only an address, which this wire does not take."""
    if media.data is None:
        raise InvalidRequest(f"{type_of(media)} is sent as bytes only; this service does not fetch {media.url}")
    return b64encode(media.data).decode()


def data_uri(media: Media) -> str:
    """Its bytes as a `data:TYPE;base64,…` URI. Raises InvalidRequest if it has only an address."""
    return f"data:{type_of(media)};base64,{base64_of(media)}"
