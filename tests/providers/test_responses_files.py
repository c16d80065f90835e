import json
from base64 import b64encode
from typing import Any

import pytest

from fanout.abc import Head, Request
from fanout.answers import Answer, Fold
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError
from fanout.events import File, Source
from fanout.providers.responses import Responses

KEY = "sk-very-secret"
PNG = b"\x89PNG\r\n\x1a\n"


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def done(item: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return event("output_item.done", item=item, **fields)


def read(*events: dict[str, Any], output: list[Any] | None = None, **fields: Any) -> Answer:
    provider = Responses(**{"model": "m", "key": Secret(KEY), "base_url": "https://h.example/v1/", **fields})
    reader = provider.read(Head(200, {"content-type": "text/event-stream"}))
    last = event("completed", response={"status": "completed", "output": output or []})
    fold = Fold("a")
    for value in (*events, last):
        fold.add(reader.feed(b"data: " + json.dumps(value).encode() + b"\n\n"), 0.0)
    fold.add(reader.close(), 0.0)
    return fold.answer


def picture(data: bytes | str | None, **fields: Any) -> dict[str, Any]:
    result = b64encode(data).decode() if isinstance(data, bytes) else data
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result, **fields}


@pytest.mark.parametrize(
    ("data", "format_", "media_type"),
    [
        (PNG, None, "image/png"),
        (b"\xff\xd8\xff\xe0", None, "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8", None, "image/webp"),
        (b"GIF89a", None, "image/gif"),
        (b"anything", None, "image/png"),
        (b"\xff\xd8\xff\xe0", "png", "image/png"),
        (b"x", "jpg", "image/jpeg"),
        (b"<svg/>", "svg", "image/svg+xml"),
        (b"x", "png/../x", "image/png"),
        (b"x", 7, "image/png"),
    ],
)
def test_a_picture_has_the_type_that_is_said_or_seen(data: bytes, format_: Any, media_type: str) -> None:
    answer = read(done(picture(data, output_format=format_)))
    assert answer.files == (File(None, media_type, data=data),)
    assert (answer.finish_reason, answer.notes) == ("stop", ())


def test_a_picture_by_its_address_is_one_too() -> None:
    assert read(done(picture("https://h.example/a.png"))).files == (File(None, "image/png", "https://h.example/a.png"),)
    data = f"data:image/webp;base64,{b64encode(b'x').decode()}"
    assert read(done(picture(data))).files == (File(None, "image/webp", data=b"x"),)


def test_a_picture_on_its_way_is_none() -> None:
    partial = event("image_generation_call.partial_image", item_id="ig_1", partial_image_b64=b64encode(PNG).decode())
    begun = event("output_item.added", output_index=0, item=picture(None, status="in_progress"))
    answer = read(begun, partial, done(picture(PNG), output_index=0), output=[picture(PNG, id="ig_other")])
    assert [file.data for file in answer.files] == [PNG]


@pytest.mark.parametrize(
    ("item", "note"),
    [
        (picture("%%%"), "a picture did not come: its bytes are damaged"),
        (picture(None), "a picture did not come: its status is completed"),
        (picture(None, status="failed"), "a picture did not come: its status is failed"),
        (picture(None, status="failed", error={"message": "Blocked."}), "a picture did not come: Blocked."),
    ],
)
def test_a_picture_that_does_not_come_is_told_and_loses_nothing_else(item: dict[str, Any], note: str) -> None:
    text = event("output_text.delta", output_index=1, item_id="m", content_index=0, delta="Sorry.")
    answer = read(done(item, output_index=0), text)
    assert (answer.text, answer.files, answer.notes) == ("Sorry.", (), (note,))


def test_what_code_drew_is_a_file_and_what_it_printed_is_not() -> None:
    outputs = [
        {"type": "logs", "logs": "42"},
        {"type": "image", "url": "https://h.example/plot.png"},
        {"type": "image", "url": "data:image/png;base64," + b64encode(PNG).decode()},
        {"type": "image", "url": None},
        None,
    ]
    item = {"type": "code_interpreter_call", "id": "ci_1", "code": "plot()", "outputs": outputs}
    answer = read(done({**item, "outputs": None}), output=[item, {**item, "id": "ci_2", "outputs": None}])
    assert answer.files == (File(url="https://h.example/plot.png"), File(None, "image/png", data=PNG))
    assert answer.text == ""


CITED = {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile/2", "filename": "sums.csv"}


def message(*annotations: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": "See.", "annotations": list(annotations)}
    return {"type": "message", "id": "msg_1", "content": [part]}


def test_a_file_that_code_wrote_is_got_with_the_lanes_key() -> None:
    added = event("output_text.annotation.added", output_index=0, item_id="msg_1", annotation=CITED)
    answer = read(added, done(message(CITED), output_index=0), output=[message(CITED)], organization="org-1")
    (file,) = answer.files
    address = "https://h.example/v1/containers/cntr_1/files/cfile%2F2/content"
    assert (file.name, file.media_type, file.url, file.data) == ("sums.csv", "text/csv", address, None)
    assert isinstance(file.fetch, Request)
    assert file.fetch.url == address
    assert file.fetch.plain_headers()["authorization"] == f"Bearer {KEY}"
    assert file.fetch.plain_headers()["openai-organization"] == "org-1"
    assert KEY not in repr(answer)


def test_without_a_key_the_file_is_asked_for_without_one() -> None:
    (file,) = read(done(message(CITED)), key=None, needs_key=False).files
    assert "authorization" not in file.fetch.headers
    assert read(done(message({**CITED, "container_id": None}), output_index=0)).files == ()


def test_pages_become_sources_from_wherever_they_are_told() -> None:
    flat = {"type": "url_citation", "url": "https://a.example/", "title": "A"}
    nested = {"type": "url_citation", "url_citation": {"url": "https://b.example/", "title": "B"}}
    search = {"type": "web_search_call", "action": {"type": "search", "sources": [{"url": "https://c.example/"}, 7]}}
    found = {"type": "search_results", "results": [{"url": "https://d.example/", "title": "D"}]}
    fetched = {"type": "fetch_url_results", "contents": [{"url": "https://e.example/"}]}
    answer = read(
        done(search, output_index=0),
        done(found, output_index=1),
        done(fetched, output_index=2),
        done(message(flat, nested, {"type": "file_citation", "filename": "a.pdf"}, None), output_index=3),
    )
    assert answer.sources == (
        Source("https://c.example/"),
        Source("https://d.example/", "D"),
        Source("https://e.example/"),
        Source("https://a.example/", "A"),
        Source("https://b.example/", "B"),
    )
    assert (answer.files, answer.notes) == ((), ())


@pytest.mark.parametrize("odd", [None, 7, "x", [7], {}, [{"type": "url_citation"}], [[]]])
def test_odd_citations_outputs_and_actions_lose_no_answer(odd: Any) -> None:
    part = {"type": "output_text", "text": "Hi", "annotations": odd}
    answer = read(
        event("output_text.annotation.added", annotation=odd),
        done({"type": "code_interpreter_call", "outputs": odd}, output_index=0),
        done({"type": "web_search_call", "action": odd}, output_index=1),
        done({"type": "image_generation_call", "result": odd, "output_format": odd}, output_index=2),
        done({"type": "message", "content": [part]}, output_index=3),
    )
    assert answer.text == "Hi"
    assert not isinstance(answer.error, ProviderError)
