"""Events of a known form are read as the ordinary way reads them, and all others left to it."""

from collections.abc import Callable, Sequence
from random import Random

import orjson
import pytest

from fanout.abc import Head
from fanout.events import Delta, Reasoning
from fanout.providers.anthropic import MessagesReader
from fanout.providers.chat_reader import ChatReader
from fanout.providers.reader import JsonReader
from fanout.wire.shortcut import HELD, TRIES, Repeats

FORM = b'data: {"id":"x","choices":[{"delta":{"content":"%b"}}]}\n\n'


def known(text: bytes = b"sky") -> Repeats:
    """One that has learnt FORM."""
    repeats = Repeats()
    repeats.learn(FORM % text, Delta(text.decode()))
    return repeats


def test_another_text_in_the_same_form_is_known() -> None:
    assert known().try_read(FORM % b" blue") == [Delta(" blue")]


def test_several_events_come_in_one_read() -> None:
    assert known().try_read(FORM % b"is" + FORM % b" it" + FORM % "\u00fc?".encode()) == [
        Delta("is"),
        Delta(" it"),
        Delta("\u00fc?"),
    ]


def test_an_event_that_is_cut_anywhere_is_held_until_its_end_comes() -> None:
    data = FORM % b"one" + FORM % b"two"
    for cut in range(1, len(data)):
        repeats = known()
        first, second = repeats.try_read(data[:cut]), repeats.try_read(data[cut:])
        assert [*(first or ()), *(second or ())] == [Delta("one"), Delta("two")], cut
        assert not repeats.held


@pytest.mark.parametrize(
    ("inside", "text"),
    [(rb"a\nb", "a\nb"), (rb"say \"hi\"", 'say "hi"'), (rb"\ud83d\ude00", "\U0001f600"), (rb"\\", "\\")],
)
def test_escapes_are_undone(inside: bytes, text: str) -> None:
    assert known().try_read(FORM % inside + FORM % b"!") == [Delta(text), Delta("!")]


@pytest.mark.parametrize(
    "data",
    [
        FORM % b'a","role":"b',
        FORM % b"a\x00b",
        FORM % b"\xff",
        FORM % rb"\ud83d",
        FORM % rb"\x",
        FORM % b"a" + FORM % b'b"',
        FORM % b"a" + b"data: [DONE]\n\n",
        FORM % b"a" + b": ping\n\n" + FORM % b"b",
        b"data: [DONE]\n\n",
        b"event: error\n",
        b"\n",
        FORM.replace(b'"x"', b'"y"') % b"a",
    ],
)
def test_what_does_not_fit_is_left_alone(data: bytes) -> None:
    repeats = known()
    repeats.try_read((FORM % b"half")[:9])
    assert repeats.try_read((FORM % b"half")[9:] + data) is None
    assert repeats.forget() == (FORM % b"half")[:9]
    assert repeats.try_read(FORM % b"a") is None


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_an_event_with_other_line_ends_is_not_held_back(line_end: bytes) -> None:
    other = (FORM % b"b").replace(b"\n", line_end)
    for cut in range(other.index(b"\r") + 1, len(other) + 1):
        assert known().try_read(other[:cut]) is None
        assert known().try_read(FORM % b"a" + other[:cut]) is None


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_the_last_text_is_read_where_the_line_ends_change(line_end: bytes) -> None:
    reader = ChatReader(Head(200, {"content-type": "text/event-stream"}))
    for text in (b"a", b"b", b"c"):
        reader.feed(FORM % text)
    assert reader.feed((FORM % b"d").replace(b"\n", line_end) + b"data") == [Delta("d")]


def test_an_empty_text_is_no_event() -> None:
    assert known().try_read(FORM % b"") == []


def test_a_long_unfinished_event_is_not_held() -> None:
    assert known().try_read(FORM[:60] + b"a" * HELD) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FORM % b"x", "x"),  # is it the id?
        (FORM % b"content", "content"),
        (FORM % rb"\u0061", "a"),
        ((FORM % b"a").replace(b'"x"', rb'"\u0061"'), "a"),
        (b'data: {"text":"a"}\r\n\r\n', "a"),
        (b'data: {"text":"a"}\n', "a"),
        (b'data: ["a",","]\n\n', ","),
        (b'data: ["a","b"]\n\n', "ab"),
    ],
)
def test_a_form_is_learnt_only_if_the_place_of_the_text_is_certain(data: bytes, text: str) -> None:
    repeats = Repeats()
    repeats.learn(data, Delta(text))
    assert repeats.try_read(data) is None


def test_reasoning_stays_reasoning() -> None:
    repeats = Repeats()
    repeats.learn(FORM % b"so", Reasoning("so"))
    assert repeats.try_read(FORM % b"hm") == [Reasoning("hm")]


def test_forms_that_never_fit_are_given_up() -> None:
    repeats = Repeats()
    for number in range(TRIES):
        assert repeats.learning
        repeats.learn(b'data: {"n":%d,"text":"sky"}\n\n' % number, Delta("sky"))
        repeats.forget()
    assert not repeats.learning


class Plain(ChatReader):
    """Reads everything the ordinary way."""

    repeats = False


class PlainMessages(MessagesReader):
    """The same."""

    repeats = False


def chat(random: Random, text: str) -> bytes:
    value: dict[str, object] = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {random.choice(KEYS): text}}],
    }
    if random.random() < 0.05:
        value |= {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    return b"data: " + orjson.dumps(value) + b"\n\n"


def messages(random: Random, text: str) -> bytes:
    delta = (
        {"type": "text_delta", "text": text} if random.random() < 0.9 else {"type": "thinking_delta", "thinking": text}
    )
    value = {"type": "content_block_delta", "index": 0, "delta": delta}
    return b"event: content_block_delta\ndata: " + orjson.dumps(value) + b"\n\n"


KEYS = ["content"] * 12 + ["reasoning", "refusal"]
TEXTS = [
    "sky",
    " blue",
    "m",
    "c",
    "",
    "\n",
    '"',
    "\\",
    "\u00fc",
    "\U0001f600",
    "content",
    ",",
    "data: x",
    "[DONE]",
    "\x7f",
]
OTHERS = [
    b": ping\n\n",
    b"\n",
    b'data: {"choices":[]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\ndata: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
    b'data: {"id":"c","model":"m","choices":[{"index":1,"delta":{"content":"other"}}]}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b"data: nonsense\n\n",
    b'data: {"error":{"message":"broken"}}\n\n',
]


LINE_ENDS = [b"\n"] * 12 + [b"\r\n", b"\r\n", b"\r"]


def stream(random: Random, one: Callable[[Random, str], bytes]) -> bytes:
    """An answer, mostly of one form; some change their line ends on the way."""
    parts: list[bytes] = []
    line_end = b"\n"
    while random.random() < 0.97:
        parts += [one(random, random.choice(TEXTS)) for _ in range(random.randrange(6))]
        if random.random() < 0.15:
            parts.append(random.choice(OTHERS[: -2 if random.random() < 0.9 else None]))
        if random.random() < 0.1:
            line_end = random.choice(LINE_ENDS)
        if parts:
            parts[-1] = parts[-1].replace(b"\n", line_end)
    return b"".join(parts) + (b"data: [DONE]\n\n" if random.random() < 0.8 else b"data: [DO")


def told(reader: JsonReader, reads: Sequence[bytes]) -> list[str]:
    """The events of each read, and those of the end."""
    return [repr(events) for events in (*map(reader.feed, reads), reader.close())]


@pytest.mark.parametrize(
    ("one", "reader", "plain"), [(chat, ChatReader, Plain), (messages, MessagesReader, PlainMessages)]
)
def test_a_reader_that_knows_forms_tells_at_each_read_what_one_without_them_does(
    one: Callable[[Random, str], bytes], reader: type[JsonReader], plain: type[JsonReader]
) -> None:
    head = Head(200, {"content-type": "text/event-stream"})
    for seed in range(100):
        random = Random(seed)
        data = stream(random, one)
        size = random.choice([1, 7, 90, 400, 5000])
        reads = [data[at : at + size] for at in range(0, len(data), size)]
        assert told(reader(head), reads) == told(plain(head), reads), seed
