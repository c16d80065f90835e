"""The answers as they are read on a terminal: in columns where the terminal is wide, else one above the other."""

from rich.cells import cell_len

from fanout.answers import Answer, Run
from fanout.events import Status
from fanout.formats import Output
from fanout.formats.plain import alone
from fanout.formats.summary import Who, explain, one_line, select_answers, state
from fanout.formats.wrapping import NARROWEST, SIDE_BY_SIDE, fill_rows, put_beside, wrap

_LONGEST_RULE = 100
_BETWEEN = "  "


class Headed(Output):
    """The winner's text; or every answer that counts under a heading, also what a failed lane had said.

    Lines are broken between words, at a terminal's `width`.
    """

    def __init__(self, width: int, who: Who = "all") -> None:
        self.width = width
        self.who = who

    def shows_all(self, run: Run) -> bool:
        """Tells whether what came of every lane is printed: not beside a winner, nor beside a quorum's answers."""
        return self.who == "all" or (self.who == "quorum" and not select_answers(run, self.who))

    def run(self, run: Run) -> str:
        """Returns the answers in the order of the lanes."""
        kept = select_answers(run, self.who)
        if self.who == "winner":
            return "".join(_join(wrap(alone(answer).rstrip("\n"), self.width)) for answer in kept)
        # A quorum's others are no answers of it; without a quorum all that came is shown, marked for what it is.
        shown = kept if self.who == "quorum" and kept else run.answers
        if not any(answer.answered or explain(answer) for answer in shown):
            return ""
        if len(shown) > 1 and self.width >= SIDE_BY_SIDE:
            rows = fill_rows(shown, (self.width + len(_BETWEEN)) // (NARROWEST + len(_BETWEEN)))
            wide = (self.width + len(_BETWEEN)) // len(rows[0]) - len(_BETWEEN)
            return "\n".join(
                _join(put_beside([_section(answer, wide, wide) for answer in row], wide, _BETWEEN)) for row in rows
            )
        return "\n".join(_join(_section(answer, self.width, min(self.width, _LONGEST_RULE))) for answer in shown)


def _section(answer: Answer, width: int, rule: int) -> list[str]:
    """The lines of one lane: its heading, what it said, why it failed."""
    standing = state(answer) + (", partial" if answer.answered and answer.status is not Status.FINISHED else "")
    name = one_line(answer.lane, max(rule - len(standing) - 8, 8))
    heading = one_line(f"── {name}: {standing}", rule)
    lines = [f"{heading} {'─' * (rule - cell_len(heading) - 1)}"[:rule]]
    if answer.answered:
        lines += wrap(alone(answer).rstrip("\n"), width)
    if why := explain(answer):
        lines += wrap(f"({why})", width)
    return lines


def _join(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
