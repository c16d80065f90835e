from typing import Any

import pytest

from fanout.abc import Head
from fanout.errors import ResetError, TimedOut
from fanout.events import End, Status
from fanout.providers.ending import MAX_NOTES, AnswerEnding

HEAD = Head(200, {"x-request-id": "r1", "x-ratelimit-limit": "5", "server": "x"})
KEPT: dict[str, Any] = {"request_id": "r1", "headers": {"x-request-id": "r1", "x-ratelimit-limit": "5"}}
GONE = ResetError("gone")


def test_what_has_seen_its_end_mark_is_finished_whatever_happens_next() -> None:
    ending = AnswerEnding(HEAD)
    ending.model = "m"
    ending.finish("length", "MAX")
    assert ending.complete
    assert ending.make_end(GONE) == End(Status.FINISHED, "length", None, "MAX", "m", **KEPT)


@pytest.mark.parametrize(("reason", "raw", "notes"), [("stop", "odd", 0), ("unknown", "odd", 1), ("unknown", None, 0)])
def test_a_reason_that_is_not_known_is_told_in_a_note(reason: str, raw: str | None, notes: int) -> None:
    ending = AnswerEnding(HEAD)
    ending.finish(reason, raw)
    said = ending.make_end(GONE).notes
    assert len(said) == notes
    assert all(repr(raw) in note for note in said)


@pytest.mark.parametrize("raw", ["", None, 7, ["stop"]])
def test_what_is_no_word_is_no_reason(raw: object) -> None:
    ending = AnswerEnding(HEAD)
    ending.finish("stop", raw)
    assert ending.make_end(GONE).raw is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ResetError("gone"), Status.FAILED),
        (TimedOut("the service gave up", status=504), Status.FAILED),
        (TimedOut("no content", clock="first"), Status.TIMED_OUT),
    ],
)
def test_what_was_cut_off_has_the_error_with_the_request(error: Any, status: Status) -> None:
    end = AnswerEnding(HEAD).make_end(error)
    assert end == End(status, error=error, **KEPT)
    assert error.request_id == "r1"


def test_an_error_keeps_the_request_that_it_names() -> None:
    error = ResetError("gone", request_id="r2")
    assert AnswerEnding(HEAD).make_end(error).request_id == "r2"


def test_notes_are_short_few_and_each_said_once() -> None:
    ending = AnswerEnding(HEAD)
    for number in range(2 * MAX_NOTES):
        ending.note("the same")
        ending.note(f"{number} " * 500)
    notes = ending.make_end(GONE).notes
    assert notes[0] == "the same"
    assert len(notes) == MAX_NOTES
    assert max(map(len, notes)) <= 201
