"""The answers of a HuggingChat server: its updates, one JSON object a line, as events."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from attrs import field, frozen

from fanout.abc import Head, Request
from fanout.chats.huggingchat.faults import ConversationLost, is_lost
from fanout.errors import ServerError, Truncated
from fanout.events import Conversation, Delta, Event, File, Reasoning, Replace, Title
from fanout.providers.citations import Citations
from fanout.providers.reader import JsonReader, text_of
from fanout.wire.json_text import repair

KEEP_ALIVE = b'{"type":"status","status":"keepAlive"}\n'
"""A line that comes ten times a second until the text is complete."""

MARKER_LIFE = 5.0
"""Seconds for which a stop that met with no answer is kept by the server, to stop the next one."""

_MARKS = re.compile("</?think>")


@frozen
class Send(Request):
    """The request that sends a message: with the conversation that it continues, if it does not begin one.

    `state` is what the Conversation event of its answer says, `model` the name that was asked for.
    """

    conversation: str | None = None
    model: str | None = None
    state: Mapping[str, Any] = field(factory=dict, repr=False)


class AnswerReader(JsonReader):
    """Reads the updates of one answer, of either generation of the server.

    It is complete with the final answer; a title may follow. The service does not tell that an answer was cut at the
    model's limit. Without the request there is no Conversation event, and files have no address.
    """

    lines = True

    def __init__(self, head: Head, send: Send | None = None) -> None:
        super().__init__(head)
        self.model = send.model if send else None
        self._send = send
        self._tags = ThinkTags()
        self._citations = Citations()
        self._streamed: list[str] = []
        self._tools = False
        self._ask_place = False

    def feed(self, data: bytes, /) -> list[Event]:
        """Takes the bytes of one read and returns their events."""
        # No text in JSON can hold this line, so it may go without being decoded.
        return super().feed(data.replace(KEEP_ALIVE, b""))

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one update; what has an unknown type is none of them."""
        read = self._UPDATES.get(value.get("type", ""))
        if read is not None:
            read(self, value, out)

    def rest(self, out: list[Event], /) -> list[Event]:
        """The events before the End, with the beginning of a tag that was none."""
        self._flush(out)
        return out

    def _read_token(self, value: dict[str, Any], out: list[Event]) -> None:
        # Padded with NUL, so that the length of what is sent does not tell the token.
        token = (text_of(value.get("token")) or "").rstrip("\0")
        if token and not self.complete:
            self._streamed.append(token)
            self._say(token, out)

    def _read_final(self, value: dict[str, Any], out: list[Event]) -> None:
        if self.complete:
            return
        text = repair(text_of(value.get("text")) or "")
        streamed = repair("".join(self._streamed))
        stopped = value.get("interrupted") is True
        if stopped and not text and not streamed:
            raise ServerError(
                "the server took a stop that was meant for an earlier message for one of this",
                retryable=True,
                retry_after=MARKER_LIFE,
            )
        self._settle(text, streamed, out)
        self._cite(value.get("webSources"), "uri", out)
        self._finish("unknown" if stopped else "stop", "interrupted" if stopped else None, out)

    def _settle(self, text: str, streamed: str, out: list[Event]) -> None:
        """Corrects what was streamed by the final text; what was said before a tool was used stays."""
        if text.startswith(streamed):
            self._say(text[len(streamed) :], out)
        elif self._tools and not text.startswith(streamed.rstrip()):
            # The final text has lost its blank end.
            if not streamed.rstrip().endswith(text.strip()):
                gap = "" if streamed.endswith("\n\n") or text.startswith("\n") else "\n\n"
                self._say(gap + text, out)
        elif text:
            said, final = _answer_in(streamed), _answer_in(text)
            self._tags = ThinkTags()  # what it holds back has been replaced, too
            if said != final:
                out.append(Replace(final))

    def _finish(self, reason: str, raw: str | None, out: list[Event]) -> None:
        self._flush(out)
        self.finish(reason, raw)
        if self._send is not None:
            out.append(Conversation(self._send.state))

    def _read_status(self, value: dict[str, Any], out: list[Event]) -> None:
        status = value.get("status")
        if status == "error" and not self.complete:
            message = text_of(value.get("message")) or "the service gave no reason"
            if message.startswith("No output was generated"):
                raise Truncated(message)
            if is_lost(message):
                raise ConversationLost(message, conversation=self._send.conversation if self._send else None)
            self.refuse({"error": {"message": message, "code": value.get("statusCode")}})
        if status == "finished":
            if not self.complete:
                self._read_early_end(out)
            self.end()

    def _read_early_end(self, out: list[Event]) -> None:
        """Takes a finished stream without a final answer: the model's server gave no reason for its end."""
        if self._ask_place:
            raise ServerError("a tool of the service wants to ask something, which cannot be answered", retryable=False)
        if not self._streamed:
            raise Truncated("the service finished without an answer")
        self._finish("unknown", None, out)

    def _read_reasoning(self, value: dict[str, Any], out: list[Event]) -> None:
        thought = (text_of(value.get("token")) or "").rstrip("\0")
        if thought and value.get("subtype") == "stream":
            out.append(Reasoning(thought))

    def _read_title(self, value: dict[str, Any], out: list[Event]) -> None:
        if title := repair(_MARKS.sub("", text_of(value.get("title")) or "")).strip():
            out.append(Title(title))

    def _read_file(self, value: dict[str, Any], out: list[Event]) -> None:
        name, media_type = text_of(value.get("name")), text_of(value.get("mime"))
        fetch = None
        if self._send is not None:
            kept = ("cookie", "user-agent", "accept-language", "accept-encoding")
            headers = {key: value for key, value in self._send.headers.items() if key in kept}
            url = f"{self._send.url}/output/{quote(value['sha'], safe='')}"
            fetch = Request("GET", url, {"accept": "*/*", **headers}, impersonate=self._send.impersonate)
        out.append(File(name, media_type, fetch.url if fetch else None, fetch=fetch))

    def _read_search(self, value: dict[str, Any], out: list[Event]) -> None:
        self._cite(value.get("sources"), "link", out)

    def _read_tool(self, value: dict[str, Any], out: list[Event]) -> None:
        self._tools = True

    def _read_route(self, value: dict[str, Any], out: list[Event]) -> None:
        self.model = text_of(value.get("model")) or self.model

    def _read_question(self, value: dict[str, Any], out: list[Event]) -> None:
        self._ask_place = value.get("subtype") == "request"

    def _cite(self, pages: Any, key: str, out: list[Event]) -> None:
        found: list[Event] = []
        for page in pages if isinstance(pages, list) else ():
            self._citations.add(page.get(key), page.get("title"), found)
        out += found[-1:]

    def _say(self, text: str, out: list[Event]) -> None:
        out += self._tags.split(text)

    def _flush(self, out: list[Event]) -> None:
        out += self._tags.close()

    _UPDATES: ClassVar[Mapping[str, Callable[["AnswerReader", dict[str, Any], list[Event]], None]]] = {
        "stream": _read_token,
        "finalAnswer": _read_final,
        "status": _read_status,
        "reasoning": _read_reasoning,
        "title": _read_title,
        "file": _read_file,
        "webSearch": _read_search,
        "tool": _read_tool,
        "routerMetadata": _read_route,
        "elicitation": _read_question,
    }


class ThinkTags:
    """Tells the reasoning between <think> and </think> from the answer around it; the tags may be cut anywhere."""

    def __init__(self) -> None:
        self._kind: type[Delta | Reasoning] = Delta
        self._held = ""

    def split(self, text: str) -> list[Event]:
        """Returns the events of a piece of the text; what may be the beginning of a tag is held back."""
        out: list[Event] = []
        text = self._held + text
        start = 0
        while (end := text.find(self._tag, start)) >= 0:
            if end > start:
                out.append(self._kind(text[start:end]))
            start = end + len(self._tag)
            self._kind = Reasoning if self._kind is Delta else Delta
        begun = text.rfind("<", start)
        whole = begun if begun >= 0 and self._tag.startswith(text[begun:]) else len(text)
        self._held = text[whole:]
        if whole > start:
            out.append(self._kind(text[start:whole]))
        return out

    @property
    def _tag(self) -> str:
        """The tag that ends what is being said."""
        return "<think>" if self._kind is Delta else "</think>"

    def close(self) -> list[Event]:
        """Takes the end of the text: what was held back is no tag."""
        held, self._held = self._held, ""
        return [self._kind(held)] if held else []


def _answer_in(text: str) -> str:
    """Returns a whole text without its reasoning."""
    tags = ThinkTags()
    return "".join(event.text for event in tags.split(text) + tags.close() if isinstance(event, Delta))
