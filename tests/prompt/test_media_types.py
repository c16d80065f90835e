import pytest

from fanout.prompt.media_types import decode_text, find_type, is_textual

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("data", "declared", "media_type"),
    [
        (PNG, "image/jpeg", "image/png"),
        (PNG, None, "image/png"),
        (PNG, "text/plain", "image/png"),
        (b"\xff\xd8\xff\xe0\0", "image/png", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/png", "image/webp"),
        (b"GIF89a\1\0\1\0\x80", "image/png", "image/gif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "image/jpeg", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", None, "image/heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "image/png", "image/avif"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "audio/mp4", "audio/mp4"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", None, "video/mp4"),
        (b"OggS\0\2\0", "video/ogg", "video/ogg"),
        (b"OggS\0\2\0", "image/png", "audio/ogg"),
        (b"II*\0\x08\0\0\0", "image/png", "image/tiff"),
        (b"%PDF-1.7\n", "text/plain", "application/pdf"),
        (b"<svg xmlns='x'/>", "text/plain", "image/svg+xml"),
        (b'<?xml version="1.0"?>\n<!-- a > b -->\n<svg width="1"></svg>', "image/png", "image/svg+xml"),
        (b"<html><svg></svg></html>", "text/html", "text/html"),
        (b"# Title\n", "text/markdown", "text/markdown"),
        (b"line one\n", None, "text/plain"),
        (b"const a: number = 1;\n", "video/mp2t", "text/plain"),
        (b"fn main() {}\n", "application/rls-services+xml", "application/rls-services+xml"),
        (b"\x1b[31mred\x1b[0m\n", "application/octet-stream", "text/plain"),
        (b"BM is a word here\n", None, "text/plain"),
        ("\ufeffGrüße".encode(), None, "text/plain"),
        ("Grüße".encode("utf-16"), None, "text/plain"),
        ("Grüße".encode("latin-1"), "text/plain", "text/plain"),
        (b"\0\1\2\3", "text/plain", "application/octet-stream"),
        (b"\0\1\2\3", None, "application/octet-stream"),
        (b"PK\3\4\0\0", "application/vnd.ms-excel", "application/vnd.ms-excel"),
    ],
)
def test_the_bytes_say_what_an_attachment_is(data: bytes, declared: str | None, media_type: str) -> None:
    assert find_type(data, declared) == media_type


def test_text_is_read_in_utf_8_with_or_without_its_mark_and_in_utf_16_with_it() -> None:
    assert decode_text("\ufeffé".encode()) == decode_text("é".encode()) == decode_text("é".encode("utf-16")) == "é"
    assert decode_text("é".encode("latin-1")) is decode_text(b"a\0b") is None


def test_a_drawing_in_xml_is_a_picture_and_no_text() -> None:
    assert is_textual("application/json") and is_textual("application/rls-services+xml") and is_textual("text/csv")
    assert not is_textual("image/svg+xml") and not is_textual("application/pdf")
