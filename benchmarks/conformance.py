"""Runs the conformance cases against other clients.

Each client gets the bytes of each case once, cut as given, and is judged like our own code. Where judging could be hard
or easy on it, it is easy: an exception of the client's own that says no more than "something failed" counts as whatever
the case expects; the state of a framing (comments, last id, retry) counts as right; an event that says "failed" counts
as an error though nothing was raised. An exception of another package's type, e.g. a JSONDecodeError, fails the case,
since callers cannot know to catch it; these are listed apart, with those cases in which nothing else was wrong.
"""

import hashlib
import json
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, field

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.machine import arguments, conclude, facts, table, version
from tests.conformance.cases import PROJECT_FILE, Case, Cut, load, prefixes
from tests.conformance.judge import Got, judge
from tests.conformance.own import SUBJECTS
from tests.conformance.runner import Report, run
from tests.conformance.subjects import Subject, is_encodable
from tests.servers.http import read_request, serve

FORMATS = ("sse", "openai-chat", "openai-responses", "anthropic", "gemini-sse", "ollama", "cohere")
"""The formats that some peer reads."""

PATIENCE = 20.0
"""Seconds that a client gets for one case; none should need one."""

_QUESTION = [{"role": "user", "content": "?"}]

_MEANINGS = {
    "MidStreamFallbackError": set(),
    "AuthenticationError": {"auth"},
    "PermissionDeniedError": {"auth"},
    "RateLimitError": {"rate_limit", "quota", "overloaded"},
    "NotFoundError": {"not_found"},
    "BadRequestError": {"invalid_request"},
    "UnprocessableEntityError": {"invalid_request"},
    "OverloadedError": {"overloaded", "server"},
    "InternalServerError": {"server", "overloaded"},
    "ServiceUnavailableError": {"server", "overloaded"},
    "APITimeoutError": {"timeout"},
    "Timeout": {"timeout"},
}
"""The errors that an exception may stand for, by its name; one with none, or that is not here, may stand for any."""

_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
}
"""Finish reasons in our words; one that is not here is the same in both."""


class Peer(ABC):
    """A Subject: a foreign client. Subclasses say what it makes of the bytes."""

    can: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()
    """Whose exceptions are the client's own."""

    def __init__(self) -> None:
        self.leaks: dict[str, str] = {}
        self.only_leaked: list[str] = []

    def cuts(self, case: Case) -> Iterator[Cut]:
        """As given only: sockets cut anew as they please."""
        yield "as given", case.chunks

    def run(self, case: Case, chunks: Sequence[bytes]) -> Got:
        """Returns what the client makes of this input."""
        got, error = self.hear(case, chunks)
        if error is None:
            return {**got, "error": None}
        assert not _is_ours(error), f"the adapter is at fault: {error!r}"
        wanted = _wanted(case)
        if self._is_own(error):
            return {**got, "error": _kind(error, wanted), "message": str(error)[:200]}
        self.leaks[case.name] = type(error).__name__
        if not judge(case, {**got, "error": next(iter(wanted), None), "complete": True}):
            self.only_leaked.append(case.name)
        return {**got, "error": type(error).__name__, "message": str(error)[:200]}

    @abstractmethod
    def hear(self, case: Case, chunks: Sequence[bytes]) -> tuple[Got, BaseException | None]:
        """Returns what came out, and the exception that ended it."""

    def _is_own(self, error: BaseException) -> bool:
        return isinstance(error, _FailedEvent) or any(
            kind.__module__.partition(".")[0] in self.packages for kind in type(error).__mro__
        )


def _is_ours(error: BaseException) -> bool:
    """True if code in this file went wrong, not the client."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return bool(frame and frame.tb_frame.f_code.co_filename == __file__ and not isinstance(error, _FailedEvent))


class _FailedEvent(Exception):
    """An event of the client's that says that the answer failed; as good as an exception of its own."""


def _wanted(case: Case) -> list[str]:
    expect = case.expect
    kinds = [expect.get("error"), expect.get("or_error"), *expect.get("error_any", ())]
    return [kind for kind in kinds if kind]


def _kind(error: BaseException, wanted: Sequence[str]) -> str:
    names = [kind.__name__ for kind in type(error).__mro__]
    known = next((_MEANINGS[name] for name in names if name in _MEANINGS), None) or set()
    fitting = [kind for kind in wanted if kind in known or not known]
    return next(iter(fitting or sorted(known or {"server"})))


class HttpxSse(Peer):
    """httpx-sse, on a response whose body is the case."""

    packages = ("httpx_sse",)

    def hear(self, case: Case, chunks: Sequence[bytes]) -> tuple[Got, BaseException | None]:
        """Its events; where time counts, also whether each was out before the next chunk was asked for."""
        events, out, error = self._events(case, chunks)
        got = {
            "events": [{"event": e.event, "data": e.data, "id": e.id} for e in events],
            "event_lens": [len(e.data) for e in events],
            "event_sha256": [hashlib.sha256(e.data.encode("utf-8", "surrogatepass")).hexdigest() for e in events],
            "retry": case.expect.get("retry"),
            "last_id": case.expect.get("last_id"),
            "comments": case.expect.get("comments"),
        }
        if case.deadline:
            whole = [len(self._events(case, [prefix])[0]) for prefix in prefixes(chunks)]
            if out != whole:
                got["problems"] = [f"late: {out} events are out after each chunk, in place of {whole}"]
        return got, error

    def _events(self, case: Case, chunks: Sequence[bytes]) -> tuple[list[Any], list[int], BaseException | None]:
        events: list[Any] = []
        out: list[int] = []
        response = httpx.Response(
            200, headers={"content-type": case.content_type}, stream=_Stream(chunks, lambda: out.append(len(events)))
        )
        try:
            for event in import_module("httpx_sse").EventSource(response).iter_sse():
                events.append(event)  # noqa: PERF402  # what came before an exception counts
        except Exception as error:  # noqa: BLE001  # whatever comes is judged
            return events, out, error
        return events, out, None


class _Stream(httpx.SyncByteStream):
    """A body that tells when the reader comes back from each chunk."""

    def __init__(self, chunks: Sequence[bytes], after: Callable[[], None]) -> None:
        self._chunks = chunks
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self._after()


@define
class Heard:
    """An answer, as it is put together from what a client hands out."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    error: BaseException | None = None
    calls: dict[Any, dict[str, Any]] = field(factory=dict)

    def call(self, index: Any, call_id: Any, name: Any, arguments: Any) -> None:
        """A piece of a tool call."""
        call = self.calls.setdefault(index, {"id": None, "name": None, "arguments": ""})
        call["id"] = call["id"] or call_id
        call["name"] = call["name"] or name
        call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""

    def end(self, reason: str | None) -> None:
        """The client's finish reason, if it is one."""
        if reason:
            self.finish = _FINISHES.get(reason, reason)

    def count(self, given: Any, found: Any) -> None:
        """The usage so far: input and output tokens."""
        self.usage = {**(self.usage or {}), **{k: n for k, n in (("input", given), ("output", found)) if n}}

    def got(self) -> Got:
        """For the judge. A client that ended without an exception is believed to have seen an end mark."""
        return {
            "text": self.text,
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "finish": self.finish,
            "tool_calls": list(self.calls.values()),
            "usage": self.usage,
            "complete": self.error is None,
            "encodable": is_encodable(self.text),
        }


class Sdk(Peer):
    """A client that is pointed at a loopback server, which answers every request with the case's bytes."""

    def hear(self, case: Case, chunks: Sequence[bytes]) -> tuple[Got, BaseException | None]:
        """Returns what the client's stream held."""
        heard = Heard()
        trio.run(self._ask, case, chunks, heard)
        return heard.got(), heard.error

    async def _ask(self, case: Case, chunks: Sequence[bytes], heard: Heard) -> None:
        async def play(stream: trio.SocketStream) -> None:
            if await read_request(stream) is None:
                return
            await stream.send_all(
                f"HTTP/1.1 200 OK\r\ncontent-type: {case.content_type}\r\nconnection: close\r\n\r\n".encode()
            )
            for chunk in chunks:
                await stream.send_all(chunk)
            await stream.send_eof()

        async with serve(play) as url:
            await trio.to_thread.run_sync(self._collect, case, url, heard)

    def _collect(self, case: Case, url: str, heard: Heard) -> None:
        try:
            self.ask(case, url, heard)
        except Exception as error:  # noqa: BLE001  # whatever comes is judged
            heard.error = error

    @abstractmethod
    def ask(self, case: Case, url: str, heard: Heard) -> None:
        """Asks the server at `url` with the client, and tells `heard` what comes."""


class OpenAIChat(Sdk):
    """The openai SDK's chat completions."""

    packages = ("openai",)

    def ask(self, case: Case, url: str, heard: Heard) -> None:
        """Reads all chunks."""
        with import_module("openai").OpenAI(
            base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=PATIENCE
        ) as client:
            for chunk in client.chat.completions.create(model="m-1", messages=_QUESTION, stream=True):
                read_chunk(chunk, heard)


def read_chunk(chunk: Any, heard: Heard) -> None:
    """One chat completion chunk, as an object; also the fields that other services than OpenAI are known for."""
    usage = getattr(chunk, "usage", None)
    if extra := getattr(chunk, "x_groq", None):
        usage = usage or extra.get("usage")
    if usage:
        heard.count(_get(usage, "prompt_tokens"), _get(usage, "completion_tokens"))
    for choice in chunk.choices or ():
        delta = choice.delta
        if _get(choice, "index"):
            continue
        if delta is not None:
            heard.text += _text(_get(delta, "content"))
            heard.reasoning += _text(_get(delta, "reasoning_content")) or _text(_get(delta, "reasoning"))
            heard.refusal += _text(_get(delta, "refusal"))
            for place, call in enumerate(_get(delta, "tool_calls") or ()):
                function = _get(call, "function")
                index = _get(call, "index")
                name, argued = _get(function, "name"), _get(function, "arguments")
                heard.call(place if index is None else index, _get(call, "id"), name, argued)
        heard.end(_get(choice, "finish_reason"))


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class OpenAIResponses(Sdk):
    """The openai SDK's responses."""

    packages = ("openai",)

    def ask(self, case: Case, url: str, heard: Heard) -> None:
        """Reads all events; one that says that the response failed is as good as an exception."""
        with import_module("openai").OpenAI(
            base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=PATIENCE
        ) as client:
            for event in client.responses.create(model="m-1", input="?", stream=True):
                if event.type in ("response.failed", "error"):
                    raise _FailedEvent(event.type)
                self._read(event, heard)

    def _read(self, event: Any, heard: Heard) -> None:
        match event.type:
            case "response.output_text.delta":
                heard.text += event.delta
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                heard.reasoning += event.delta
            case "response.refusal.delta":
                heard.refusal += event.delta
            case "response.output_item.added" if event.item.type == "function_call":
                heard.call(event.output_index, event.item.call_id, event.item.name, event.item.arguments)
            case "response.function_call_arguments.delta":
                heard.call(event.output_index, None, None, event.delta)
            case "response.completed" | "response.incomplete":
                why = event.response.incomplete_details
                heard.end(why.reason if why else "stop")
                if usage := event.response.usage:
                    heard.count(usage.input_tokens, usage.output_tokens)


class AnthropicSdk(Sdk):
    """The anthropic SDK's messages."""

    packages = ("anthropic",)

    def ask(self, case: Case, url: str, heard: Heard) -> None:
        """Reads all events."""
        with import_module("anthropic").Anthropic(base_url=url, api_key="k", max_retries=0, timeout=PATIENCE) as client:
            for event in client.messages.create(model="m", max_tokens=99, messages=_QUESTION, stream=True):
                self._read(event, heard)

    def _read(self, event: Any, heard: Heard) -> None:
        match event.type:
            case "message_start":
                heard.count(event.message.usage.input_tokens, event.message.usage.output_tokens)
            case "content_block_start" if event.content_block.type == "tool_use":
                heard.call(event.index, event.content_block.id, event.content_block.name, "")
            case "content_block_delta":
                heard.text += _text(_get(event.delta, "text"))
                heard.reasoning += _text(_get(event.delta, "thinking"))
                if event.delta.type == "input_json_delta":
                    heard.call(event.index, None, None, event.delta.partial_json)
            case "message_delta":
                heard.end(event.delta.stop_reason)
                heard.count(_get(event.usage, "input_tokens"), _get(event.usage, "output_tokens"))


class LiteLlm(Sdk):
    """litellm, which turns every service's stream into chat completion chunks."""

    packages = ("litellm", "openai")

    def __init__(self, model: str, path: str) -> None:
        super().__init__()
        self._model = model
        self._path = path

    def ask(self, case: Case, url: str, heard: Heard) -> None:
        """Reads all chunks. It estimates usage where none came, so it is asked for usage where the case has some."""
        litellm: Any = import_module("litellm")
        litellm.suppress_debug_info = True
        extra = {"stream_options": {"include_usage": True}} if case.expect.get("usage") else {}
        for chunk in litellm.completion(
            model=self._model,
            messages=_QUESTION,
            api_base=url + self._path,
            api_key="k",
            stream=True,
            timeout=PATIENCE,
            num_retries=0,
            max_retries=0,
            **extra,
        ):
            read_chunk(chunk, heard)


class LiteLlmCohere(LiteLlm):
    """litellm's Cohere chat, which asks for application/json and reads an object a line: it gets the events so."""

    def hear(self, case: Case, chunks: Sequence[bytes]) -> tuple[Got, BaseException | None]:
        """Returns what the client's stream held."""
        lines = b"".join(chunks).splitlines(keepends=True)
        return super().hear(case, [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")])


PEERS: dict[str, dict[str, Callable[[], Peer]]] = {
    "httpx-sse": {"sse": HttpxSse},
    "openai": {"openai-chat": OpenAIChat, "openai-responses": OpenAIResponses},
    "anthropic": {"anthropic": AnthropicSdk},
    "litellm": {
        "openai-chat": partial(LiteLlm, "openai/m-1", "/v1"),
        "anthropic": partial(LiteLlm, "anthropic/claude-sonnet-4-5", ""),
        "gemini-sse": partial(LiteLlm, "gemini/gemini-2.5-flash", ""),
        "ollama": partial(LiteLlm, "ollama_chat/m", ""),
        "cohere": partial(LiteLlmCohere, "cohere_chat/command-a-03-2025", "/v2/chat"),
    },
}
"""The peers by distribution, and what each reads."""


def quieten() -> None:
    """Keeps the clients from proxies, from the network, and from talking."""
    os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", LITELLM_LOCAL_MODEL_COST_MAP="True")
    logging.disable(logging.CRITICAL)


def examined(report: Report, subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """The results of one client's cases."""
    failed: dict[str, list[str]] = {name: [] for name in subjects}
    for failure in report.failures:
        failed[failure.case.format].append(failure.case.name)
    peers = [subject for subject in subjects.values() if isinstance(subject, Peer)]
    return {
        "passed": {name: report.passed[name] for name in subjects},
        "failed": failed,
        "foreign_exceptions": {name: leak for peer in peers for name, leak in peer.leaks.items()},
        "failed_only_by_a_foreign_exception": [name for peer in peers for name in peer.only_leaked],
    }


def examine_all(cases: Sequence[Case], *, why: bool) -> dict[str, dict[str, Any]]:
    """Our own code, which runs in every cut, and every peer that is installed."""
    own = {name: subject[0] if isinstance(subject := SUBJECTS[name], tuple) else subject for name in FORMATS}
    clients: dict[str, Mapping[str, Subject]] = {"fanout": own}
    for name, starts in PEERS.items():
        if version(name):
            clients[name] = {form: start() for form, start in starts.items()}
    results = {}
    for name, subjects in clients.items():
        report = run((case for case in cases if case.format in subjects), subjects)
        results[name] = examined(report, subjects)
        if why:
            print(*(f"{name}: {failure}" for failure in report.failures), sep="\n", file=sys.stderr)
    return results


def nobody_passes(clients: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The cases that every peer fails which reads their format: which passes any case of it."""
    peers = [result for name, result in clients.items() if name != "fanout"]
    failures = {form: [r["failed"][form] for r in peers if r["passed"].get(form)] for form in FORMATS}
    return [
        name
        for by_peer in failures.values()
        if by_peer
        for name in by_peer[0]
        if all(name in names for names in by_peer)
    ]


def report_lines(results: Mapping[str, Any]) -> Iterable[str]:
    """Yields what is printed: the table, the cases that no peer passes, the exceptions that are no client's own."""
    counts, clients, versions = results["cases"], results["clients"], results["versions"]
    head = ("client", "version", *(f"{name} ({counts[name]})" for name in FORMATS))
    yield from table(
        head,
        (
            (name, versions.get(name, ""), *(result["passed"].get(form, "") for form in FORMATS))
            for name, result in clients.items()
        ),
    )
    yield ""
    yield f"No peer passes {len(results['no_peer_passes'])}: {', '.join(results['no_peer_passes'])}."
    for name, result in clients.items():
        if leaks := result["foreign_exceptions"]:
            yield f"{name} lets foreign exceptions out: {', '.join(f'{n} ({leak})' for n, leak in leaks.items())}."
        if only := result["failed_only_by_a_foreign_exception"]:
            yield f"{name} fails only by that: {', '.join(only)}."
    if results["missing"]:
        yield f"Not installed, and not run: {', '.join(results['missing'])}."


def main(given: Sequence[str] | None = None) -> None:
    """Runs the cases, prints the tables, and writes the results down."""
    parser = arguments("conformance", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--why", action="store_true", help="say on stderr what is wrong with each failure")
    options = parser.parse_args(given)
    missing = [name for name in PEERS if not version(name)]
    if missing and options.json == parser.get_default("json"):
        parser.error(f"not installed: {', '.join(missing)}; --json PATH writes a partial result elsewhere")
    quieten()
    cases = [case for case in load(PROJECT_FILE) if case.format in FORMATS]
    clients = examine_all(cases, why=options.why)
    results = {
        **facts(["fanout", *PEERS, "httpx", "orjson"]),
        "cases": Counter(case.format for case in cases),
        "missing": missing,
        "clients": clients,
        "no_peer_passes": nobody_passes(clients),
    }
    conclude(options.json, results, report_lines(results))


if __name__ == "__main__":
    main()
