"""Reads OpenAI's Responses: what the events and the whole items mean, whichever of them tells it first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fanout.abc import Head
from fanout.errors import ServerError, Truncated
from fanout.events import Delta, Event, Reasoning, Refusal, Usage
from fanout.providers.citations import Citations
from fanout.providers.reader import JsonReader, count_of, rows_of, text_of
from fanout.providers.responses_calls import ACTIONS, Calls
from fanout.providers.responses_files import FileRequest, Files
from fanout.providers.responses_items import CALLS, Item, Items, Row, data_to_keep

Words = type[Delta | Reasoning | Refusal]
Form = tuple[str, str, str, Words]
"""Of a text: the type of its item, its family, the field with its index in the family, and what it is."""

_TEXT: Form = ("message", "text", "content_index", Delta)
_REFUSAL: Form = ("message", "refusal", "content_index", Refusal)
_THOUGHT: Form = ("reasoning", "content", "content_index", Reasoning)
_SUMMARY: Form = ("reasoning", "summary", "summary_index", Reasoning)

_PIECES: dict[Any, Form] = {
    "response.output_text.delta": _TEXT,
    "response.refusal.delta": _REFUSAL,
    "response.reasoning_text.delta": _THOUGHT,
    "response.reasoning_summary_text.delta": _SUMMARY,
    # Older names of OpenAI's, and those that gateways still write.
    "response.reasoning.delta": _THOUGHT,
    "response.reasoning_content.delta": _THOUGHT,
    "response.reasoning_summary.delta": _SUMMARY,
}

_WHOLES: dict[Any, tuple[Form, str]] = {
    "response.output_text.done": (_TEXT, "text"),
    "response.refusal.done": (_REFUSAL, "refusal"),
    "response.reasoning_text.done": (_THOUGHT, "text"),
    "response.reasoning_summary_text.done": (_SUMMARY, "text"),
    "response.reasoning.done": (_THOUGHT, "text"),
    "response.reasoning_summary.done": (_SUMMARY, "text"),
}

_PARTS: dict[Any, Form] = {"reasoning_text": _THOUGHT, "summary_text": _SUMMARY, "refusal": _REFUSAL}
"""The form of a part by its type; of every other type it is the text, if there is one."""

_ENDS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""The status of a response that has none itself, by the event that ends the stream."""

_ARGUMENTS: dict[Any, tuple[str, str]] = {
    "response.function_call_arguments.delta": ("function_call", "delta"),
    "response.function_call_arguments.done": ("function_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "delta"),
    "response.custom_tool_call_input.done": ("custom_tool_call", "input"),
}

_OWN = frozenset(
    {
        *("file_search_call", "mcp_call", "mcp_list_tools", "mcp_approval_response", "tool_search_call"),
        *("compaction", "program", "additional_tools"),
        *("x_search_call", "code_execution_call", "view_image_call", "view_x_video_call"),  # xAI
    }
)
"""Items of the service's own: what it ran, found or packed up. They are no part of the answer by themselves."""

_FINISHES = {
    "completed": "stop",
    "complete": "stop",
    "stop": "stop",  # LiteLLM has the reason of the chat here (BerriAI/litellm#15714)
    "tool_calls": "stop",
    "length": "length",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
"""Reasons of ours by a response's status, or by the reason why it is incomplete."""

# The codes of a failed response that are known to no other service, by the code that means the same everywhere.
_CODES = {
    "vector_store_timeout": "timeout_error",
    "server_is_overloaded": "overloaded_error",
    "slow_down": "rate_limit_exceeded",
    **dict.fromkeys(
        (
            *("data_residency_mismatch", "bio_policy", "misalignment_policy_violation"),
            *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url"),
            *("invalid_image_mode", "image_too_large", "image_too_small", "image_parse_error"),
            *("image_content_policy_violation", "image_file_too_large", "unsupported_image_media_type"),
            *("empty_image_file", "failed_to_download_image", "image_file_not_found"),
            *("content_filter", "moderation_blocked"),
        ),
        "invalid_prompt",
    ),
}

_NOTHING: tuple[str, Any, str, Any, list[str], Words] = ("", "", "type", "", [], Delta)


class ResponsesReader(JsonReader):
    """Reads Responses, item by item: what the deltas did not bring is taken from whatever tells it whole first.

    `asked` is the body of the request: a call of a custom tool that it does not have is one that the service has made
    and answered itself. `file_request` makes the request that gets a file of a container, by the ids of both.
    """

    def __init__(
        self,
        head: Head,
        asked: bytes = b"",
        file_request: FileRequest | None = None,
        maker: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(head, maker)
        self._items = Items()
        self._keeping = False  # a reasoning goes back, and so the ids of what it led to
        self._tools = Calls(self, asked)
        self._files = Files(self, file_request)
        self._citations = Citations()
        # The text that is coming: the type and item of its events, its index among the texts of the item, its pieces.
        self._now = _NOTHING

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one event of the stream; those of an unknown type have none."""
        kind = value.get("type")
        if form := _PIECES.get(kind):
            self._read_piece(value, form, out)
        elif kind in _WHOLES:
            form, name = _WHOLES[kind]
            if whole := text_of(value.get(name)):
                self._tell(self._item_of(value, form[0]), form, [(_index(value.get(form[2])), whole)], out)
        elif kind in _ARGUMENTS:
            kind, name = _ARGUMENTS[kind]
            if text := text_of(value.get(name)):
                self._tools.add(self._item_of(value, kind), text, out, whole=name != "delta")
        elif kind in _ENDS:
            self._read_response(value["response"], _ENDS[kind], out)
            self.end()
        else:
            self._read_other(kind, value, out)

    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        """The same for a whole response in one JSON document."""
        if "output" in value:
            self._read_response(value, value.get("status"), out)
        else:
            self.read(value, out)

    def refuse(self, value: object, *, named: bool = False) -> None:
        """Raises the error that `value` is, if it is one."""
        super().refuse(_translate_code(value), named=named)

    def _take(self, frames: list[Any], read: Callable[[dict[str, Any], list[Event]], None], out: list[Event]) -> None:
        """Takes more of the text that is coming without a call for each piece, and all else as every reader does."""
        kind, item, place, index, pieces, words = self._now
        for value in frames:
            try:
                if (
                    value["type"] == kind
                    and value["item_id"] == item
                    and value[place] == index
                    and type(text := value["delta"]) is str
                    and text
                    and "error" not in value
                ):
                    pieces.append(text)  # nearly always
                    out.append(words(text))
                    continue
            except (KeyError, TypeError):
                pass
            super()._take([value], read, out)
            if self._over or self._error:
                break
            kind, item, place, index, pieces, words = self._now

    def _read_other(self, kind: Any, value: dict[str, Any], out: list[Event]) -> None:
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._read_model(value.get("response"))
            case "response.output_item.added" | "response.output_item.done":
                self._read_item_event(value, out, added=kind.endswith("added"))
            case "response.content_part.done" | "response.reasoning_summary_part.done" | "response.reasoning_part.done":
                self._read_part_event(value, out)
            case "response.output_text.annotation.added":
                self._cite(rows_of([value.get("annotation")]), out)
            case "error" | "response.error":
                self.refuse(value, named=True)

    def _read_model(self, response: Any) -> None:
        if isinstance(response, dict):
            self.model = self.model or text_of(response.get("model"))

    def _item_of(self, value: dict[str, Any], kind: str) -> Item:
        """The item of this type that an event of a text or of arguments names."""
        return self._items.of_piece(kind, text_of(value.get("item_id")), _place(value))

    def _read_piece(self, value: dict[str, Any], form: Form, out: list[Event]) -> None:
        if not (text := text_of(value.get("delta"))):
            return
        kind, family, place, words = form
        pieces = self._item_of(value, kind).part(family, _index(value.get(place))).pieces
        pieces.append(text)
        out.append(words(text))
        if "item_id" in value:
            place = place if place in value else "item_id"
            self._now = (value["type"], value["item_id"], place, value[place], pieces, words)

    def _tell(
        self, item: Item, form: Form, wholes: Sequence[tuple[int, str]], out: list[Event], *, all_of_it: bool = False
    ) -> None:
        """Appends what is missing of whole texts of one form, each with its index.

        Where other words came before, they are kept, and nothing is added that may repeat them.
        """
        _, family, _, words = form
        new = item.take(family, wholes, all_of_it=all_of_it)
        if new is not None:
            out += map(words, new)
        elif not self._json.halves:  # a text that was cut within a character looks different
            self.note(f"the service ended a {item.kind} with another text than came before, which is kept")

    def _read_part_event(self, value: dict[str, Any], out: list[Event]) -> None:
        """A part of a message's content, of a reasoning's content or of its summary is done."""
        part = value["part"]
        if not isinstance(part, dict):
            return
        form = _PARTS.get(part.get("type"), _TEXT)
        if form is _TEXT and self._items.knows("reasoning", text_of(value.get("item_id"))):
            form = _THOUGHT
        item = self._item_of(value, form[0])
        self._read_parts(item, form, {_index(value.get(form[2])): part}, out)

    def _read_parts(
        self, item: Item, usual: Form, parts: Mapping[int, Any], out: list[Event], *, all_of_it: bool = False
    ) -> None:
        """The parts of a content by their indexes; a part is of the usual form if its type says nothing else."""
        texts: dict[Form, list[tuple[int, str]]] = {}
        for index, part in parts.items():
            if not isinstance(part, dict):
                continue
            form = _PARTS.get(part.get("type"), usual)
            for name, found in (("text", usual if form is _REFUSAL else form), ("refusal", _REFUSAL)):
                if text := text_of(part.get(name)):
                    texts.setdefault(found, []).append((index, text))
            if "text" not in part and "refusal" not in part:
                self.note(f"the answer has a part that is not known: {part.get('type')}")
        for form, wholes in texts.items():
            self._tell(item, form, wholes, out, all_of_it=all_of_it)
        self._cite([row for part in rows_of([*parts.values()]) for row in rows_of(part.get("annotations"))], out)

    def _read_item_event(self, value: dict[str, Any], out: list[Event], *, added: bool) -> None:
        row = value["item"]
        if not isinstance(row, dict) or not text_of(row.get("type")):
            return
        item = self._items.of_event(row, _place(value), added=added)
        self._now = _NOTHING  # another item may have the same id
        if added:
            item.first = item.first or row
            if item.kind in CALLS:
                self._tools.begin(item, row, out)
        else:
            self._read_item(item, row, out)
            self._keep_item(item, row, out)

    def _keep_item(self, item: Item, row: Row, out: list[Event]) -> None:
        """Has the service get an item back, unless there is nothing of it that it needs."""
        if not item.kept and (data := data_to_keep(item.kind, row, thought=self._keeping)):
            item.kept = True
            self._keeping = self._keeping or item.kind == "reasoning"
            self.keep(data, out)

    def _read_item(self, item: Item, row: Row, out: list[Event]) -> None:
        """A whole item, as its own event, the output or at worst its beginning tells it."""
        match item.kind:
            case "message":
                self._read_parts(item, _TEXT, _number_parts(row.get("content")), out, all_of_it=True)
            case "reasoning":
                self._read_parts(item, _SUMMARY, _number_parts(row.get("summary")), out, all_of_it=True)
                self._read_parts(item, _THOUGHT, _number_parts(row.get("content")), out, all_of_it=True)
            case "function_call" | "custom_tool_call":
                self._tools.read(item, row, out)
            case "image_generation_call":
                self._files.read_picture(item, row, out)
            case "code_interpreter_call":
                self._files.read_drawings(item, row, out)
            case "web_search_call" | "search_results" | "fetch_url_results":
                self._citations.add_all(_pages(row), out)
            case kind if kind in ACTIONS:
                self._tools.act(item, row, out)
            case kind if kind not in _OWN and not kind.endswith("_output"):
                self.note(f"the answer has an item that is not known: {kind}")

    def _cite(self, annotations: Sequence[Row], out: list[Event]) -> None:
        """Pages that are cited become sources, and files that the service's code has written files of the answer."""
        pages: list[tuple[Any, Any]] = []
        for annotation in annotations:
            if annotation.get("type") == "url_citation":
                page = annotation.get("url_citation")
                page = page if isinstance(page, dict) else annotation
                pages.append((page.get("url"), page.get("title")))
            elif annotation.get("type") == "container_file_citation":
                self._files.read_citation(annotation, out)
        if pages:
            self._citations.add_all(pages, out)

    def _read_response(self, response: dict[str, Any], status: Any, out: list[Event]) -> None:
        """The whole response: what of it did not come before, its counts, and how it ended."""
        self._read_model(response)
        rows = response.get("output") or ()
        for item, row in self._items.match([row for row in rows if isinstance(row, dict) and text_of(row.get("type"))]):
            self._read_item(item, row, out)
            self._keep_item(item, row, out)
        for item in self._items.all:
            self._read_beginning(item, out)
        messages = (item for item in self._items.all if item.kind == "message")
        if (text := text_of(response.get("output_text"))) and all(item.is_empty for item in messages):
            out.append(Delta(text))
        self._citations.add_all(_read_pages(response.get("citations")), out)
        if isinstance(usage := response.get("usage"), dict):
            self.count(_usage(usage), out)
        if self._items.all and not self._has_come(out):
            kinds = dict.fromkeys(item.kind for item in self._items.all)
            self.note(f"the answer has nothing but {', '.join(kinds)}")
        self._finish(response, text_of(response.get("status")) or status, out)

    def _read_beginning(self, item: Item, out: list[Event]) -> None:
        """Reads what only the beginning of an item told: some services say nothing of it later."""
        if item.first is not None and item.is_empty:
            self._read_item(item, item.first, out)
        if item.kind in CALLS:
            self._tools.end(item, out)

    def _finish(self, response: dict[str, Any], status: Any, out: list[Event]) -> None:
        """Ends as the response says it ended, whatever its event is called: vLLM calls every end completed."""
        details = response.get("incomplete_details")
        reason = text_of(details.get("reason")) if isinstance(details, dict) else None
        if status in ("failed", "cancelled"):
            self.refuse({"error": response.get("error")})
            raise ServerError(f"the response is {status}")
        if status in ("in_progress", "queued"):
            if out or self._came or not self._body.is_document:
                raise Truncated(f"the answer ends while its response is {status}")
        elif status == "incomplete" or (status == "completed" and reason):
            self.finish(_FINISHES.get(reason or "", "unknown"), reason or status)
        elif status is not None:
            self.finish(_FINISHES.get(status, "unknown"), status)


def _place(value: Row) -> int | None:
    """The item's place in the output, if the event tells it."""
    index = value.get("output_index")
    return index if type(index) is int else None


def _index(value: Any) -> int:
    """The index of a text among those of its family; where a service tells none, there is one."""
    return value if type(value) is int else 0


def _number_parts(parts: Any) -> dict[int, Any]:
    """The parts of a content by their indexes. A text alone is one part."""
    if isinstance(parts, str):
        parts = [{"text": parts}]
    return dict(enumerate(parts)) if isinstance(parts, list) else {}


def _pages(row: Row) -> Iterator[tuple[Any, Any]]:
    """The pages that a search found, as address and title, if it tells them."""
    action = row.get("action")
    found = action.get("sources") if isinstance(action, dict) else row.get("results") or row.get("contents")
    return ((page.get("url"), page.get("title")) for page in rows_of(found))


def _read_pages(pages: Any) -> Iterator[tuple[Any, Any]]:
    """The pages in a list beside the output, as addresses or objects."""
    for page in pages if isinstance(pages, list) else ():
        yield (page.get("url"), page.get("title")) if isinstance(page, dict) else (page, None)


def _translate_code(value: object) -> object:
    if not isinstance(value, dict):
        return value
    inner = value.get("error")
    inner = inner if isinstance(inner, dict) else value
    code = _CODES.get(text_of(inner.get("code")) or "")
    return {"error": {**inner, "code": code}} if code else value


def _usage(value: dict[str, Any]) -> Usage:
    return Usage(
        input=count_of(value.get("input_tokens")),
        output=count_of(value.get("output_tokens")),
        cached=_detail(value.get("input_tokens_details"), "cached_tokens"),
        reasoning=_detail(value.get("output_tokens_details"), "reasoning_tokens"),
    )


def _detail(details: Any, name: str) -> int | None:
    return count_of(details.get(name)) if isinstance(details, dict) else None
