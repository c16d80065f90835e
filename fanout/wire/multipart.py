"""Bodies of multipart/form-data (RFC 7578), written as browsers write them."""

from collections.abc import Iterable

from attrs import field, frozen

from fanout.errors import InvalidRequest


@frozen
class Part:
    """One field of a form: a text, or a file if it has a `filename`. The bytes go out as they are."""

    name: str
    data: bytes = field(repr=False)
    filename: str | None = None
    media_type: str | None = None


def multipart(parts: Iterable[Part], boundary: str) -> bytes:
    """The body that carries `parts`, in their order; its content type is `content_type(boundary)`.

    A file without a media type is application/octet-stream, a text has none. Raises InvalidRequest for a media type
    that no header can carry, and for data that holds the boundary.
    """
    body = bytearray()
    mark = f"--{boundary}".encode()
    for part in parts:
        if mark in part.data:
            raise InvalidRequest(
                f"the form field {part.name!r} holds the boundary of the form; choose another boundary"
            )
        body += mark + b"\r\n" + _head(part) + b"\r\n" + part.data + b"\r\n"
    return bytes(body + mark + b"--\r\n")


def content_type(boundary: str) -> str:
    """The Content-Type of a body with this boundary."""
    return f"multipart/form-data; boundary={boundary}"


def _head(part: Part) -> bytes:
    lines = f'Content-Disposition: form-data; name="{_quote(part.name)}"'
    media_type = part.media_type
    if part.filename is not None:
        lines += f'; filename="{_quote(part.filename)}"'
        media_type = media_type or "application/octet-stream"
    lines += "\r\n"
    if media_type:
        if not (media_type.isascii() and media_type.isprintable()):
            raise InvalidRequest(f"the form field {part.name!r} has a media type that no header can carry")
        lines += f"Content-Type: {media_type}\r\n"
    return lines.encode("utf-8", "replace")


# As HTML 4.10.22.8 has it: only these three are escaped, everything else is UTF-8.
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def _quote(name: str) -> str:
    return name.translate(_ESCAPES)
