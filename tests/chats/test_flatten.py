import pytest

from fanout.chats.flatten import flatten, media_since_last_answer, system_text, trailing_user_text
from fanout.prompt import Media, Message

SYSTEM = Message("system", "Be brief.")
HELLO = Message("user", " Hello\nyou ")
HI = Message("assistant", "Hi")
BLANK = Message("user", " \n")
MORE = Message("user", "More")


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([HELLO], " Hello\nyou "),
        ([SYSTEM], "Be brief."),
        ([SYSTEM, MORE], "System: Be brief.\nUser: More\nAssistant:"),
        ([HELLO, HI, BLANK, MORE], "User:  Hello\nyou \nAssistant: Hi\nUser: More\nAssistant:"),
        ([Message("developer", "d"), Message("tool", "t")], "Developer: d\nTool: t\nAssistant:"),
        ([BLANK, MORE], "User: More\nAssistant:"),
    ],
)
def test_a_single_message_goes_raw_and_several_as_lines(messages: list[Message], text: str) -> None:
    assert flatten(messages) == text


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([HELLO], "Hello\nyou"),
        ([HELLO, HI, MORE], "More"),
        ([MORE, HI, HELLO, BLANK, MORE], "Hello\nyou\nMore"),
        ([MORE, HI], "More"),
        ([MORE, HI, HELLO, HI, SYSTEM], "Hello\nyou"),
        ([HELLO, SYSTEM, MORE], "More"),
        ([HELLO, HI, BLANK], ""),
        ([SYSTEM, HI], ""),
        ([], ""),
    ],
)
def test_a_continuation_has_the_last_user_messages(messages: list[Message], text: str) -> None:
    assert trailing_user_text(messages) == text


def test_the_system_text_is_that_of_both_roles() -> None:
    messages = [SYSTEM, HELLO, Message("system", " "), Message("developer", "Be kind.")]
    assert system_text(messages) == "Be brief.\nBe kind."
    assert system_text(messages, " ") == "Be brief. Be kind."
    assert system_text([HELLO]) == ""


def test_only_media_that_no_answer_has_seen_are_sent() -> None:
    old, new, newer, newest = (Media(data=bytes([number]), name=f"{number}") for number in range(4))
    messages = [
        Message("user", "a", media=(old,)),
        HI,
        Message("user", "b", media=(new, newer)),
        Message("tool", "t", media=(old,)),
        Message("user", "c", media=(newest,)),
    ]
    assert media_since_last_answer(messages) == (new, newer, newest)
    assert media_since_last_answer(messages[:2]) == ()
    assert media_since_last_answer(messages[:1]) == (old,)
