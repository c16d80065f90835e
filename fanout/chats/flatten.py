"""Conversations as one text, or as its last turn, for services that take no list of messages."""

from collections.abc import Iterator, Sequence
from itertools import dropwhile, takewhile

from fanout.prompt import SYSTEM, Media, Message


def flatten(messages: Sequence[Message]) -> str:
    """The whole conversation as one text: a single message raw, several as lines `Role: text` and a last `Assistant:`.

    Blank messages are left out, and media are not told of.
    """
    if len(messages) == 1:
        return messages[0].text
    lines = [f"{message.role.capitalize()}: {message.text}" for message in messages if message.text.strip()]
    return "\n".join([*lines, "Assistant:"])


def trailing_user_text(messages: Sequence[Message]) -> str:
    """The texts of the last user messages that follow one another, oldest first, a line each; blank ones left out."""
    trailing = takewhile(_is_user, dropwhile(lambda message: not _is_user(message), reversed(messages)))
    texts = [message.text.strip() for message in trailing]
    return "\n".join(filter(None, reversed(texts)))


def system_text(messages: Sequence[Message], separator: str = "\n") -> str:
    """The texts that instruct the model, joined by `separator`; blank ones left out."""
    return separator.join(message.text for message in messages if message.role in SYSTEM and message.text.strip())


def media_since_last_answer(messages: Sequence[Message]) -> tuple[Media, ...]:
    """The media of the user messages after the assistant's last, in their order."""
    return tuple(media for message in reversed([*_since_last_answer(messages)]) for media in message.media)


def _since_last_answer(messages: Sequence[Message]) -> Iterator[Message]:
    since = takewhile(lambda message: message.role != "assistant", reversed(messages))
    return filter(_is_user, since)


def _is_user(message: Message) -> bool:
    return message.role == "user"
