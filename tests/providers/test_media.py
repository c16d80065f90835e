import pytest

from fanout.errors import InvalidRequest
from fanout.prompt import Media
from fanout.providers.media import base64_of, data_uri, type_of


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
