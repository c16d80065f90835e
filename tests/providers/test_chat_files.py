from base64 import b64encode
from typing import Any

import pytest

from fanout.events import File
from fanout.providers.chat_files import Sound, picture_of

PNG = b"\x89PNG\r\n\x1a\n"
PNG_64 = b64encode(PNG).decode()
URI = f"data:image/png;base64,{PNG_64}"


@pytest.mark.parametrize(
    "value",
    [
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "image_url", "image_url": URI},
        {"type": "image", "image": {"url": URI}},
        {"image_url": {"url": PNG_64}},
        {"url": URI},
        {"b64_json": PNG_64},
        {"data": PNG_64, "media_type": "image/png"},
        URI,
        PNG_64,
    ],
)
def test_a_picture_has_many_forms(value: Any) -> None:
    assert picture_of(value) == File(None, "image/png", data=PNG)


def test_a_picture_may_be_somewhere_else_and_have_a_name() -> None:
    url = "https://example.org/a"
    assert picture_of({"image_url": {"url": url, "mime_type": "image/webp"}}) == File(None, "image/webp", url)
    named = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}
    assert picture_of(named) == File("a.txt", "text/plain", data=b"hi")


@pytest.mark.parametrize("value", [None, 5, [], {}, "", "no base64!", {"url": 5}, {"image_url": []}, {"image_url": {}}])
def test_anything_else_is_none(value: Any) -> None:
    assert picture_of(value) is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"RIFF\0\0\0\0????", None),
        (b"????", None),
    ],
)
def test_bytes_tell_their_type(data: bytes, kind: str | None) -> None:
    assert picture_of(b64encode(data).decode()) == File(None, kind, data=data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF\0\0\0\0WAVE and so on", "audio/wav"),
        (b"ID3 and so on", "audio/mpeg"),
        (b"\xff\xfb and so on", "audio/mpeg"),
        (b"OggS and so on", "audio/ogg"),
        (b"fLaC and so on", "audio/flac"),
        (b"\0\1\2\3 and so on", "audio/pcm"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_sound_comes_in_pieces_of_any_size(data: bytes, kind: str, size: int) -> None:
    text = b64encode(data).decode()
    cut, coded = Sound(), Sound()
    for at in range(0, len(text), size):
        cut.add(text[at : at + size])
    for at in range(0, len(data), size):
        coded.add(b64encode(data[at : at + size]).decode())
    assert cut.file() == coded.file() == File(None, kind, data=data)


def test_what_is_no_sound_is_none() -> None:
    sound = Sound()
    assert not sound
    assert sound.file() is None
    sound.add("%%%")
    assert sound
    assert sound.file() is None
