"""Anthropic's Messages."""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from fanout.abc import Head, Provider, Reply, Request, SchemaForm
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError
from fanout.events import Delta, Event, Reasoning, Refusal, Usage
from fanout.prompt import Options, Prompt
from fanout.providers import terms
from fanout.providers.anthropic_messages import may_think, system_texts, turns_of
from fanout.providers.citations import Citations
from fanout.providers.reader import JsonReader, count_of, object_of, rows_of, text_of
from fanout.providers.schemas import SchemaPlace, find_next_place, form_of, tell
from fanout.wire.json_text import encode

BASE_URL = "https://api.anthropic.com"
"""Anthropic's own address."""

VERSION = "2023-06-01"
"""The version of the protocol that is asked for. The next, 2026-10-21, has lost temperature and top_p."""


@frozen
class Anthropic(Provider):
    """A service that speaks Messages.

    `key` goes as x-api-key, `token` in its place as a bearer's. `key_env` names the environment variables that may
    hold the key; they serve the message that there is none. `betas` are the features asked for by anthropic-beta.

    Every request must say `max_tokens`: that of this provider counts where the options say nothing, and any budget for
    thinking comes on top of it. All current models can answer at that length. System and developer messages, wherever
    they stand, become the system prompt. A message's `name` has no place on this wire. `schema_place` says where a
    schema goes.
    """

    model: str | None = None
    name: str = "anthropic"
    base_url: str = BASE_URL
    key: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ("ANTHROPIC_API_KEY",)
    needs_key: bool = True
    max_tokens: int = 8192
    version: str = VERSION
    betas: tuple[str, ...] = ()
    schema_place: SchemaPlace = "request"

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`.

        Raises AuthError without a key, InvalidRequest for an option or media that the wire cannot carry.
        """
        return terms.ask(self.base_url, "/v1/messages", self._headers(), self._body(prompt))

    def read(self, head: Head, request: Request | None = None) -> "MessagesReader":
        """Makes the Reader for a response with this head, whatever its status."""
        return MessagesReader(head, self.maker)

    def adapted(self, error: ProviderError) -> "Anthropic | None":
        """The same provider with a schema in the prompt, if `error` says that the service refuses it elsewhere."""
        place = find_next_place(error, self.schema_place, json_mode=False)
        return evolve(self, schema_place=place) if place else None

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return form_of(self.schema_place, enforced=self.base_url == BASE_URL)

    def models_request(self) -> Request:
        """The request that lists this service's models. Raises AuthError without a key."""
        # Without a limit there are only twenty.
        return terms.ask_for_models(self.base_url, "/v1/models?limit=1000", self._headers())

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        return terms.model_names(reply)

    def _headers(self) -> dict[str, str | Secret]:
        headers: dict[str, str | Secret] = {"anthropic-version": self.version}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        if self.token is not None:
            return {**headers, **terms.bearer(self.token)}
        terms.check_key(self.key, self.key_env, needed=self.needs_key)
        return headers if self.key is None else {**headers, "x-api-key": self.key}

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        given = {
            "model": self.model,
            "system": "\n\n".join(system_texts(prompt.messages)) or None,
            "stream": True,
            **self._options(prompt.options),
        }
        body = {**{name: value for name, value in given.items() if value is not None}, **prompt.options.body}
        thinking = object_of(body.get("thinking")).get("type")
        turns = list(turns_of(tell(prompt, self.schema_place).messages, None if thinking == "disabled" else self.maker))
        if thinking == "enabled" and not may_think(turns):
            del body["thinking"]
        return {"messages": turns, **body}

    def _options(self, options: Options) -> dict[str, Any]:
        terms.refuse(options, ("seed",), self.name)
        budget = options.reasoning_tokens
        length = self.max_tokens + (budget or 0) if options.max_tokens is None else options.max_tokens
        output = {
            "effort": options.reasoning,
            "format": self.schema_place == "request"
            and options.schema
            and {"type": "json_schema", "schema": options.schema},
        }
        return {
            "max_tokens": length,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop_sequences": list(options.stop) or None,
            "thinking": None if budget is None else _thinking(budget),
            "output_config": {name: value for name, value in output.items() if value} or None,
            "tools": [_tool(tool) for tool in options.tools] or None,
            "tool_choice": _tool_choice(options.tool_choice),
        }


def _thinking(budget: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if "function" not in tool:
        return tool
    function = dict(tool["function"])
    schema = function.pop("parameters", None) or {"type": "object", "properties": {}}
    return {**function, "input_schema": schema}


def _tool_choice(choice: str | Mapping[str, Any] | None) -> Any:
    if isinstance(choice, str):
        return {"type": "any" if choice == "required" else choice}
    if choice and "function" in choice:
        return {"type": "tool", "name": choice["function"]["name"]}
    return choice


_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "sensitive": "content_filter",  # earendil-works/pi, mapStopReason
}


# What the service does itself, or keeps to itself, on the way to the answer.
_PASSED = frozenset(
    {
        *("server_tool_use", "mcp_tool_use", "mcp_tool_result", "web_fetch_tool_result"),
        *("code_execution_tool_result", "bash_code_execution_tool_result", "tool_search_tool_result"),
        *("text_editor_code_execution_tool_result", "web_search_tool_result"),
    }
)


class MessagesReader(JsonReader):
    """Reads Messages by the type in the data: proxies drop the names of events."""

    repeats = True

    def __init__(self, head: Head, maker: Mapping[str, Any] | None = None) -> None:
        super().__init__(head, maker)
        self._signature: list[str] | None = None  # of the thoughts that are coming
        self._counts: dict[str, Any] = {}
        self._inputs: dict[int, str] = {}  # of each tool call, the input that no delta has replaced
        self._begun: dict[Any, tuple[int, Any]] = {}  # by a block's index, the index and the id of its tool call
        self._citations = Citations()

    def read(self, value: dict[str, Any], out: list[Event], /) -> None:
        """Appends the events of one event of the stream; those of an unknown type have none."""
        kind = value.get("type")
        if kind == "content_block_delta":
            delta = value["delta"] or {}
            if delta.get("type") != "text_delta":
                self._read_delta(value.get("index"), delta, out)
            elif (text := delta.get("text")) and isinstance(text, str):
                out.append(Delta(text))
            return
        match kind:
            case "content_block_start":
                self._read_block(value.get("index"), value["content_block"] or {}, out)
            case "content_block_stop":
                self._end_thought(out, followed=False)
                if begun := self._begun.get(value.get("index")):
                    self._read_inputs([begun[0]], out)
            case "message_start":
                self._read_message(object_of(value.get("message")), out)
            case "message_delta":
                self._read_stop(value["delta"] or {}, out)  # first: a refusal, which the counts are of, may be in it
                self._read_usage(value.get("usage"), out)
            case "message_stop":
                if not self.complete:
                    self.finish(self._reason or "unknown", self._raw)
                self.end()
            case "ping":
                pass
            case _:
                self.refuse(value)

    def document(self, value: dict[str, Any], out: list[Event], /) -> None:
        """The same for a whole message in one JSON document."""
        if "content" not in value:
            self.read(value, out)
            return
        for index, block in enumerate(value["content"]):
            self._read_block(index, block, out)
        self._read_inputs(list(self._inputs), out)
        self._read_stop(value, out)
        self._read_message(value, out)

    def _read_message(self, message: dict[str, Any], out: list[Event]) -> None:
        self.model = self.model or text_of(message.get("model"))
        self._read_usage(message.get("usage"), out)

    def _read_delta(self, index: Any, delta: dict[str, Any], out: list[Event]) -> None:
        kind = delta.get("type")
        if kind == "thinking_delta":
            if thinking := text_of(delta.get("thinking")):
                out.append(Reasoning(thinking))
        elif kind == "signature_delta":
            if signature := text_of(delta.get("signature")):
                self._signature = self._signature or []
                self._signature.append(signature)
        elif kind == "input_json_delta":
            piece, begun = text_of(delta.get("partial_json")), self._begun.get(index)
            if piece and begun:  # the inputs of the service's own tools are not ours to show
                self._inputs[begun[0]] = ""
                out.append(self.tool_call(begun[0], None, None, piece))
        elif kind == "citations_delta":
            self._citations.add_all([_page_of(object_of(delta.get("citation")))], out)

    def _read_block(self, index: Any, block: dict[str, Any], out: list[Event]) -> None:
        """A block begins, or is there as a whole."""
        self._end_thought(out, followed=True)
        kind = block.get("type")
        if kind == "text":
            if text := text_of(block.get("text")):
                out.append(Delta(text))
            self._citations.add_all(map(_page_of, rows_of(block.get("citations"))), out)
        elif kind == "thinking":
            self._signature = [text_of(block.get("signature")) or ""]
            if thinking := text_of(block.get("thinking")):
                out.append(Reasoning(thinking))
        elif kind == "redacted_thinking":
            if data := text_of(block.get("data")):
                self.keep({"type": kind, "data": data}, out)
        elif kind == "tool_use":
            self._begin_call(index, block, out)
        elif kind is not None and kind not in _PASSED:
            self.note(f"a part of the answer is a {kind}, which is not known")

    def _end_thought(self, out: list[Event], *, followed: bool) -> None:
        """Has thoughts go back that are whole: they are signed, or another block has followed.

        Some services sign nothing and want them back all the same; but what was cut off within a thought is refused.
        """
        if self._signature is not None and (followed or any(self._signature)):
            self.keep({"type": "thinking", "signature": "".join(self._signature)}, out)
            self._signature = None

    def _begin_call(self, index: Any, block: dict[str, Any], out: list[Event]) -> None:
        """Begins the tool call of a block; a gateway that begins anew in the middle gives its index to another call."""
        begun = self._begun.get(index)
        call = max(self._inputs) + 1 if begun and begun[1] != block.get("id") else index
        piece = self.tool_call(call, block.get("id"), block.get("name"), "")
        out += [piece] if piece.id or piece.name else []
        self._begun[index] = call, block.get("id")
        self._inputs[call] = encode(block.get("input") or {})

    def _read_inputs(self, indices: Iterable[Any], out: list[Event]) -> None:
        """The inputs that came with their blocks, or an empty one if none came at all."""
        for index in indices:
            if whole := self._inputs.get(index):
                self._inputs[index] = ""
                out.append(self.tool_call(index, None, None, whole))

    def _read_usage(self, usage: Any, out: list[Event]) -> None:
        """Every count is cumulative, and not all are said again."""
        if usage and isinstance(usage, dict):
            # A 0 after a count says only that it is not counted here (envoyproxy/ai-gateway#1631).
            self._counts.update({name: count for name, count in usage.items() if count or name not in self._counts})
            self.count(_usage(self._counts), out)

    def _read_stop(self, delta: dict[str, Any], out: list[Event]) -> None:
        raw = text_of(delta.get("stop_reason"))
        if raw is None:
            return
        self._end_thought(out, followed=False)
        self._read_inputs(list(self._inputs), out)
        if refusal := text_of(object_of(delta.get("stop_details")).get("explanation")):
            out.append(Refusal(refusal))
        self.finish(_REASONS.get(raw, "unknown"), raw)


def _usage(counts: dict[str, Any]) -> Usage:
    """Counts as input also tokens written to the cache or read from it, which `input_tokens` leaves out."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    inputs = [count for name in names if (count := count_of(counts.get(name))) is not None]
    return Usage(
        input=sum(inputs) if inputs else None,
        output=count_of(counts.get("output_tokens")),
        cached=count_of(counts.get("cache_read_input_tokens")),
        reasoning=count_of(object_of(counts.get("output_tokens_details")).get("thinking_tokens")),
    )


def _page_of(citation: dict[str, Any]) -> tuple[Any, Any]:
    return citation.get("url") or citation.get("source"), citation.get("title")
