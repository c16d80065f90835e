"""Media types of attachments: what the bytes tell goes before what a name tells."""

import re

OF_ANY_BYTES = "application/octet-stream"
"""The type of bytes that tell nothing, and neither does their name."""

_BEGINNINGS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"%PDF", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
"""The brands of ISO base media files (ISO/IEC 14496-12, `ftyp`); all others are video."""

_CONTAINERS = ("audio/ogg", "audio/mp4", "video/mp4", "video/quicktime", "video/webm")
"""The types whose bytes do not tell whether there is sound or film in them."""

_BINARY = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Characters that no text holds (WHATWG, MIME Sniffing, binary data byte); coloured logs have the escape, which may."""

_SVG = re.compile(r"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<(\w+:)?svg[\s>/]", re.DOTALL)
_LOOK = 4096
"""Characters within which a picture of text says what it is."""

_TEXTUAL = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|toml|sql|x-sh|javascript|x-python)|.*\+xml")


def type_of_bytes(data: bytes) -> str | None:
    """Returns the media type that the beginning of a picture, sound, film or PDF tells, or None."""
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video/mp4")
    return next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), None)


def guess_type_of(path: str) -> str | None:
    """Returns the media type that a file's name or path tells, or None."""
    from mimetypes import guess_type  # noqa: PLC0415  # reads the system's tables; few prompts have files

    return guess_type(path)[0]


def decode_text(data: bytes) -> str | None:
    """Returns the text that bytes are, in UTF-8, or in UTF-16 with its mark; None for anything else."""
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if _BINARY.search(text) or text.startswith("%PDF") else text


def find_type(data: bytes, declared: str | None = None) -> str:
    """Returns the media type that bytes tell, or the one declared for them where they tell none.

    Against the bytes a declared type only decides what they leave open: which text it is, and what is in a container.
    """
    text = decode_text(data)
    if text is not None:
        if _SVG.match(text[:_LOOK]):
            return "image/svg+xml"
        return declared if declared and is_textual(declared) else "text/plain"
    told = type_of_bytes(data)
    if told and not (told in _CONTAINERS and declared and declared.startswith(("audio/", "video/"))):
        return told
    if declared and is_textual(declared) and _BINARY.search(data.decode("latin-1")):
        return OF_ANY_BYTES
    return declared or OF_ANY_BYTES


def is_textual(media_type: str) -> bool:
    """Tells whether a media type is one of text that a model can read as it is; a drawing in XML is a picture."""
    return bool(_TEXTUAL.fullmatch(media_type)) and not media_type.startswith("image/")
