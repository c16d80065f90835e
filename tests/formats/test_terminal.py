import re
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.formats.terminal import SEQUENCE_LENGTH, Sanitiser, sanitise

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)

SEQUENCES = {
    "a colour": "\x1b[31m",
    "a colour, eight-bit": "\x9b31m",
    "a private mode": "\x1b[?25l",
    "an intermediate": "\x1b[1 q",
    "a cursor report": "\x1b[6n",
    "a title, BEL": "\x1b]0;owned\x07",
    "a title, ST": "\x1b]0;owned\x1b\\",
    "a title, eight-bit": "\x9d0;owned\x9c",
    "a title, ST of the other form": "\x9d0;owned\x1b\\",
    "a hyperlink": "\x1b]8;;https://example.com\x1b\\",
    "a clipboard write": "\x1b]52;c;b3duZWQ=\x07",
    "a DCS": '\x1bP$q"p\x1b\\',
    "a DCS, eight-bit": '\x90$q"p\x9c',
    "an APC": "\x1b_secret\x1b\\",
    "an APC, eight-bit": "\x9fsecret\x9c",
    "a PM": "\x1b^secret\x1b\\",
    "a PM, eight-bit": "\x9esecret\x9c",
    "an SOS": "\x1bXsecret\x1b\\",
    "an SOS, eight-bit": "\x98secret\x9c",
    "a string cancelled": "\x1b]0;owned\x18",
    "a reset": "\x1bc",
    "a charset": "\x1b(0",
    "a charset whose name opens a sequence elsewhere": "\x1b([",
    "an index": "\x1bD",
    "a next line": "\x85",
    "a bell": "\x07",
    "a backspace": "\x08",
    "DEL": "\x7f",
    "NUL": "\x00",
    "a lone ST": "\x9c",
}


def cut(text: str, *positions: int) -> str:
    sanitiser = Sanitiser()
    bounds = [0, *positions, len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    return "".join(map(sanitiser.feed, pieces)) + sanitiser.close()


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_a_sequence_is_dropped_whole_wherever_it_is_cut(sequence: str) -> None:
    text = f"before{sequence}after"
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert cut(text, first, second) == "beforeafter"


def test_text_stays_as_it_is() -> None:
    text = "Why?\n\tBecause: naïve 你好 😀 שלום é — “quoted”."
    assert sanitise(text) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("a\r\nb", "a\nb"), ("a\rb", "a\nb"), ("a\r\r\nb", "a\n\nb"), ("\r", "\n")]
)
def test_line_ends_become_line_feeds_wherever_they_are_cut(text: str, shown: str) -> None:
    assert {cut(text, position) for position in range(len(text) + 1)} == {shown}


def test_what_reorders_or_hides_text_is_shown_as_its_escape() -> None:
    assert sanitise("a\u202eb\u2066c\u3164d\ufeffe\U000e0041f") == r"a\u202eb\u2066c\u3164d\ufeffe\U000e0041f"


@pytest.mark.parametrize(
    "text",
    [
        "\u179f\u17bd\u179f\u17d2\u178f\u17b8\u200b\u1796\u17b7\u1797\u1796",
        "\u0e44\u0e17\u0e22\u200b\u0e44\u0e17\u0e22",
        "\u05d0\u200f(1)\u200e",
        "\u0627\u061c1",
        "\u1820\u180e\u1820",
        "\u115f\u1161\u1100\u1160",
        "\u845b\U000e0100",
        "a\u2060b",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    ],
    ids=["Khmer", "Thai", "Hebrew", "Arabic", "Mongolian", "old Korean", "a variant", "a word joiner", "Persian"],
)
def test_what_scripts_need_stays(text: str) -> None:
    assert sanitise(text) == text


def test_a_joiner_stays_where_scripts_and_emoji_use_it() -> None:
    text = "👨\u200d👩 क\u094d\u200dष"
    assert sanitise(text) == text
    assert sanitise("pass\u200dword") == r"pass\u200dword"
    assert sanitise("é\u200d\u200d") == "é\u200d\\u200d"


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert sanitise("a\ud83db") == "a\ufffdb"


def test_a_string_that_never_ends_gives_its_text_back() -> None:
    assert sanitise("\x1b]0;the answer\nis blue") == "0;the answer\nis blue"


def test_a_long_string_that_never_ends_is_given_back_while_the_stream_goes_on() -> None:
    sanitiser = Sanitiser()
    assert sanitiser.feed("\x9d" + "x" * (SEQUENCE_LENGTH - 1)) == ""
    assert sanitiser.feed("x") == "x" * SEQUENCE_LENGTH
    assert sanitiser.feed("and on") == "and on"


def test_parameters_without_end_do_not_swallow_the_answer() -> None:
    assert sanitise("\x1b[" + "1" * SEQUENCE_LENGTH + "text") == "text"


def test_a_sequence_that_another_one_interrupts_leaves_nothing() -> None:
    assert sanitise("a\x1b[3\x1b[1mb\x1b]0;x\x1b[2Jc\x1b\x1b[1md") == "abcd"


def test_a_row_of_introducers_takes_no_longer_than_it_is() -> None:
    assert sanitise("\x9d" * 200_000 + "text") == "text"


def test_text_after_an_interrupted_sequence_is_kept() -> None:
    assert sanitise("\x1b[31你好") == "你好"


HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\x1b\x9b\x9d\x9c\x90\x07\r\n\t[]P_^X\\;m0 \u202e\u200d\u200b\x18a"),
        st.characters(),
    ),
    max_size=40,
)


@given(text=HOSTILE, data=st.data())
def test_no_cut_changes_what_is_shown_and_nothing_unsafe_is(text: str, data: st.DataObject) -> None:
    positions = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    shown = sanitise(text)
    assert cut(text, *positions) == shown
    assert not UNSAFE.search(shown)
    assert sanitise(shown) == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["\u202e", "a\u202e", "\x00", "\r\n", "\x1b[m", "\x9d", "\u200d", "é\u200d", "\x1b", "\x1b]0;a\x07"]
)
def test_a_flood_of_anything_is_cleaned_in_linear_time(text: str) -> None:
    def take(length: int) -> float:
        begun = process_time()
        sanitise(text * (length // len(text)))
        return process_time() - begun

    assert min(take(1 << 19) for _ in range(3)) < 2.3 * min(take(1 << 18) for _ in range(3)) + 0.005
    assert take(1 << 18) < 1
