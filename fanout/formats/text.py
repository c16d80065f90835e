"""The answers' text alone, for reading or for the next program, when all is over."""

from fanout.answers import Run
from fanout.events import Status
from fanout.formats import Output
from fanout.formats.plain import alone
from fanout.formats.summary import Who, one_line, reason, select_answers, state


class Text(Output):
    """The text of the answers that count, with an empty line between."""

    def __init__(self, who: Who) -> None:
        self.who = who

    def run(self, run: Run) -> str:
        """Returns the text, safe for a terminal."""
        return "\n".join(map(alone, select_answers(run, self.who)))


class Headed(Output):
    """Every lane under a heading, also what a failed lane had said before it failed."""

    def __init__(self, width: int) -> None:
        self.width = width

    def run(self, run: Run) -> str:
        """Returns all answers in the order of the lanes."""
        parts: list[str] = []
        for answer in run.answers:
            parts.append(f"── {one_line(answer.lane)}: {state(answer)} ".ljust(self.width, "─") + "\n")
            if answer.answered:
                parts.append(alone(answer))
            if answer.error and answer.status is not Status.FINISHED:
                parts.append(f"({reason(answer.error)})\n")
            parts.append("\n")
        return "".join(parts[:-1])


class Raw(Output):
    """The winner's text exactly as the service sent it, with nothing before or after: never for a terminal."""

    def run(self, run: Run) -> str:
        """Returns the text."""
        return run.winner.text if run.winner else ""
