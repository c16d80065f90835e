from typing import Any

import pytest

from fanout.errors import InvalidRequest
from fanout.events import File
from fanout.prompt import Media
from fanout.providers.media import base64_of, check_document, check_picture, data_uri, file_of, file_of_base64, type_of


@pytest.mark.parametrize(
    ("media", "media_type"),
    [
        (Media(data=b"x", media_type="audio/wav", name="a.pdf"), "audio/wav"),
        (Media(data=b"x", name="a.pdf"), "application/pdf"),
        (Media(url="https://example.com/a.webp?size=2#top"), "image/webp"),
        (Media(url="https://example.com/show?id=a.pdf"), "image/png"),
        (Media(data=b"x"), "image/png"),
        (Media(data=b"x", name="notes"), "image/png"),
    ],
)
def test_a_type_is_given_or_guessed(media: Media, media_type: str) -> None:
    assert type_of(media) == media_type


def test_bytes_become_base64_and_a_data_uri() -> None:
    media = Media(data=b"\x89PNG", media_type="image/png")
    assert base64_of(media) == "iVBORw=="
    assert data_uri(media) == "data:image/png;base64,iVBORw=="
    assert data_uri(Media(data=b"")) == "data:image/png;base64,"


def test_an_address_is_not_bytes() -> None:
    for text in (base64_of, data_uri):
        with pytest.raises(InvalidRequest, match=r"audio/\S+ is sent as bytes only; .* https://example.com/a.wav"):
            text(Media(url="https://example.com/a.wav"))


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("https://a.example/x.png", File(url="https://a.example/x.png")),
        ("data:image/png;base64,aGVsbG8=", File(media_type="image/png", data=b"hello")),
        ("data:image/png;name=a;base64,aGVsbG8=", File(media_type="image/png", data=b"hello")),
        ("data:text/plain,a%20b", File(media_type="text/plain", data=b"a b")),
        ("data:image/png;base64,not base64", None),
        ("data:image/png;base64,ä", None),
        ("data:image/png;base64,", None),
        ("data:image/png", None),
        ("file:///etc/passwd", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_an_address_or_data_uri_is_a_file_of_the_answer(address: Any, file: File | None) -> None:
    assert file_of(address) == file


def test_bytes_in_base64_are_a_file_of_the_answer() -> None:
    assert file_of_base64("aGVsbG8=", "image/png", "a.png") == File("a.png", "image/png", data=b"hello")
    assert file_of_base64({"b64": 1}) is None
    for beginning, kind in (("iVBORw0KGgo=", "image/png"), ("R0lGODlh", "image/gif"), ("aGVsbG8=", None)):
        assert (made := file_of_base64(beginning)) is not None and made.media_type == kind


@pytest.mark.parametrize("kind", ["heic", "avif", "svg+xml", "tiff", "jxl", "x-icon"])
def test_a_picture_of_a_kind_that_services_do_not_take_is_refused_before_it_is_sent(kind: str) -> None:
    picture = Media(data=b"x", media_type=f"image/{kind}", name="a.pic")
    with pytest.raises(InvalidRequest, match=r"a\.pic is image/.*make it a PNG or JPEG"):
        check_picture(picture)
    check_picture(picture, (f"image/{kind}",))
    check_picture(Media(url="https://example.com/a.heic", media_type=f"image/{kind}"))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_a_picture_of_a_usual_kind_goes(kind: str) -> None:
    check_picture(Media(data=b"x", media_type=f"image/{kind}"))


def test_only_files_that_some_service_reads_go() -> None:
    for kind in ("application/pdf", "text/csv", "application/vnd.ms-excel"):
        check_document(Media(data=b"x", media_type=kind))
    for kind in ("application/octet-stream", "application/zip", "video/mp4"):
        with pytest.raises(InvalidRequest, match=f"x.bin is {kind}; .* can be sent"):
            check_document(Media(data=b"x", media_type=kind, name="x.bin"))
