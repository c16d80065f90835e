"""Events folded into an Answer, lane by lane, and the Run of all lanes."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self

from attrs import define, evolve, field, frozen

from fanout.answers.verdicts import Verdict
from fanout.errors import ProviderError
from fanout.events import (
    CONTENT,
    Conversation,
    Delta,
    End,
    Event,
    File,
    Reasoning,
    Refusal,
    Replace,
    Source,
    Sources,
    Started,
    Status,
    Title,
    ToolCall,
    Usage,
    weigh,
)
from fanout.prompt import Message, ToolUse
from fanout.prompt.history import History


@frozen
class Answer:
    """The answer of one lane. Times are seconds, from the lane's start; `status` is None while it runs.

    `ttft` is the time to the first content, reasoning among it, `ttfo` that to the first output, which is all other
    content; they differ where a model thinks before it answers. `itl` is the mean gap between pieces of content,
    `elapsed` the time to its end, None if it never started. `headers` are those of the response that tell of rate
    limits. `elsewhere` says that another address than the provider's own was asked, of which its list prices say
    nothing. `notes` say what should be known of the answer, a sentence each: a finish reason or a part of it that is
    not known. `cost_high` is the most that it costs, more than `cost` if its service may have gone on after it was cut
    off, and bill that. `opaque` is what its service must have back in later turns, as a Message has it. `repeated` is
    about how many tokens of the prompt were sent in earlier tries that its service may have read and billed.
    """

    lane: str
    provider: str = ""
    model: str | None = None
    status: Status | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolUse, ...] = ()
    files: tuple[File, ...] = ()
    sources: tuple[Source, ...] = ()
    title: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    error: ProviderError | None = None
    ttft: float | None = None
    ttfo: float | None = None
    itl: float | None = None
    elapsed: float | None = None
    conversation: Conversation | None = field(default=None, repr=False)
    cost: float | None = None
    cost_high: float | None = None
    elsewhere: bool = False
    request_id: str | None = None
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    chunks: int = 0
    notes: tuple[str, ...] = ()
    opaque: Mapping[str, Any] | None = field(default=None, repr=False)
    repeated: int = 0
    value: Any = None

    @property
    def message(self) -> Message:
        """The answer as the assistant's message in a later prompt, with all that its service must have back."""
        return Message(
            "assistant",
            self.text or self.refusal,
            tool_uses=self.tool_calls,
            reasoning=self.reasoning,
            opaque=self.opaque,
        )

    def _repr_html_(self) -> str:
        """The answer as a notebook shows it."""
        from fanout.answers.html import draw_columns  # noqa: PLC0415  # for notebooks alone

        return draw_columns([self])

    @property
    def partial_value(self) -> Any:
        """The JSON value so far of a text that may not be whole; None where there is none. Made anew each time.

        Raises UsageError without the extra `schema`.
        """
        from fanout.schema.partial import partial_value  # noqa: PLC0415  # of few answers

        return partial_value(self.text)

    @property
    def answered(self) -> bool:
        """True if anything in it answers: text, a tool call, a file or a refusal."""
        return bool(self.text or self.tool_calls or self.files or self.refusal)

    @property
    def tokens(self) -> int:
        """Output tokens: the service's count, or an estimate, while the lane runs as at its end."""
        if self.usage is not None and self.usage.output is not None:
            return self.usage.output
        arguments = sum(len(call.arguments) for call in self.tool_calls)
        return estimate_tokens(self.chunks, len(self.text) + len(self.reasoning) + len(self.refusal) + arguments)

    @property
    def estimated(self) -> bool:
        """True if its output tokens are an estimate, because the service has counted none."""
        return self.usage is None or self.usage.output is None or self.usage.estimated


@frozen
class Spent:
    """Work of some lanes: chunks of content, output tokens (estimated where nobody counted), money.

    `input` are the tokens of the prompts, of every request that was sent, also of the winner's earlier tries.
    `at_least` says that the cost is not whole: of some of it nobody knows the count or the price. `cost` is what it was
    when the losers were cut off, and `cost_high` what it is at most, as some services go on and bill the whole answer;
    None where nobody knows.
    """

    chunks: int = 0
    tokens: int = 0
    cost: float | None = None
    input: int = 0
    at_least: bool = False
    cost_high: float | None = None

    @classmethod
    def of(cls, answers: Sequence[Answer], kept: Sequence[Answer] = ()) -> Self:
        """The sum over these answers, and over the earlier tries of all, those of the `kept` ones too."""
        sent = [answer for answer in answers if answer.chunks or answer.usage is not None]
        costs = [answer.cost for answer in sent if answer.cost is not None]
        repeated = any(answer.repeated and answer.cost != 0 for answer in (*answers, *kept))
        highs = [answer.cost_high for answer in sent if answer.cost_high is not None]
        return cls(
            chunks=sum(answer.chunks for answer in answers),
            tokens=sum(answer.tokens for answer in answers),
            cost=sum(costs) if costs else None,
            input=sum((answer.usage.input or 0) for answer in sent if answer.usage)
            + sum(answer.repeated for answer in (*answers, *kept)),
            at_least=len(costs) < len(sent) or any(a.usage.estimated for a in sent if a.usage and a.cost) or repeated,
            cost_high=sum(highs) if highs and len(highs) == len(sent) and not repeated else None,
        )


@frozen
class Wasted(Spent):
    """Work done for nothing, by lanes that lost or failed."""


@frozen
class Run:
    """One prompt's fan-out: every lane's answer in the order of the lanes, none dropped.

    `kept` are those that finished and did not lose, in the order of the lanes: a quorum's k, without what was
    `wasted`. `elapsed` is in seconds. `conversation` goes into a later call, to go on from here. `overhead` is the work
    beside the winner's that its answer took: a judge's, or that of the answers a fusion was made of. `verdicts` are
    those of judges, `analysis` what a fusion's judge found in the answers, as JSON. `votes` are the lanes that voted
    for each answer of a consensus, the most first.
    """

    answers: tuple[Answer, ...]
    winner: Answer | None
    wasted: Wasted
    elapsed: float
    kept: tuple[Answer, ...] = ()
    conversation: History | None = field(default=None, repr=False)
    overhead: Spent = Spent()
    votes: Mapping[str, tuple[str, ...]] = field(factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    analysis: Mapping[str, Any] | None = None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that named the winner; else the first, which says why it did not."""
        named = (verdict for verdict in self.verdicts if self.winner and verdict.best == self.winner.lane)
        return next(named, self.verdicts[0] if self.verdicts else None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the run as plain data, which json.dumps takes; `--json` prints the same, with a word on each end."""
        from fanout.answers.objects import run_object  # noqa: PLC0415  # it is made of this module's classes

        return run_object(self)

    def _repr_html_(self) -> str:
        """The answers as a notebook shows them, side by side."""
        from fanout.answers.html import draw_columns  # noqa: PLC0415  # for notebooks alone

        return draw_columns(self.answers, self.winner.lane if self.winner else None)

    def __getitem__(self, lane: str) -> Answer:
        """The answer of the lane with this name."""
        for answer in self.answers:
            if answer.lane == lane:
                return answer
        raise KeyError(lane)


def estimate_tokens(pieces: int, characters: int) -> int:
    """Returns about how many tokens came: one for each four characters, at least one for each piece of content."""
    return max(pieces, -(-characters // 4))


def _is_output(event: Event) -> bool:
    return type(event) in CONTENT and type(event) is not Reasoning


PACKED = 4096
"""Pieces of content after which those of a text are joined."""

MOST_OPAQUE = 2 << 20
"""Characters of opaque data that are kept of one answer. The encrypted form of 128,000 tokens has 0.7 million.

Of more, nothing is kept, because a service refuses a part of what it made, and the answer says so in its notes.
"""

MOST_PARTS = 1024
"""Pieces of opaque data that are kept of one answer."""

_TOO_OPAQUE = "the answer had more data for its own service than is kept, so a later turn goes without any of it"


@define
class Fold:
    """Grows one lane's Answer, event by event. Times are those of the arrival, on any one clock.

    `asked` is the length of the prompt in characters, from which tokens are estimated where the service counts none.
    `told` are the notes on the lane while it runs, which may grow. `maker` is the mark of the provider, under which the
    answer's reasoning and opaque data are kept.
    """

    lane: str
    provider: str = ""
    model: str | None = None
    started: float | None = None
    asked: int = 0
    maker: Mapping[str, Any] | None = None
    elsewhere: bool = False
    told: Sequence[str] = ()
    chunks: int = 0
    _first: float | None = None
    _output: float | None = None
    _last: float | None = None
    _ended: float | None = None
    _end: End | None = None
    _texts: dict[type, list[str]] = field(factory=lambda: {Delta: [], Reasoning: [], Refusal: []})
    _calls: dict[int, tuple[list[str], list[str], list[str]]] = field(factory=dict)
    _files: list[File] = field(factory=list)
    _kept: dict[type, Event] = field(factory=dict)
    _full: int = PACKED
    _packed: dict[type, int] = field(factory=dict)
    _parts: list[tuple[int | None, Mapping[str, Any]]] = field(factory=list)  # with the index of a tool call
    _opaque: float = 0
    _repeated: int = 0

    def repeat(self, end: End) -> None:
        """Takes note that a try which ended so is repeated: its service may have read and billed the prompt."""
        self._repeated += not (end.error is not None and end.error.retry_safe)

    def add(self, events: Sequence[Event], at: float) -> int:
        """Takes the events of one read, which arrived at `at`; returns how many of them are content."""
        texts = self._texts
        contents = 0
        for event in events:
            kind = type(event)
            contents += kind in CONTENT
            if kind in texts:
                texts[kind].append(event.text)  # type: ignore[union-attr]  # the keys of texts are kinds with a text
                if kind is Reasoning and event.opaque is not None:  # type: ignore[union-attr]
                    contents -= not event.text  # type: ignore[union-attr]
                    self._keep(event)  # type: ignore[arg-type]
            elif isinstance(event, ToolCall):
                self._add_call(event)
            elif isinstance(event, File):
                self._files.append(event)
            elif isinstance(event, Replace):
                texts[Delta], self._packed[Delta] = [event.text], 1
            elif isinstance(event, End):
                self._end, self._ended = event, at
            elif kind is Started:
                self._kept.clear()  # what a failed try counted is not of the next one's answer
                self._parts, self._opaque = [], 0
            else:
                self._kept[kind] = event
        if contents:
            self.chunks += contents
            if self.chunks >= self._full:
                self._pack()
            self._last = at
            if self._first is None:
                self._first = at
            if self._output is None and any(map(_is_output, events)):
                self._output = at
        return contents

    def _add_call(self, piece: ToolCall) -> None:
        ids, names, arguments = self._calls.setdefault(piece.index, ([], [], []))
        if piece.id and not ids:
            ids.append(piece.id)
        if piece.name and not names:
            names.append(piece.name)
        if piece.arguments:
            arguments.append(piece.arguments)
        if piece.opaque is not None:
            self._keep(piece)

    def _keep(self, event: Reasoning | ToolCall) -> None:
        """Keeps what is opaque in an event with its place in the answer; nothing at all once it is too much."""
        assert event.opaque is not None
        data = event.opaque["data"]
        self._opaque += weigh(data)
        if self._opaque > MOST_OPAQUE or len(self._parts) == MOST_PARTS:
            self._parts, self._opaque = [], MOST_OPAQUE + 1  # and from now on
            return
        if isinstance(event, ToolCall):
            self._parts.append((event.index, {"data": data}))
        else:
            text, reasoning = (sum(map(len, self._texts[kind])) for kind in (Delta, Reasoning))
            place = {"text": text, "reasoning": reasoning, "calls": len(self._calls)}
            self._parts.append((None, {**place, "data": data}))

    @property
    def tokens(self) -> int:
        """The output tokens so far: the service's count, or an estimate."""
        usage = self._kept.get(Usage)
        return usage.output if isinstance(usage, Usage) and usage.output else self._estimate()

    @property
    def text(self) -> str:
        """The text so far."""
        return self._join(Delta)

    def _pack(self) -> None:
        """Joins the latest pieces of each text: a million of them take fifty times the memory of their characters."""
        self._full = self.chunks + PACKED
        for kind, pieces in self._texts.items():
            packed = self._packed.get(kind, 0)
            if len(pieces) - packed > 1:
                pieces[packed:] = ["".join(pieces[packed:])]
                self._packed[kind] = packed + 1

    def _join(self, kind: type) -> str:
        """Joins the pieces of a text for good: whoever looks at an answer ten times a second joins each once."""
        pieces = self._texts[kind]
        if len(pieces) > 1:
            pieces[:] = ["".join(pieces)]
            self._packed[kind] = 1
        return pieces[0] if pieces else ""

    @property
    def answer(self) -> Answer:
        """The Answer so far."""
        return self.answer_with(None)

    def answer_with(self, late: Usage | None) -> Answer:
        """Returns the Answer so far; `late` is a count that came as no event, because the lane had been cut off."""
        # A running lane has no status yet.
        end = self._end or End(None, notes=tuple(self.told))  # type: ignore[arg-type]
        sources, title = self._kept.get(Sources), self._kept.get(Title)
        conversation = self._kept.get(Conversation)
        return Answer(
            lane=self.lane,
            provider=self.provider,
            model=end.model or self.model,
            status=end.status,
            text=self.text,
            reasoning=self._join(Reasoning),
            refusal=self._join(Refusal),
            tool_calls=tuple(
                ToolUse(self._call_id(index), "".join(names), "".join(arguments))
                for index, (_, names, arguments) in sorted(self._calls.items())
            ),
            files=tuple(self._files),
            sources=tuple(sources.items) if isinstance(sources, Sources) else (),
            title=title.text if isinstance(title, Title) else None,
            usage=self._usage(late),
            finish_reason=end.finish_reason,
            error=end.error,
            ttft=self._since(self._first),
            ttfo=self._since(self._output),
            itl=self._itl(),
            elapsed=self._since(self._ended),
            conversation=conversation if isinstance(conversation, Conversation) else None,
            request_id=end.request_id,
            headers=end.headers,
            elsewhere=self.elsewhere,
            chunks=self.chunks,
            notes=(*end.notes, _TOO_OPAQUE) if self._opaque > MOST_OPAQUE else end.notes,
            opaque=self._collect(),
            repeated=self._repeated * -(-self.asked // 4),
        )

    def _call_id(self, index: int) -> str:
        return "".join(self._calls[index][0]) or f"call_{index}"

    def _collect(self) -> Mapping[str, Any] | None:
        """The opaque parts of the answer under its maker's mark; reasoning has the mark alone."""
        if self.maker is None or not (self._parts or self._join(Reasoning)):
            return None
        parts = (part if index is None else {"call": self._call_id(index), **part} for index, part in self._parts)
        return {**self.maker, "parts": list(parts)}

    def _usage(self, late: Usage | None) -> Usage | None:
        """The service's count; after the end of an answer that it did not count, an estimate.

        A request that was sent is read and billed by most services, also if it is cut off before any content. Only an
        error that says that nothing was processed makes it cost nothing.
        """
        kept = late or self._kept.get(Usage)
        usage = kept if isinstance(kept, Usage) else None
        if (usage and usage.output) or self._end is None or not (self.chunks or self._is_billed(self._end)):
            return usage
        usage = usage or Usage()
        asked = -(-self.asked // 4) if usage.input is None else usage.input
        return evolve(usage, input=asked, output=self._estimate(), estimated=True)

    def _is_billed(self, end: End) -> bool:
        """True for a lane that was cut off, or failed, after its request may have been read."""
        sent = self.started is not None and end.status is not Status.FINISHED
        return sent and not (end.error is not None and end.error.retry_safe)

    def _estimate(self) -> int:
        """Estimates how many tokens came."""
        characters = sum(map(len, chain(*self._texts.values(), *(call[2] for call in self._calls.values()))))
        return estimate_tokens(self.chunks, characters)

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None or self.started is None else moment - self.started

    def _itl(self) -> float | None:
        if self._first is None or self._last is None or self.chunks < 2:
            return None
        return (self._last - self._first) / (self.chunks - 1)
