"""One lane or run in a few words: how it ended and why, how fast it was, what was wasted."""

from math import floor, log10
from typing import Literal

from fanout.answers import Answer, Run, Spent
from fanout.errors import ProviderError, Refused
from fanout.events import Status
from fanout.formats.terminal import sanitise

Who = Literal["winner", "all", "quorum"]
"""Whose answers count: the winner's, those of all who answered, or those that a quorum kept."""

EXCERPT_LENGTH = 500
"""Characters of a service's own words that are repeated."""


def one_line(text: str, longest: int = EXCERPT_LENGTH) -> str:
    """Foreign text as one safe line of at most `longest` characters."""
    line = " ".join(sanitise(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def select_answers(run: Run, who: Who) -> list[Answer]:
    """The answers that count, in the order of the lanes; none if the run came to nothing."""
    if who == "winner":
        return [run.winner] if run.winner and run.winner.status is Status.FINISHED else []
    if who == "quorum":
        return list(run.kept)
    return [a for a in run.answers if a.status is Status.FINISHED and a.answered and not was_refused(a)]


CUTS = {"length": "cut at max_tokens", "content_filter": "cut by a content filter"}
"""The finish reasons after which an answer is not whole, in words."""


def state(answer: Answer) -> str:
    """The state of a lane, in the words of the user."""
    if was_refused(answer):
        return "refused"
    if answer.status is Status.FINISHED:
        return CUTS.get(answer.finish_reason or "", "finished") if answer.answered else "empty"
    if was_not_started(answer):
        return "not started"
    return answer.status.replace("_", " ") if answer.status else "running"


def was_not_started(answer: Answer) -> bool:
    """True for a lane whose turn never came: nothing was sent for it."""
    return answer.status is Status.CANCELLED and answer.elapsed is None


def was_refused(answer: Answer) -> bool:
    """True for an answer that does not fit its schema, whole or from its beginning."""
    return isinstance(answer.error, Refused)


def is_failure(answer: Answer) -> bool:
    """True if the lane ended by itself and gave no answer."""
    return answer.status in (Status.FAILED, Status.TIMED_OUT) or (
        (answer.status is Status.FINISHED and not answer.answered) or was_refused(answer)
    )


def explain(answer: Answer) -> str:
    """Returns why a lane gave no answer, or not a whole one; empty where its state says all."""
    if answer.error and (answer.status is not Status.FINISHED or was_refused(answer)):
        return reason(answer.error)
    if answer.status is Status.FINISHED and not answer.answered:
        counted = answer.usage is not None and answer.usage.reasoning
        return explain_empty(answer.finish_reason, thought=bool(answer.reasoning or counted))
    return ""


def explain_empty(finish_reason: str | None, *, thought: bool) -> str:
    """Returns why an answer has nothing in it, as far as its finish reason and its reasoning tell."""
    if finish_reason == "length":
        why = "max_tokens went into reasoning" if thought else "max_tokens was reached before any text"
    elif finish_reason == "content_filter":
        why = "a content filter held it back"
    else:
        why = "all that came was reasoning" if thought else ""
    return f"its answer was empty: {why}" if why else "its answer was empty"


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
    mark = "~" if answer.estimated else ""
    return (
        first_words(answer),
        "" if rate is None else f"{mark}{rate:.1f} tok/s",
        f"{mark}{answer.tokens} tok" if answer.tokens else "",
    )


def has_thought(answer: Answer) -> bool:
    """True if reasoning came before the answer, or in its place."""
    return bool(answer.reasoning) and answer.ttft is not None and answer.ttfo != answer.ttft


def first_words(answer: Answer) -> str:
    """The time to first token; of a lane that thinks, when its thoughts began and when its answer did."""
    if answer.ttft is None:
        return ""
    if not has_thought(answer):
        return f"TTFT {answer.ttft:.2f} s"
    answers = "" if answer.ttfo is None else f", answers at {answer.ttfo:.2f} s"
    return f"thinks at {answer.ttft:.2f} s{answers}"


def total(answer: Answer) -> str:
    """The time from the lane's start to its end."""
    return "" if answer.elapsed is None else f"total {answer.elapsed:.2f} s"


def money(dollars: float) -> str:
    """An amount of US dollars with three figures, however small."""
    if not dollars:
        return "0 USD"
    return f"{dollars:.{min(max(2, 2 - floor(log10(abs(dollars)))), 12)}f} USD"


def notes(run: Run) -> list[str]:
    """A line for each thing that should be known of an answer."""
    return [f"  {one_line(answer.lane, 40)}: {one_line(note)}" for answer in run.answers for note in answer.notes]


def describe_waste(run: Run) -> list[str]:
    """A line that says what the losers produced and read, and what is known of its cost; or none."""
    said = say_waste(run)
    return [f"  wasted: {said}"] if said else []


def say_waste(run: Run) -> str:
    """Says what the losers produced, the prompts that were sent, and the cost; empty where nothing was wasted."""
    return say_spent(run.wasted)


def say_spent(spent: Spent) -> str:
    """Says what was produced, the prompts that were sent, and the cost; empty for nothing."""
    parts = [f"{spent.tokens} tok"] if spent.tokens else []
    if spent.input:
        parts.append(f"{spent.input} tok of prompts")
    if spent.cost:
        parts.append(_say_cost(spent))
    return ", ".join(parts)


def _say_cost(spent: Spent) -> str:
    """Says what it cost: at least so much, or from so much to so much where services may have gone on."""
    assert spent.cost is not None
    if spent.cost_high is not None and money(spent.cost_high) != money(spent.cost):
        return f"{money(spent.cost)} to {money(spent.cost_high)}"
    return f"{'at least ' if spent.at_least else ''}{money(spent.cost)}"


MOST_VOTES = 4
"""Answers of a vote that are told of; the others are counted."""


def say_votes(run: Run) -> str:
    """Says how many lanes voted for each answer, and which; empty where nobody voted."""
    told = [
        f"{len(lanes)} for {one_line(key, 40)} ({', '.join(one_line(lane, 40) for lane in lanes)})"
        for key, lanes in [*run.votes.items()][:MOST_VOTES]
    ]
    more = len(run.votes) - len(told)
    return ", ".join([*told, *([f"and {more} more answers"] if more else [])])


def describe_judging(run: Run) -> list[str]:
    """Lines on how the answer was found: the votes, what judges said, and what that took beside the answer itself."""
    lines = [f"  votes: {votes}"] if (votes := say_votes(run)) else []
    for verdict in run.verdicts:
        judge = one_line(verdict.judge, 40)
        if verdict.error is not None:
            lines.append(f"  {judge} failed: {one_line(verdict.error.message)}")
        else:
            label = next((label for label, lane in verdict.labels.items() if lane == verdict.best), "")
            why = f": {one_line(verdict.why)}" if verdict.why else ""
            lines.append(f"  {judge} takes {one_line(verdict.best or '', 40)} ({label} of {len(verdict.labels)}){why}")
    return [*lines, *([f"  beside the answer: {beside}"] if (beside := say_spent(run.overhead)) else [])]
