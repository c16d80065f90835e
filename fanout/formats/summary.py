"""One lane or run in a few words: how it ended, how fast it was, what was wasted."""

from collections.abc import Sequence
from typing import Literal

from fanout.answers import Answer, Run
from fanout.errors import ProviderError
from fanout.events import Status
from fanout.formats.terminal import sanitise

Who = Literal["winner", "all", "quorum"]
"""Whose answers count: the winner's, those of all who finished, or those that a quorum kept."""

EXCERPT_LENGTH = 500
"""Characters of a service's own words that are repeated."""


def one_line(text: str, longest: int = EXCERPT_LENGTH) -> str:
    """Foreign text as one safe line of at most `longest` characters."""
    line = " ".join(sanitise(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def select_answers(run: Run, who: Who) -> list[Answer]:
    """The answers that count, in the order of the lanes; none if the run came to nothing."""
    if who == "winner":
        return [run.winner] if run.winner else []
    if who == "quorum":
        return list(run.kept)
    return [answer for answer in run.answers if answer.status is Status.FINISHED]


def state(answer: Answer) -> str:
    """The state of a lane, in the words of the user."""
    return answer.status.replace("_", " ") if answer.status else "running"


def reason(error: ProviderError) -> str:
    """The error in words: its kind, the HTTP status if there was one, and the message."""
    status = f" ({error.status})" if error.status else ""
    return f"{error.kind}{status}: {one_line(error.message)}"


def body(answer: Answer) -> str:
    """The answer as text; tool calls and files take a line each."""
    calls = [f"{call.name}({call.arguments})" for call in answer.tool_calls]
    files = [f"[{file.name or file.media_type or 'file'}] {file.url or ''}".rstrip() for file in answer.files]
    return "\n".join(part for part in (answer.text or answer.refusal, *calls, *files) if part)


def speed(answer: Answer, so_far: float | None = None) -> float | None:
    """Tokens a second from the first content on; `so_far` is how long a lane has run that still does."""
    elapsed = so_far if answer.elapsed is None else answer.elapsed
    if elapsed is None or answer.ttft is None or answer.chunks < 2 or elapsed <= answer.ttft:
        return None
    return (answer.tokens - 1) / (elapsed - answer.ttft)


def figures(answer: Answer, so_far: float | None = None) -> tuple[str, str, str]:
    """TTFT, tokens a second and tokens, each an empty string while it is unknown; ~ marks an estimate."""
    rate = speed(answer, so_far)
    told = answer.usage is not None and answer.usage.output is not None and not answer.usage.estimated
    return (
        "" if answer.ttft is None else f"TTFT {answer.ttft:.2f} s",
        "" if rate is None else f"{rate:.1f} tok/s",
        f"{'' if told else '~'}{answer.tokens} tok" if answer.tokens else "",
    )


def lines(run: Run) -> list[str]:
    """A line for every lane, in columns, the winner's marked; then notes on answers, and what was wasted, if any."""
    winner = run.winner.lane if run.winner else None
    rows = [
        ("*" if answer.lane == winner else " ", one_line(answer.lane, 40), state(answer), *figures(answer))
        for answer in run.answers
    ]
    out = [
        f"{line}  {reason(answer.error)}".rstrip() if answer.error and _to_explain(answer) else line.rstrip()
        for line, answer in zip(_align(rows), run.answers, strict=True)
    ]
    return [*out, *notes(run), *describe_waste(run)]


def notes(run: Run) -> list[str]:
    """A line for each thing that should be known of an answer."""
    return [f"  {one_line(answer.lane, 40)}: {one_line(note)}" for answer in run.answers for note in answer.notes]


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as columns: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _to_explain(answer: Answer) -> bool:
    return answer.status in (Status.FAILED, Status.TIMED_OUT)


def describe_waste(run: Run) -> list[str]:
    """A line that says what the losers produced, or none."""
    if not run.wasted.tokens:
        return []
    cost = f", {run.wasted.cost:.6f} USD" if run.wasted.cost else ""
    return [f"  wasted: {run.wasted.tokens} tok{cost}"]
