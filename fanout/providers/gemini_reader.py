"""Reads what Gemini's streamGenerateContent answers."""

from collections.abc import Iterator, Mapping
from typing import Any

from fanout.abc import Head
from fanout.errors import InvalidRequest, ProviderError, ServerError
from fanout.events import Delta, Event, File, Reasoning, Usage
from fanout.providers.citations import Citations
from fanout.providers.gemini_calls import Calls
from fanout.providers.media import file_of_base64
from fanout.providers.reader import JsonReader, count_of, rows_of, text_of
from fanout.wire.faults import MESSAGE_LENGTH
from fanout.wire.json_text import excerpt, repair

_FILTERED = ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR")
_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(_FILTERED, "content_filter")}

_UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"

_NUMBERS = {
    **dict(enumerate(("STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"), 1)),
    6: "LANGUAGE or BLOCKLIST",
    7: "BLOCKLIST or PROHIBITED_CONTENT",
    8: "PROHIBITED_CONTENT or SPII",
    9: "SPII or MALFORMED_FUNCTION_CALL",
    10: "MALFORMED_FUNCTION_CALL or MODEL_ARMOR",
    11: "IMAGE_SAFETY",
    12: "UNEXPECTED_TOOL_CALL",
    13: "TOO_MANY_TOOL_CALLS",
    14: "IMAGE_PROHIBITED_CONTENT",
    15: "IMAGE_OTHER",
    16: "NO_IMAGE",
    17: "IMAGE_RECITATION",
}
"""Finish reasons by their numbers, which Google's clients ask for with `enum-encoding=int`.

From 6 to 10 the Gemini API and Vertex AI count differently (generativelanguage/v1beta/generative_service.proto and
aiplatform/v1/content.proto in googleapis/googleapis). 0 is what a field says that is not set.
"""

_FAILURES: dict[str, type[ProviderError]] = {
    "MALFORMED_FUNCTION_CALL": ServerError,
    "MALFORMED_RESPONSE": ServerError,
    "UNEXPECTED_TOOL_CALL": ServerError,
    "TOO_MANY_TOOL_CALLS": ServerError,
    "MISSING_THOUGHT_SIGNATURE": InvalidRequest,
}
"""The errors of an answer that ends so without any content.

It is not repeated: the tokens of its thoughts are paid for, and Google's own client, which does repeat it, asks with
another temperature then (google-gemini/gemini-cli, geminiChat.ts).
"""

_CODE = frozenset({"executableCode", "codeExecutionResult"})
"""Parts that tell of code which the service ran on its own, between the words of the answer; they are none of these."""

_KNOWN = _CODE | {
    *("text", "thought", "thoughtSignature", "functionCall", "inlineData", "fileData"),
    *("videoMetadata", "mediaResolution", "partMetadata"),
    *("functionResponse", "toolCall", "toolResponse"),  # of tools that the service ran
}
"""The fields that a part may have."""


class GeminiReader(JsonReader):
    """Reads the chunks of streamGenerateContent; candidates other than the first are ignored."""

    def __init__(self, head: Head, maker: Mapping[str, Any] | None = None) -> None:
        super().__init__(head, maker)
        self._tools = Calls(self)
        self._citations = Citations()
        self._counts: Any = None
        self._last: dict[str, Any] | None = None  # the last part, once code has been run
        self._pending: tuple[str, str] | None = None  # a finish that may be none
        self._said = ""

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one chunk, or of one whole answer."""
        if self.model is None:
            self.model = text_of(value.get("modelVersion"))
        try:  # nearly every chunk has one text and nothing else but counts
            (candidate,) = value["candidates"]
            (part,) = candidate["content"]["parts"]
            if (
                (len(candidate) == 1 or (len(candidate) == 2 and candidate["index"] == 0))
                and len(part) == 1
                and type(text := part["text"]) is str
                and self._last is None
                and not self.complete
            ):
                if text:
                    out.append(Delta(text))
                self._counts = value.get("usageMetadata") or self._counts
                return
        except (KeyError, TypeError, ValueError):
            pass
        self._read_chunk(value, out)

    def _read_chunk(self, value: dict[str, Any], out: list[Event]) -> None:
        candidates = value.get("candidates")
        if candidates:
            for candidate in candidates:
                index = candidate.get("index")
                if not index or type(index) not in (int, float):
                    self._read_candidate(candidate, out)
        elif feedback := value.get("promptFeedback"):
            self._read_feedback(feedback)
        counts = value.get("usageMetadata")
        self._counts = _merge(self._counts, counts) if self.complete else counts or self._counts

    def rest(self, out: list[Event], /) -> list[Event]:
        """Every chunk counts all tokens so far; the last one's are told. Raises the failure that an empty answer is."""
        if self._pending and not self.complete:
            self.finish(*self._pending)
        if self.complete:
            self._tools.end(out, is_whole=self._reason == "stop")
        if isinstance(self._counts, dict):
            self.count(_usage(self._counts), out)
        if (kind := _FAILURES.get(self._raw or "")) and not self._has_come(out):
            self.complete = False
            words = f"{self._raw}: {self._said}" if self._said else f"the service ended with {self._raw}"
            raise kind(words, retryable=False)
        if self.complete and self._last is not None and not self._has_come(out):
            self.note("the answer has nothing but code that the service ran")
        return out

    def _read_candidate(self, candidate: dict[str, Any], out: list[Event]) -> None:
        content = candidate.get("content") or {}
        for part in content.get("parts") or ():
            if isinstance(part, dict):
                self._read_part(part, out)
        if self._last is not None:
            parts = [part for part in rows_of(content.get("parts")) if part.get("text") != ""]
            self._last = [self._last, *parts][-1]
        self._read_ending(candidate, out)

    def _read_part(self, part: dict[str, Any], out: list[Event]) -> None:
        thought = part.get("thought")
        if text := text_of(part.get("text")):
            out.append(Reasoning(text) if thought else Delta(text))
        signature = text_of(part.get("thoughtSignature"))
        if isinstance(call := part.get("functionCall"), dict):  # also beside a text (NousResearch/hermes-agent#109862)
            self._tools.read(call, out, signature)
        elif signature:
            self._read_signature(part, signature, text or "", out)
        if not thought:  # else it is a picture on the way to the one that is the answer
            self._read_file(part, out)
        if not _CODE.isdisjoint(part):
            self._last = part
        if unknown := part.keys() - _KNOWN:
            self.note(f"the answer has a part that is not known: {', '.join(sorted(unknown))}")

    def _read_signature(self, part: dict[str, Any], signature: str, text: str, out: list[Event]) -> None:
        """Has the signature of a text or a thought go back with it, and that of an empty part alone.

        That of a file or of code which the service ran has nothing to go back with.
        """
        if part.get("thought"):
            self.keep({"thoughtSignature": signature, "thought": text}, out)
        elif text or (part.keys() <= {"text", "thoughtSignature"}):
            self.keep({"thoughtSignature": signature, "text": len(repair(text))}, out)

    def _read_file(self, part: dict[str, Any], out: list[Event]) -> None:
        if isinstance(blob := part.get("inlineData"), dict):
            self._add_file(file_of_base64(blob.get("data"), *_type_and_name(blob)), out)
        if isinstance(file := part.get("fileData"), dict):
            kind, name = _type_and_name(file)
            uri = text_of(file.get("fileUri"))
            self._add_file(File(name, kind, repair(uri)) if uri else None, out)

    def _add_file(self, file: File | None, out: list[Event]) -> None:
        if file is None:
            self.note("a file did not come: it has neither an address nor bytes that can be read")
        else:
            out.append(file)

    def _read_ending(self, candidate: dict[str, Any], out: list[Event]) -> None:
        """Reads what a candidate has besides its content: mostly at its end."""
        pages = [*_pages(candidate)]
        if pages:
            self._citations.add_all(pages, out)
        if "finishReason" in candidate:
            self._read_finish(candidate["finishReason"], text_of(candidate.get("finishMessage")))

    def _read_finish(self, value: Any, said: str | None) -> None:
        """A finish reason ends the answer, unless it stands after code that was run: then the model goes on.

        Even a whole answer may end with code; so that such a finish counts when the stream has ended, as one does that
        says nothing (0xPlaygrounds/rig#2328).
        """
        raw = _NUMBERS.get(value, str(value or "")) if type(value) is int else text_of(value)
        if not raw:
            return
        reasons = {_REASONS.get(name, "unknown") for name in raw.split(" or ")}
        reason = reasons.pop() if len(reasons) == 1 else "unknown"
        reason = "content_filter" if raw.startswith("IMAGE_") else reason
        if said and reason != "stop":
            self._said = excerpt(said, MESSAGE_LENGTH)
            self.note(f"the service says: {said}")
        ran = self._last is not None and not _CODE.isdisjoint(self._last)
        if raw == _UNSPECIFIED or (ran and reason == "stop"):
            self._pending = reason, raw
        else:
            self.finish(reason, raw)

    def _read_feedback(self, feedback: dict[str, Any]) -> None:
        """A prompt that was blocked has no candidates, and a reason in their place."""
        reason = feedback.get("blockReason")
        name = text_of(str(reason)) if type(reason) is int and reason else text_of(reason)
        if name and not name.endswith("_REASON_UNSPECIFIED"):
            self.finish("content_filter", name)
            if said := text_of(feedback.get("blockReasonMessage")):
                self.note(f"the service says: {said}")


def _type_and_name(file: dict[str, Any]) -> tuple[str | None, str | None]:
    kind, name = text_of(file.get("mimeType")), text_of(file.get("displayName"))
    return kind and repair(kind), name and repair(name)


def _pages(candidate: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The pages, maps and documents that an answer rests on, as address and title.

    They are what it is grounded on (`groundingMetadata`), what it quotes (`citationMetadata`, as the Gemini API and as
    Vertex AI have it), and what it has read (`urlContextMetadata`).
    """
    grounding, citing, reading = (
        found if isinstance(found := candidate.get(name), dict) else {}
        for name in ("groundingMetadata", "citationMetadata", "urlContextMetadata")
    )
    for chunk in rows_of(grounding.get("groundingChunks")):
        for page in rows_of(list(chunk.values())):
            yield page.get("uri"), page.get("title")
    for page in (*rows_of(citing.get("citationSources")), *rows_of(citing.get("citations"))):
        yield page.get("uri"), page.get("title")
    for page in rows_of(reading.get("urlMetadata")):
        if page.get("urlRetrievalStatus") in ("URL_RETRIEVAL_STATUS_SUCCESS", 1):
            yield page.get("retrievedUrl"), None


_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "thoughtsTokenCount",
)
"""The counts that are told. Of others a service may have a new one in every chunk."""


def _merge(counts: Any, more: Any) -> Any:
    """The counts after the end, where a service may leave out some, or write 0."""
    if not isinstance(more, dict) or not isinstance(counts, dict):
        return more if isinstance(more, dict) else counts
    return {name: more.get(name) or counts[name] for name in _COUNTS if more.get(name) or name in counts}


def _usage(value: dict[str, Any]) -> Usage:
    """Most counts are there only if there is something to count."""
    usage = Usage(count_of(value.get("promptTokenCount")), count_of(value.get("candidatesTokenCount")))
    if "cachedContentTokenCount" in value:
        usage.cached = count_of(value["cachedContentTokenCount"])
    if "toolUsePromptTokenCount" in value and (tools := count_of(value["toolUsePromptTokenCount"])) is not None:
        usage.input = (usage.input or 0) + tools
    if "thoughtsTokenCount" in value and (thoughts := count_of(value["thoughtsTokenCount"])) is not None:
        usage.reasoning = thoughts
        usage.output = (usage.output or 0) + thoughts
    return usage
