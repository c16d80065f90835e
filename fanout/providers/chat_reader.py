"""Reads the answers of Chat Completions, in the dialects of all the services that speak it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fanout.abc import Head
from fanout.errors import Overloaded, ProtocolError, ProviderError, ServerError, TimedOut
from fanout.events import Delta, Event, File, Reasoning, Refusal, ToolCall, Usage
from fanout.providers.chat_calls import Calls, Piece
from fanout.providers.chat_details import NAMES, Details
from fanout.providers.chat_files import Sound, picture_of
from fanout.providers.citations import Citations
from fanout.providers.reader import JsonReader, count_of, text_of
from fanout.wire.json_text import encode, show

MAX_CHOICES = 1024
"""Choices in one event; no service makes more than 128 for a request."""

_REASONS = {
    **dict.fromkeys(
        # Together and Hugging Face (eos, eos_token); Ollama's cloud (end: earendil-works/pi, mapStopReason); gateways
        # that pass on the words of Gemini, Anthropic and Cohere (BerriAI/litellm, core_helpers.py).
        ("stop", "eos", "eos_token", "end", "STOP", "end_turn", "stop_sequence", "COMPLETE"),
        "stop",
    ),
    **dict.fromkeys(
        # Mistral (model_length); GLM (model_context_window_exceeded); Anthropic and Gemini through gateways. An answer
        # that was cut off because it repeated itself is not whole either: Xiaomi's MiMo (repetition_truncation), vLLM.
        (
            *("length", "model_length", "model_context_window_exceeded", "max_tokens", "MAX_TOKENS"),
            *("max_output_tokens", "repetition_truncation", "repetition"),
        ),
        "length",
    ),
    **dict.fromkeys(("tool_calls", "function_call", "tool_call", "tool_use", "TOOL_CALL"), "tool_calls"),
    **dict.fromkeys(
        # GLM (sensitive); Gemini's own endpoint for this wire passes on its words (HKUDS/Vibe-Trading#308); Anthropic
        # (refusal) and Bedrock through gateways (BerriAI/litellm, core_helpers.py).
        (
            *(
                "content_filter",
                "sensitive",
                "safety",
                "SAFETY",
                "RECITATION",
                "LANGUAGE",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
            ),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
            *("refusal", "content_filtered", "guardrail_intervened"),
        ),
        "content_filter",
    ),
}
"""The names that services give to the end of an answer."""

_FAILURES: dict[str, Callable[[str], ProviderError]] = {
    "error": ServerError,  # Mistral, OpenRouter, vLLM
    "ERROR": ServerError,  # Cohere through gateways
    "network_error": ServerError,  # GLM: the inference failed
    "abort": ServerError,  # vLLM (vllm-project/vllm#57082), SGLang (sgl-project/sglang#19357), GLM
    "aborted": ServerError,
    "timeout": TimedOut,
    "insufficient_system_resource": Overloaded,  # DeepSeek
}
"""The words that services write in the place of a reason when an answer broke off."""

_OTHER_THOUGHTS = (
    "reasoning_details",  # OpenRouter, MiniMax: a list of parts
    "reasoning_text",  # GitHub Copilot (karthink/gptel#1384)
    "reasoning_summary",  # langgenius/dify-official-plugins#3382
    "thinking",
    "thinking_blocks",  # LiteLLM: a list of parts
)
"""The names under which a delta or a message may hold its reasoning, besides the two common ones."""

_PARTS = ("text", "summary", "thinking", "reasoning", "content")
"""The text of a part of reasoning, or its further parts: OpenRouter, Mistral, Databricks (earendil-works/pi#7062)."""

_CHUNK_PAGES = (
    "citations",  # Perplexity, xAI: addresses
    "search_results",  # Perplexity: with titles
    "references",  # Volcengine's bots, which repeat the role in every delta
    "web_search",  # GLM, which does so too; its key is `link`
)
"""The names under which a chunk holds the pages that its answer rests on."""

_PAGES = (
    "annotations",  # OpenAI, OpenRouter
    "citations",
    "executed_tools",  # Groq: with the results of each search
)
"""The names under which a delta, a message or a part holds them."""

_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
"""The fields in which DeepSeek, Moonshot and Mistral count cached input, besides the usual one."""

_INDEX = re.compile("[0-9]{1,9}")
"""An index that is written as a text."""

# What is looked for only where any of it is.
_THOUGHTS = frozenset(_OTHER_THOUGHTS)
_RARE_PAGES = frozenset(_CHUNK_PAGES)
_RARE = frozenset({"images", "audio", "function_call", *_PAGES, *NAMES})


class ChatReader(JsonReader):
    """Reads Chat Completions in every dialect; choices other than the first are ignored."""

    done_ends = True
    repeats = True

    def __init__(self, head: Head, maker: Mapping[str, Any] | None = None) -> None:
        super().__init__(head, maker)
        self._texted = False  # text came by a delta with nothing else
        self._kinds: set[type] = set()  # what came otherwise
        self._messages: list[Any] = []
        self._choices: object = None  # those of the chunk that held the messages
        self._pieces = Calls()
        self._sound = Sound()
        self._spoken = False  # the text is the transcript of the sound
        self._details = Details()
        self._citations = Citations()
        self._cited: dict[str, Any] = {}
        self._timings: Any = None
        self._counted = False

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one chunk, or of one whole completion."""
        if self.model is None:
            self.model = text_of(value.get("model"))
        choices = value.get("choices")
        plain = True
        if not choices:
            self.refuse(value)  # an error without the key "error", as vLLM sends it
            plain = False
        if choices and len(choices) > MAX_CHOICES:
            raise ProtocolError(f"more than {MAX_CHOICES} choices in one event")
        for choice in choices or ():
            if (index := choice.get("index")) and _is_other(index):
                continue
            delta = choice.get("delta")
            if delta and len(delta) == 1 and type(content := delta.get("content")) is str:
                # Nearly every chunk of nearly every service.
                if content:
                    self._texted = True
                    out.append(Delta(content))
            else:
                plain = False
                if delta:
                    self._read_delta(delta, out)
            if "message" in choice or "usage" in choice or "error" in choice:
                self._read_beside_delta(choice, choices, out)
            if raw := choice.get("finish_reason"):
                self._read_finish(raw)
        if usage := value.get("usage"):
            self._read_usage(usage, out)
        if "timings" in value:
            self._timings = value["timings"]
        # One by one, because that takes less time than to look for any of a set; and for what is rare, not everywhere.
        if "citations" in value or "search_results" in value or not (plain or _RARE_PAGES.isdisjoint(value)):
            self._cite(value, _CHUNK_PAGES, out)
        if "x_groq" in value or "base_resp" in value:
            self._read_aside(value, out)

    def rest(self, out: list[Event], /) -> list[Event]:
        """Returns `out` with what the end completes: nameless calls, the sound, the message, details, the timings.

        Of a whole message counts what did not come by delta: some services send both.
        """
        for piece in self._pieces.rest():
            self._tell(piece, out)
        came = {*self._kinds, Delta} if self._texted else {*self._kinds}
        for message in self._messages:
            self._read_message(message, came, out)
        if self._sound and (file := self._sound.file()):
            out.append(file)
        if self.complete and (details := self._details.data()):
            self.keep(details, out)
        if isinstance(self._timings, dict) and not self._counted:
            self.count(_count_processed(self._timings), out)
        return out

    def _read_message(self, message: dict[str, Any], came: set[type], out: list[Event]) -> None:
        if ToolCall in came:  # a call that is told of twice must not be counted twice either
            message = {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}
        whole: list[Event] = []
        self._read_delta(message, whole, whole=True)
        out += [event for event in whole if type(event) not in came]

    def _read_beside_delta(self, choice: dict[str, Any], choices: object, out: list[Event]) -> None:
        if message := choice.get("message"):
            # The message of a later chunk replaces that of an earlier one; several in one chunk hold a part each.
            if choices is not self._choices:
                self._messages, self._choices = [], choices
            self._messages.append(message)
        if usage := choice.get("usage"):  # Moonshot
            self._read_usage(usage, out)
        if choice.get("error"):  # OpenRouter: its code tells the kind
            self.refuse(choice)

    def _read_aside(self, value: dict[str, Any], out: list[Event]) -> None:
        if isinstance(extra := value.get("x_groq"), dict):
            self._read_usage(extra.get("usage"), out)
            self.refuse(extra)
        if "base_resp" in value:  # MiniMax, in the last chunk of an answer too
            self.refuse(value)

    def _read_usage(self, usage: Any, out: list[Event]) -> None:
        if usage and isinstance(usage, dict):
            self._counted = True
            self.count(_usage(usage), out)

    def _read_finish(self, raw: object) -> None:
        if raw == "null":  # KoboldCpp until March 2025, in every chunk (PowerShell/AIShell#350)
            return
        if not isinstance(raw, str):
            self.finish("unknown")
            return
        if (failure := _FAILURES.get(raw)) is not None:
            raise failure(f"the service broke off: {raw}")
        self.finish(_REASONS.get(raw, "unknown"), raw)

    def _read_delta(self, delta: dict[str, Any], out: list[Event], *, whole: bool = False) -> None:
        """Appends what a delta holds, or, if it is `whole`, a message."""
        thought = delta.get("reasoning_content") or delta.get("reasoning")  # both hold the same where there are both
        if type(thought) is not str:
            thought = _words(thought) if _THOUGHTS.isdisjoint(delta) else _words(thought) or _find_thought(delta)
        if thought:
            self._kinds.add(Reasoning)
            out.append(Reasoning(thought))
        content = delta.get("content")
        if type(content) is str:
            if content:
                self._kinds.add(Delta)
                out.append(Delta(content))
        elif content:
            self._read_parts(content, out)
        if refusal := delta.get("refusal"):
            self._add(Refusal, refusal, out)
        if calls := delta.get("tool_calls"):
            self._read_calls(calls, out, whole=whole)
        if not _RARE.isdisjoint(delta):
            self._read_rare(delta, out, whole=whole)

    def _read_rare(self, delta: dict[str, Any], out: list[Event], *, whole: bool) -> None:
        for name in NAMES:
            if delta.get(name):
                # A form that fits its text would be read without its other fields.
                self._repeats = None
                self._details.add(name, delta[name], whole=whole)
        for picture in _list(delta.get("images")):
            self._read_picture(picture, out)
        if isinstance(audio := delta.get("audio"), dict):
            self._read_audio(audio, out, whole=whole)
        self._cite(delta, _PAGES, out)
        call = delta.get("function_call")
        if call and not delta.get("tool_calls"):  # what there was before tool calls: one at most, without an id
            self._read_calls([{"index": 0, "function": call}], out, whole=whole)

    def _read_parts(self, parts: Any, out: list[Event]) -> None:
        """Appends what a list of parts holds. A part of a kind that is not known is noted, and costs no answer."""
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, str):
                part = {"type": "text", "text": part}  # noqa: PLW2901  # suitenumerique/conversations#411
            elif not isinstance(part, dict):
                self.note(f"a part of the answer is not known: a {type(part).__name__}")
                continue
            match part.get("type") or "text":
                case "text" | "output_text":
                    self._add(Delta, part.get("text"), out)
                    self._cite(part, _PAGES, out)
                case "thinking" | "reasoning":
                    self._add(Reasoning, _words(part), out)
                case "refusal":
                    self._add(Refusal, part.get("refusal"), out)
                case "image_url" | "image" | "output_image" | "file" | "document_url":
                    self._read_picture(part, out)
                case "audio" | "input_audio" | "output_audio" as kind:
                    inner = part.get(kind) or part.get("audio")
                    self._read_audio(inner if isinstance(inner, dict) else part, out, whole=False)
                case "reference":  # Mistral: numbers of documents that the caller has
                    pass
                case "tool_reference":  # Mistral: a page that its search has found
                    self._citations.add(part.get("url"), part.get("title"), out)
                case kind:
                    self.note(f"a part of the answer is not known: {show(kind, 200)}")

    def _add(self, kind: type[Delta | Reasoning | Refusal], text: Any, out: list[Event]) -> None:
        if isinstance(text, str) and text:
            self._kinds.add(kind)
            out.append(kind(text))

    def _read_picture(self, value: Any, out: list[Event]) -> None:
        if file := picture_of(value):
            self._kinds.add(File)
            out.append(file)
        else:
            self.note("a picture or file of the answer has a form that is not known")

    def _read_audio(self, audio: dict[str, Any], out: list[Event], *, whole: bool) -> None:
        """Takes a piece of sound; its transcript is the text of an answer that has no other."""
        if whole and self._sound:
            return
        # A form that fits by accident, with silence in it, would be read without its sound.
        self._repeats = None
        words, data = text_of(audio.get("transcript")), text_of(audio.get("data"))
        if words and not self._texted and (self._spoken or Delta not in self._kinds):
            self._spoken = True
            self._add(Delta, words, out)
        if data:
            self._sound.add(data)
        elif not words and audio.get("expires_at") and self._sound and not self.complete:
            self.finish("stop")  # some answers end with nothing but this (openai/openai-node#1991)

    def _cite(self, value: Mapping[str, Any], names: Iterable[str], out: list[Event]) -> None:
        """Takes the pages that are cited under any of these names, if they are others than before."""
        found: list[Any] = []
        for name in names:
            pages = value.get(name)
            # Perplexity repeats them in every chunk.
            if pages and isinstance(pages, list) and pages != self._cited.get(name):
                self._cited[name] = pages
                found += pages
        if found:
            self._citations.add_all(_pages(found), out)

    def _read_calls(self, calls: Any, out: list[Event], *, whole: bool) -> None:
        calls = calls if isinstance(calls, list) else [calls]
        for position, call in enumerate(calls):
            if type(call) is not dict:
                self._note_call(call)
                continue
            function = call.get("function")
            if type(function) is dict and not (whole or call.get("id") or function.get("name")):
                arguments = function.get("arguments")
                if type(arguments) is str and arguments:
                    own = self._pieces.go_on(call.get("index"), arguments)
                    if own is not None:
                        out.append(self.tool_call(own, None, None, arguments))  # nearly every piece
                        continue
            # Without an index, the place in a list of several is it.
            piece = _piece(call, position if len(calls) > 1 else None)
            begins = whole and (piece.id or piece.name)
            for placed in self._pieces.begin(piece) if begins else self._pieces.add(piece):
                self._tell(placed, out, call.get("extra_content"))

    def _note_call(self, call: Any) -> None:
        if call is not None:
            self.note(f"a tool call of the answer has a form that is not known: a {type(call).__name__}")

    def _tell(self, piece: Piece, out: list[Event], extra: Any = None) -> None:
        told = self.tool_call(piece.index, piece.id, piece.name, piece.arguments)
        if extra and isinstance(extra, dict):  # Gemini's signature (ai.google.dev/gemini-api/docs/thought-signatures)
            self.keep_with(told, {"extra_content": extra})
        if told.id or told.name or told.arguments:
            self._kinds.add(ToolCall)
            out.append(told)


def _piece(call: dict[str, Any], position: int | None) -> Piece:
    """A piece of a call of a function, or of a custom tool, whose input is any text."""
    index = call.get("index")
    if type(index) is not int:
        index = int(index) if isinstance(index, str) and _INDEX.fullmatch(index) else position
    function = next((found for key in ("function", "custom") if isinstance(found := call.get(key), dict)), call)
    arguments = function.get("arguments", function.get("input"))
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else encode(arguments)
    return Piece(index, text_of(call.get("id")), text_of(function.get("name")), arguments, "input" in function)


def _is_other(index: Any) -> bool:
    """True for the index of a choice other than the first; one that is no number tells nothing."""
    return type(index) is int or (isinstance(index, str) and _INDEX.fullmatch(index) is not None and int(index) > 0)


def _find_thought(delta: dict[str, Any]) -> str:
    """The reasoning in a delta that has it under another name, once: some services send it under two."""
    return next((words for name in _OTHER_THOUGHTS if (words := _words(delta.get(name)))), "")


def _words(value: Any) -> str:
    """The text in a text, a part or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_words, value))
    if isinstance(value, dict):
        return next((words for key in _PARTS if (words := _words(value.get(key)))), "")
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _pages(found: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """The pages in what services call citations, results and annotations, as (address, title)."""
    for page in found:
        if isinstance(page, str):
            yield page, None
        elif isinstance(page, dict):
            inner = page.get("url_citation")
            page = inner if isinstance(inner, dict) else page  # noqa: PLW2901
            yield page.get("url") or page.get("link"), page.get("title")
            results = page.get("search_results")  # of one of Groq's executed_tools
            yield from _pages(_list(results.get("results") if isinstance(results, dict) else results))


def _count_processed(timings: dict[str, Any]) -> Usage:
    """The tokens that llama.cpp has processed (tools/server/README.md): `cache_n` of the prompt were there already."""
    cached = count_of(timings.get("cache_n"))
    prompt = count_of(timings.get("prompt_n"))
    return Usage(
        input=None if prompt is None else prompt + (cached or 0),
        output=count_of(timings.get("predicted_n")),
        cached=cached,
    )


def _usage(value: dict[str, Any]) -> Usage:
    """The counts. A part that is larger than the whole, or that the total has beside it, is no part of it yet.

    xAI counts the reasoning beside the output (vercel/ai#12425), DeepInfra for some models; xAI the cached input too.
    """
    given, made = count_of(value.get("prompt_tokens")), count_of(value.get("completion_tokens"))
    cached, reasoning = _count_cached(value), _reasoning(value)
    if cached and given is not None and cached > given:
        given += cached
    if reasoning and made is not None:
        beside = given is not None and value.get("total_tokens") == given + made + reasoning
        if beside or reasoning > made:
            made += reasoning
    return Usage(given, made, cached, reasoning)


def _count_cached(value: dict[str, Any]) -> int | None:
    details = value.get("prompt_tokens_details")
    found = details.get("cached_tokens") if isinstance(details, dict) else None
    if found is None:
        found = next((count for name in _CACHED if (count := value.get(name)) is not None), None)
    return count_of(found)


def _reasoning(value: dict[str, Any]) -> int | None:
    details = value.get("completion_tokens_details")
    found = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return count_of(value.get("reasoning_tokens") if found is None else found)  # Perplexity has it beside the others
