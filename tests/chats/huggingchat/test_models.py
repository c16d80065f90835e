import json
from typing import Any

import pytest

from fanout.abc import Head, Reply
from fanout.chats.huggingchat.models import Row, choose, read_rows
from fanout.errors import InvalidRequest, ProtocolError
from tests.servers.huggingchat import model

PICTURE = ("image/png",)
BLIND, SEEING = model("blind"), model("seeing", multimodal=True)


@pytest.mark.parametrize(
    ("rows", "types", "usual", "chosen"),
    [
        ([BLIND, SEEING], (), None, "blind"),
        ([BLIND, SEEING], PICTURE, None, "seeing"),
        ([model("a", multimodal=True), SEEING], PICTURE, None, "a"),
        ([model("a", multimodal=True), SEEING], PICTURE, "seeing", "seeing"),
        ([BLIND, SEEING], PICTURE, "blind", "seeing"),
        ([BLIND, SEEING], PICTURE, "gone", "seeing"),
        ([{"id": "old"}, SEEING], PICTURE, None, "seeing"),
        ([model("a", multimodal=True, multimodalAcceptedMimetypes=["image/jpeg"]), SEEING], PICTURE, None, "seeing"),
        ([model("a", multimodal=True, multimodalAcceptedMimetypes=["image/*"]), SEEING], PICTURE, None, "a"),
        ([model("a", multimodal=True, multimodalAcceptedMimetypes=["IMAGE/PNG", 7]), SEEING], PICTURE, None, "a"),
        ([model("a", multimodal=False, multimodalAcceptedMimetypes=["image/*"]), SEEING], PICTURE, None, "seeing"),
        ([{"id": "a", "multimodalAcceptedMimetypes": ["image/*"]}, SEEING], PICTURE, None, "a"),
        (
            [
                model("pictures", multimodal=True, multimodalAcceptedMimetypes=["image/*"]),
                model("both", multimodal=True, multimodalAcceptedMimetypes=["image/*", "application/pdf"]),
            ],
            ("image/png", "application/pdf"),
            None,
            "both",
        ),
        # Texts become part of the message at servers of the kind that speaks of tools like this.
        ([model("a", supportsTools=False), SEEING], ("text/plain", "application/json"), None, "a"),
        ([model("a", supportsTools=False), SEEING], ("text/plain", "image/png"), None, "seeing"),
        ([model("a", tools=True), SEEING], ("text/plain",), None, "seeing"),
    ],
)
def test_the_first_model_that_takes_the_files_is_chosen(
    rows: list[Row], types: tuple[str, ...], usual: str | None, chosen: str
) -> None:
    assert choose(rows, types, usual) == chosen


@pytest.mark.parametrize("rows", [[BLIND], [{"id": "old"}], [{"id": "a", "multimodal": "yes"}]])
def test_files_that_no_model_takes_are_an_invalid_request(rows: list[Row]) -> None:
    with pytest.raises(InvalidRequest, match="no model that this server lists takes image/png"):
        choose(rows, PICTURE)


def test_an_empty_list_has_no_first() -> None:
    with pytest.raises(ProtocolError, match="lists no model"):
        choose([], ())


@pytest.mark.parametrize("value", [[BLIND, 7, {"name": "no id"}, SEEING], {"data": [BLIND, SEEING]}])
def test_what_is_no_model_in_the_list_is_left_out(value: Any) -> None:
    assert [row["id"] for row in read_rows(Reply(Head(200), json.dumps(value).encode()))] == ["blind", "seeing"]


@pytest.mark.parametrize("body", [b"{}", b"<!doctype html>", b"7"])
def test_what_is_no_list_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_rows(Reply(Head(200), body))
