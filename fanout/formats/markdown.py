"""A run as a Markdown document: the prompt, a table of the lanes, the answers.

Models write Markdown and HTML themselves, among it pictures that tell a stranger who reads them. So what they say
stands in code fences, longer than any fence within (CommonMark 0.31, section 4.5), and in tables it is escaped.
"""

import re

from fanout.answers import Answer, Run
from fanout.formats import Output
from fanout.formats.plain import end_line
from fanout.formats.summary import body, figures, one_line, reason, state
from fanout.formats.terminal import sanitise

_MARKS = re.compile(r"[\\`*_{}\[\]<>()#+!|&~:.@-]")


class Markdown(Output):
    """The document, when all is over."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt

    def run(self, run: Run) -> str:
        """Returns the document."""
        answers = [part for answer in run.answers for part in _section(answer, run)]
        return "\n".join(["# Prompt", "", fence_text(self.prompt), "", "# Lanes", "", *_table(run), *answers]) + "\n"


def fence_text(text: str) -> str:
    """The text in a code fence that nothing within it can close."""
    text = sanitise(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{end_line(text)}{fence}"


def escape(text: str) -> str:
    """The text as one line in which no character is a mark of Markdown."""
    return _MARKS.sub(r"\\\g<0>", one_line(text))


def _table(run: Run) -> list[str]:
    winner = run.winner.lane if run.winner else None
    rows = ["| lane | status | TTFT | tok/s | tokens |", "|---|---|--:|--:|--:|"]
    for answer in run.answers:
        mark = " (winner)" if answer.lane == winner else ""
        ttft, rate, tokens = figures(answer)
        cells = (ttft.removeprefix("TTFT "), rate.removesuffix(" tok/s"), tokens.removesuffix(" tok"))
        rows.append(f"| {escape(answer.lane)}{mark} | {' | '.join((state(answer), *map(escape, cells)))} |")
    if run.wasted.tokens:
        rows += ["", f"Wasted on losers: {run.wasted.tokens} tokens."]
    return rows


def _section(answer: Answer, run: Run) -> list[str]:
    if not answer.answered and answer.error is None and not answer.notes:
        return []
    mark = " (winner)" if run.winner and answer.lane == run.winner.lane else ""
    parts = ["", f"# {escape(answer.lane)}{mark}", ""]
    if answer.error:
        parts += [escape(reason(answer.error)), ""]
    for note in answer.notes:
        parts += [escape(note), ""]
    if answer.answered:
        parts += [fence_text(body(answer)), ""]
    return parts[:-1]
