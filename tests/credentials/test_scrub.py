import pytest

from fanout.abc import Head
from fanout.credentials.scrub import SHORTEST, Scrubber, scrub
from fanout.credentials.secret import Secret
from fanout.errors import AuthError
from fanout.events import Reasoning, ToolCall
from fanout.wire.faults import MESSAGE_LENGTH, response_error

KEY = Secret("Bearer sk-canary-0123")


def test_a_key_that_the_service_repeats_is_blanked_everywhere() -> None:
    error = AuthError("no such key: sk-canary-0123", request_id="sk-canary-0123/7")
    error.__cause__ = ValueError("sk-canary-0123")
    scrub(error, [KEY, "not a secret"])
    assert str(error) == "auth: no such key: ***"
    assert error.request_id == "***/7"
    assert error.args == ("no such key: ***",)
    assert error.__cause__ is None


def test_an_error_that_repeats_nothing_keeps_its_cause() -> None:
    error = AuthError("no")
    error.__cause__ = cause = ValueError("why")
    scrub(error, [KEY])
    assert error.__cause__ is cause


@pytest.mark.parametrize("word", ["no", "x" * (SHORTEST - 1)])
def test_a_short_word_is_left_alone(word: str) -> None:
    error = AuthError(f"no {word}")
    scrub(error, [Secret(word)])
    assert error.message == f"no {word}"


@pytest.mark.parametrize("end", ["", "…", "… (code 7)"])
@pytest.mark.parametrize("length", [SHORTEST, len("sk-canary-0123") - 1])
def test_a_key_that_an_excerpt_cuts_off_is_blanked(length: int, end: str) -> None:
    cut = "sk-canary-0123"[:length]
    error = AuthError(f"no such key: {cut}{end}", request_id=f"7/{cut}{end}")
    scrub(error, [KEY])
    assert (error.message, error.request_id) == (f"no such key: ***{end}", f"7/***{end}")


def test_the_longest_beginning_of_a_key_at_the_end_is_blanked() -> None:
    error = AuthError("no such key: abcdabcdabcdabcdabcd")
    scrub(error, [Secret("abcd" * 7)])
    assert error.message == "no such key: ***"


@pytest.mark.parametrize("words", ["keys begin with sk-cana", "keys like sk-canary-* end", "sk-canary-9"])
def test_what_is_not_the_beginning_of_a_key_at_an_end_is_left_alone(words: str) -> None:
    error = AuthError(words)
    scrub(error, [KEY])
    assert error.message == words


@pytest.mark.parametrize("before", range(MESSAGE_LENGTH - 100, MESSAGE_LENGTH + 1, 7))
def test_wherever_the_excerpt_of_a_service_s_words_ends_no_more_than_a_few_characters_of_a_key_are_left(
    before: int,
) -> None:
    key = "sk-proj-" + "A1b2C3d4" * 8
    error = response_error(Head(401), b"x" * before + b" " + key.encode())
    scrub(error, [Secret(key)])
    assert key[:SHORTEST] not in error.message


@pytest.mark.parametrize(
    "coding", ["&#{};", "&#x{:x};", "%{:02x}", "%25{:02x}", "\\u{:04x}", "\\x{:02x}", "\\\\u{:04x}"]
)
@pytest.mark.parametrize("side", ["end", "beginning"])
def test_wherever_an_excerpt_cuts_a_key_in_disguise_no_more_than_a_few_characters_of_it_are_left(
    coding: str, side: str
) -> None:
    letters = [coding.format(ord(letter)) for letter in "sk-canary-0123"]
    coded, first, last = ("".join(part) for part in (letters, letters[:SHORTEST], letters[-SHORTEST:]))
    scrubber = Scrubber([KEY])
    for length in range(len(coded) + 1):
        shown = f"no such key '{coded[:length]}…'" if side == "end" else f"'…{coded[length:]}' is no key"
        clean = scrubber.scrub_text(shown)
        assert first not in clean
        assert last not in clean


def test_a_text_with_escapes_and_a_cut_is_left_alone_where_no_key_is_in_it() -> None:
    text = "100% of &lt;p&gt; sk-cana… and …ry-0123 \\u0041\\u0042"
    assert Scrubber([KEY]).scrub_text(text) == text


@pytest.mark.parametrize("secret", ["sk-canary-0123", "c2stY2FuYXJ5LTAxMjM=", "sk%2dcanary-0123"])
def test_what_is_opaque_is_left_out_where_it_repeats_a_key(secret: str) -> None:
    opaque = {"wire": "w", "service": "s", "model": None, "data": {"signature": ["x", {"y": f"a {secret} b"}]}}
    events = Scrubber([KEY]).scrub_events([Reasoning("hm", opaque), ToolCall(0, arguments="{}", opaque=opaque)], [KEY])
    assert events == [Reasoning("hm"), ToolCall(0, arguments="{}")]


def test_what_is_opaque_stays_byte_for_byte_where_it_repeats_none() -> None:
    opaque = {
        "wire": "w",
        "service": "s",
        "model": None,
        "data": {"signature": "a\\u0020%41&amp;…/+==", "n": [1, None]},
    }
    event = Reasoning("sk-canary-0123 as the model says it", opaque)
    assert Scrubber([KEY]).scrub_events([event], [KEY]) == [event]
