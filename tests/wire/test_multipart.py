from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.errors import InvalidRequest
from fanout.wire.multipart import Part, content_type, multipart

BOUNDARY = "----b0und4ry"


def parsed(body: bytes, boundary: str = BOUNDARY) -> list[Message]:
    """The parts as the standard library's parser of mail sees them."""
    whole = message_from_bytes(f"Content-Type: {content_type(boundary)}\r\n\r\n".encode() + body)
    assert not whole.defects
    parts = whole.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def test_texts_and_files_stand_one_after_the_other() -> None:
    parts = [Part("a", b"1"), Part("files", b"\x89PNG\r\n", "x.png", "image/png")]
    assert multipart(parts, "B") == (
        b"--B\r\n"
        b'Content-Disposition: form-data; name="a"\r\n'
        b"\r\n"
        b"1\r\n"
        b"--B\r\n"
        b'Content-Disposition: form-data; name="files"; filename="x.png"\r\n'
        b"Content-Type: image/png\r\n"
        b"\r\n"
        b"\x89PNG\r\n\r\n"
        b"--B--\r\n"
    )
    assert content_type("B") == "multipart/form-data; boundary=B"


def test_a_form_may_have_no_fields() -> None:
    assert multipart([], "B") == b"--B--\r\n"


def test_a_file_without_a_media_type_is_octets_and_a_text_may_have_one() -> None:
    body = multipart([Part("f", b"", "x"), Part("data", b"{}", media_type="application/json"), Part("t", b"")], "B")
    assert body.count(b"Content-Type:") == 2
    assert b'filename="x"\r\nContent-Type: application/octet-stream\r\n' in body
    assert b'name="data"\r\nContent-Type: application/json\r\n' in body


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a"b', b"a%22b"),
        ("a\r\nb", b"a%0D%0Ab"),
        ("a%22;=\\'", b"a%22;=\\'"),
        ("Größe 🐳", "Größe 🐳".encode()),
        ("half \ud83d", b"half ?"),
    ],
)
def test_a_name_stays_within_its_quotes(name: str, written: bytes) -> None:
    body = multipart([Part(name, b"", name)], "B")
    assert b'name="' + written + b'"; filename="' + written + b'"\r\n' in body


@pytest.mark.parametrize("media_type", ["text/plain\r\nX: y", "текст/plain"])
def test_a_media_type_that_no_header_can_carry_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidRequest, match="the form field 'f' has a media type"):
        multipart([Part("f", b"", "f", media_type)], "B")


def test_data_that_holds_the_boundary_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="the form field 'f' holds the boundary"):
        multipart([Part("f", b"x\r\n--B\r\ny")], "B")


@given(st.lists(st.binary().filter(lambda data: b"b0und" not in data), min_size=1, max_size=4))
def test_the_bytes_arrive_as_they_are(contents: list[bytes]) -> None:
    # A mail parser takes lone CR and LF for line ends too, so it gets the bytes in an armour that has none.
    parts = [Part(f"p{i}", data.hex().encode(), f"n{i}", "x/y") for i, data in enumerate(contents)]
    found = parsed(multipart(parts, BOUNDARY))
    assert [bytes.fromhex(str(part.get_payload())) for part in found] == contents
    assert [part.get_filename() for part in found] == [part.filename for part in parts]
    raw = multipart([Part(f"p{i}", data) for i, data in enumerate(contents)], BOUNDARY)
    assert [
        section.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        for section in raw.split(b"--" + BOUNDARY.encode())[1:-1]
    ] == contents
