"""Plain text for pipes: every line of an answer under its lane's name, or the winner's text alone."""

from fanout.answers import Answer, Run
from fanout.events import Status
from fanout.formats import Output
from fanout.formats.summary import Who, body, one_line, select_answers
from fanout.formats.terminal import sanitise


class Plain(Output):
    """The winner's text; or, where several answers count, `[lane] text`.

    Each line has the name, so that no answer can speak in the name of another lane. Where all count, a lane's lines
    are printed when it finishes; a quorum's, when there is one.
    """

    def __init__(self, who: Who) -> None:
        self.who = who

    def answer(self, answer: Answer) -> str:
        """Returns the lines of a lane that finished, if all count."""
        return label(answer) if self.who == "all" and answer.status is Status.FINISHED else ""

    def run(self, run: Run) -> str:
        """Returns the winner's text, or the lines of a quorum."""
        if self.who == "all":
            return ""
        shown = label if self.who == "quorum" else alone
        return "".join(map(shown, select_answers(run, self.who)))


def label(answer: Answer) -> str:
    """The answer, every line under the lane's name."""
    name = one_line(answer.lane)
    return "".join(f"[{name}] {line}\n" for line in sanitise(body(answer)).rstrip("\n").split("\n"))


def alone(answer: Answer) -> str:
    """The answer's text, safe for a terminal, with a line end."""
    return end_line(sanitise(body(answer)))


def end_line(text: str) -> str:
    """The text with a line end."""
    return text if text.endswith("\n") else text + "\n"
