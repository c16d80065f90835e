"""A run as a Markdown document: the prompt, a table of the lanes, the answers.

Models write Markdown themselves, and it is left to be rendered: their headings go below the lane's, what they leave
open is closed. But they write HTML too, and pictures that tell a stranger who reads them: a tag's `<` and a picture's
`!` are escaped. An answer that all this does not tame stands in a code fence, longer than any fence within
(CommonMark 0.31, section 4.5); so does the prompt.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

from fanout.answers import Answer, Run
from fanout.formats import Output
from fanout.formats.plain import end_line
from fanout.formats.summary import body, describe_judging, explain, figures, money, one_line, say_waste, state, total
from fanout.formats.terminal import sanitise

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_MARKS = re.compile(r"[\\`*_\[\]<>#|&~@]|^[-+=]|(?<=^\d)[.)](?=\s|$)|(?<=\w):(?=//)|(?<=[Ww]{3})[.]")
"""The characters that are marks of Markdown wherever they stand, and those that are some at the beginning of a line."""

LEVEL = 3
"""The level of an answer's highest headings: the lane's own is 2."""

PASSES = 5
"""Times that an answer is gone through: what was inside of HTML is Markdown once that is escaped."""

_CODE = r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)"
_INLINE = re.compile(rf"\\.|{_CODE}|<https?://[^\s<>`]*>|(?P<mark>!(?=\[)|<(?=[A-Za-z/!?]))", re.DOTALL)
"""Escapes, code and links to pages, which are left alone, and the marks that would begin a picture or a tag."""


class Markdown(Output):
    """The document, when all is over; `safe` for a terminal, or with every character as it came."""

    def __init__(self, prompt: str, *, safe: bool = True) -> None:
        self.prompt = prompt
        self._safe = safe

    def shows_all(self, run: Run) -> bool:
        """Tells that what came of every lane is printed."""
        return True

    def run(self, run: Run) -> str:
        """Returns the document."""
        answers = [part for answer in run.answers for part in self._section(answer, run)]
        prompt = fence_text(self._clean(self.prompt))
        return "\n".join(["# Prompt", "", prompt, "", "# Lanes", "", *_table(run), *answers]) + "\n"

    def _clean(self, text: str) -> str:
        return sanitise(text) if self._safe else text

    def _section(self, answer: Answer, run: Run) -> list[str]:
        why = explain(answer)
        if not answer.answered and not why and not answer.notes:
            return []
        mark = " (winner)" if run.winner and answer.lane == run.winner.lane else ""
        parts = ["", f"## {escape(answer.lane)}{mark}", ""]
        for said in filter(None, (why, *answer.notes)):
            parts += [escape(said), ""]
        if answer.answered:
            parts += [tame(self._clean(body(answer))), ""]
        return parts[:-1]


def fence_text(text: str) -> str:
    """The text in a code fence that nothing within it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{end_line(text)}{fence}"


def escape(text: str) -> str:
    """The text as one line in which no character is a mark of Markdown."""
    return _MARKS.sub(r"\\\g<0>", one_line(text))


def tame(text: str) -> str:
    """Returns the text as Markdown that stays in its place: no picture, no HTML, no high heading, no open fence."""
    tamed = "\n".join(re.split(r"\r\n|\r|\n", text.rstrip()))
    for again in range(PASSES):
        tokens, lines = _parser().parse(tamed), tamed.split("\n")
        if again and _is_tame(tokens, lines):
            return tamed
        for token in reversed(tokens):
            if token.map is not None:
                lines[slice(*token.map)] = _tame_block(token, lines[slice(*token.map)], LEVEL if again else 7)
        tamed = "\n".join(lines)
    return fence_text(text)


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # noqa: PLC0415  # rich brings it; other formats do without

    return MarkdownIt("commonmark").enable("table")


def _tame_block(token: "Token", lines: list[str], below: int) -> list[str]:
    """The lines of a block; headings of a level `below` this one are lowered."""
    if token.type == "heading_open" and int(token.tag[1]) < below:
        return _lower(token, lines)
    if token.type in ("inline", "html_block"):
        return _INLINE.sub(_escape_mark, "\n".join(lines)).split("\n")
    if token.type == "fence" and token.level == 0 and not _is_closed(token.markup, lines):
        return [*lines, token.markup]
    return lines


def _escape_mark(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found["mark"] else found[0]


def _lower(token: "Token", lines: list[str]) -> list[str]:
    """Writes a heading so many levels lower; one that is underlined gets the marks that only lower ones have."""
    marks = "#" * min(int(token.tag[1]) + LEVEL - 1, 6)
    if token.markup.startswith("#"):
        return [re.sub(r"#+", marks, lines[0], count=1)]
    return [f"{marks} {' '.join(line.strip() for line in lines[:-1])}"]


def _is_closed(markup: str, lines: list[str]) -> bool:
    return len(lines) > 1 and re.fullmatch(rf" {{0,3}}{markup[0]}{{{len(markup)},}}\s*", lines[-1]) is not None


def _is_tame(tokens: "list[Token]", lines: list[str]) -> bool:
    every = [token for outer in tokens for token in (outer, *(outer.children or ()))]
    return not any(
        token.type in ("image", "html_inline", "html_block")
        or (token.type == "heading_open" and int(token.tag[1]) < LEVEL)
        or (
            token.type == "fence"
            and token.level == 0
            and not _is_closed(token.markup, lines[slice(*(token.map or ()))])
        )
        for token in every
    )


def _table(run: Run) -> list[str]:
    winner = run.winner.lane if run.winner else None
    heads = ("lane", "state", "first words", "total", "speed", "tokens", "cost")
    rows = [_cells(*heads), "|---|---|--:|--:|--:|--:|--:|"]
    for answer in run.answers:
        mark = " (winner)" if answer.lane == winner else ""
        first, rate, tokens = figures(answer)
        cells = (first, total(answer).removeprefix("total "), rate, tokens.removesuffix(" tok"))
        cost = "" if answer.cost is None else money(answer.cost)
        rows.append(_cells(escape(answer.lane) + mark, state(answer), *cells, cost))
    for told in describe_judging(run):
        rows += ["", f"{escape(told.strip())}."]
    if wasted := say_waste(run):
        rows += ["", f"Wasted on losers: {wasted}."]
    return rows


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
