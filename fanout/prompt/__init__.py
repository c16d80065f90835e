"""Prompts: messages, media and options, the same for every provider."""

import os
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from attrs import evolve, field, fields, frozen

from fanout.errors import UsageError
from fanout.prompt.media_types import OF_ANY_BYTES, decode_text, find_type, guess_type_of, is_textual
from fanout.settings import LENGTH, NUMBER, TABLE, TEXT, TEXTS, WHOLE, check_arguments, setting

ROLES = ("system", "developer", "user", "assistant", "tool")

SYSTEM = ("system", "developer")
"""The roles whose messages instruct the model."""


@frozen
class Media:
    """A picture, sound or file in a message: its bytes, or an address that the service fetches itself."""

    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    media_type: str | None = None
    name: str | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Media":
        """The file at `path`, of the type that its bytes tell, or else its name.

        Raises UsageError if it cannot be read or is empty.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
        if not data:
            raise UsageError(f"{os.fspath(path)} is empty")
        return cls(data, media_type=find_type(data, guess_type_of(os.fspath(path))), name=Path(path).name)

    @classmethod
    def from_data_uri(cls, uri: str, name: str | None = None) -> "Media":
        """The bytes in a `data:TYPE;base64,…` URI. Raises UsageError if it is not one, or has none."""
        head, _, data = uri.partition(",")
        media_type, _, coding = head.removeprefix("data:").partition(";")
        try:
            decoded = b64decode(data, validate=True)
        except ValueError:
            raise UsageError(f"a data URI needs base64 data, not {coding!r}: {uri[:40]!r}…") from None
        if not decoded:
            raise UsageError(f"{name or 'a data URI'} is empty: {uri[:40]!r}")
        return cls(decoded, media_type=media_type, name=name)


@frozen
class ToolUse:
    """A tool call that an assistant's earlier message made; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


@frozen
class Message:
    """One turn: role (system, developer, user, assistant, tool), text, and what hangs on it.

    `reasoning` is an assistant's, which goes back only to services that demand it. `opaque` is what only the service
    that made the message may have back, and must: plain data (JSON) with the mark of its maker (`wire`, `service`,
    `model`) and `parts`. Each part has the maker's `data` and its place: behind so many characters of the `text` and of
    the `reasoning` and so many `calls` of tools, or with the tool call of an id (`call`). Other services never see it.
    The mark counts for `reasoning` too; without one, that is the caller's own. Raises UsageError for any other form.
    """

    role: str
    text: str
    media: tuple[Media, ...] = ()
    tool_uses: tuple[ToolUse, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""
    opaque: Mapping[str, Any] | None = field(
        default=None, repr=False, hash=False, validator=lambda _message, _field, value: _check_opaque(value)
    )

    @classmethod
    def of(cls, message: Any) -> "Message":
        """A Message from an OpenAI message dict, which may have our `opaque`, or as it is.

        Raises UsageError for what is not one.
        """
        if isinstance(message, Message):
            return message
        if not isinstance(message, Mapping):
            raise UsageError(f"a message is a dict with role and content, not {message!r:.80}")
        role = message.get("role")
        if role not in ROLES:
            raise UsageError(f"a message needs a role, one of {', '.join(ROLES)}; got {role!r}")
        text, media = _parts(message.get("content"))
        return cls(
            role=role,
            text=text,
            media=media,
            tool_uses=tuple(map(_tool_use, _optional(list | tuple, message, "tool_calls", "a list") or ())),
            tool_call_id=_optional(str, message, "tool_call_id", "a text"),
            name=_optional(str, message, "name", "a text"),
            reasoning=_reasoning(message),
            opaque=message.get("opaque"),
        )

    def with_texts_inline(self) -> "Message":
        """The message with the types that its attachments' bytes tell, and texts among them in its own text.

        Every wire has a place for text, and few for files of it. Raises UsageError for text that cannot be read.
        """
        if not self.media:
            return self
        media = tuple(map(_type_by_bytes, self.media))
        texts = [_under_its_name(one) for one in media if _is_text(one)]
        left = tuple(one for one in media if not _is_text(one))
        return evolve(self, text="\n\n".join(filter(None, (self.text, *texts))), media=left)


def _type_by_bytes(media: Media) -> Media:
    """The same with the type that its bytes tell. What a caller says of bytes that tell none holds."""
    if media.data is None or not (media.media_type or media.name):
        return media
    told = find_type(media.data, media.media_type or guess_type_of(media.name or ""))
    declared = media.media_type not in (None, OF_ANY_BYTES) and not is_textual(media.media_type or "")
    return media if declared and is_textual(told) else evolve(media, media_type=told)


def _is_text(media: Media) -> bool:
    return media.data is not None and is_textual(media.media_type or "")


def _under_its_name(media: Media) -> str:
    name, text = media.name or "file", decode_text(media.data or b"")
    if text is None:
        raise UsageError(f"{name} is not text in UTF-8; iconv -t UTF-8 makes it so")
    ticks = max(map(len, re.findall("`{3,}", text)), default=2) + 1
    return f"{name}:\n{'`' * ticks}\n{text.rstrip()}\n{'`' * ticks}"


def _check_opaque(value: Any) -> None:
    match value:
        case None:
            return
        case {"wire": str(), "service": str(), "model": str() | None, "parts": list() | tuple() as parts}:
            if all(map(_is_part, parts)):
                return
    raise UsageError(
        f"opaque is what an answer had there (wire, service, model and parts), unchanged; got {value!r:.80}"
    )


def _is_part(part: Any) -> bool:
    match part:
        case {"data": Mapping(), "call": str()}:
            return True
        case {"data": Mapping(), "text": int(text), "reasoning": int(reasoning), "calls": int(calls)}:
            return min(text, reasoning, calls) >= 0
    return False


def _messages(given: Any) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (Message("user", given),) if given.strip() else ()
    if not isinstance(given, list | tuple):
        raise UsageError(f"a prompt is a text, a list of message dicts or a Prompt, not {given!r:.80}")
    return tuple(map(Message.of, given))


def _parts(content: Any) -> tuple[str, tuple[Media, ...]]:
    if content is None or isinstance(content, str):
        return content or "", ()
    texts: list[str] = []
    media: list[Media] = []
    if not isinstance(content, Iterable) or isinstance(content, Mapping):
        raise UsageError(f"content is a text or a list of parts, not {content!r:.80}")
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                media.append(Media.from_data_uri(url) if url.startswith("data:") else Media(url=url))
            case {"type": "file", "file": {"file_data": str(uri)} as file}:
                media.append(Media.from_data_uri(uri, _optional(str, file, "filename", "a text")))
            case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}:
                media.append(Media.from_data_uri(f"data:audio/{form};base64,{data}"))
            case _:
                raise UsageError(f"a content part must be text, image_url, file or input_audio; got {part!r:.80}")
    return "".join(texts), tuple(media)


def _reasoning(message: Mapping[str, Any]) -> str:
    """The reasoning in a message as services write it, under either of its two names."""
    given = (message.get("reasoning_content"), message.get("reasoning"))
    return next((words for words in given if isinstance(words, str) and words), "")


def _optional(kind: Any, table: Mapping[str, Any], name: str, words: str) -> Any:
    """The value of a name, None where there is none. Raises UsageError, with the name, for one of another type."""
    value = table.get(name)
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{name} is {words}, not {value!r:.80}")
    return value


def _tool_use(call: Any) -> ToolUse:
    match call:
        case {"id": str(id), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolUse(id, name, arguments)
    raise UsageError(f"a tool call needs id, function.name and function.arguments; got {call!r:.80}")


@check_arguments("option")
@frozen
class Options:
    """The options of a prompt. None or empty: left to the service.

    `reasoning` is the effort in the service's words (low, medium, high …), `reasoning_tokens` its budget in tokens.
    `tools` are functions as OpenAI writes them, `schema` a JSON schema for the answer. `body` goes into the request as
    it is, over everything else.
    """

    max_tokens: int | None = setting(LENGTH, help="Most tokens of an answer.")
    temperature: float | None = setting(NUMBER, help="How freely the next token is drawn.")
    top_p: float | None = setting(NUMBER, help="The share of the likeliest tokens to draw from.")
    stop: tuple[str, ...] = setting(TEXTS, default=(), many=True, help="A text that ends the answer; may be repeated.")
    seed: int | None = setting(WHOLE, help="The seed of the draw, for services that take one.")
    reasoning: str | None = setting(TEXT, help="The effort of reasoning, in the service's words.")
    reasoning_tokens: int | None = setting(WHOLE, help="Most tokens of reasoning.")
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    schema: Mapping[str, Any] | None = None
    body: Mapping[str, Any] = setting(TABLE, factory=dict, help="What goes into the request as it is.")

    def over(self, base: Self) -> Self:
        """These options, and those of `base` where these say nothing."""
        unset: tuple[object, ...] = (None, (), {})
        given = {a.name: v for a in fields(type(self)) if (v := getattr(self, a.name)) not in unset}
        given["body"] = {**base.body, **self.body}
        return evolve(base, **given)


@frozen
class Prompt:
    """Messages and options, made by `Prompt.of` from whatever the caller has.

    `state` is what the lane's service said is needed to continue the conversation that `messages` hold from their
    beginning (the data of its Conversation event), for a service that keeps conversations itself.
    """

    messages: tuple[Message, ...]
    options: Options = Options()
    state: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, prompt: "str | Sequence[Message | Mapping[str, Any]] | Prompt", system: str | None = None) -> "Prompt":
        """A Prompt from a string, a list of OpenAI message dicts, or a Prompt, with attached texts in its text.

        Raises UsageError when it is empty.
        """
        if not isinstance(prompt, Prompt):
            prompt = cls(_messages(prompt))
        if not prompt.messages:
            raise UsageError("the prompt is empty")
        if system:
            prompt = evolve(prompt, messages=(Message("system", system), *prompt.messages))
        if any(message.media for message in prompt.messages):
            prompt = evolve(prompt, messages=tuple(message.with_texts_inline() for message in prompt.messages))
        return prompt

    def with_options(self, options: Options) -> "Prompt":
        """The same messages, with `options` laid over this prompt's."""
        return self if options == _NOTHING_SAID else evolve(self, options=options.over(self.options))


_NOTHING_SAID = Options()
