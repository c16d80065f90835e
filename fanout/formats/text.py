"""The answers' text alone, for the next program or for reading, when all is over."""

from fanout.answers import Run
from fanout.formats import Output
from fanout.formats.plain import Streamed, alone, label
from fanout.formats.summary import Who, select_answers
from fanout.formats.terminal import Sanitiser


class Text(Output):
    """The text of the answers that count, `safe` for a terminal, or exactly as it came.

    Where all count, every line of several lanes is under its lane's name; a quorum's have an empty line between.
    """

    def __init__(self, who: Who, *, safe: bool = True) -> None:
        self.who = who
        self._safe = safe
        self._streamed: Streamed | None = None

    def streams(self, lanes: int) -> bool:
        """Tells whether a text may be printed as it comes: several come in the order of their lanes."""
        return self.who == "winner" or lanes == 1

    def piece(self, lane: str, text: str) -> str:
        """Returns what to print of the next piece of the one text that is certain to count."""
        if self._streamed is None:
            self._streamed = Streamed(lane, Sanitiser().feed if self._safe else str)
        return self._streamed.add(text)

    def run(self, run: Run) -> str:
        """Returns the text, or what is not printed yet of it."""
        named = self.who == "all" and len(run.answers) > 1
        shown, between = (label, "") if named else (alone, "\n")
        text = between.join(shown(answer, safe=self._safe) for answer in select_answers(run, self.who))
        return self._streamed.finish(text) if self._streamed else text


class Raw(Output):
    """The winner's text exactly as the service sent it, with nothing before or after: never for a terminal."""

    def __init__(self) -> None:
        self._printed: list[str] = []

    def streams(self, lanes: int) -> bool:
        """Tells that the text may be printed as it comes."""
        return True

    def piece(self, lane: str, text: str) -> str:
        """Returns the piece."""
        self._printed.append(text)
        return text

    def run(self, run: Run) -> str:
        """Returns the text, or what is not printed yet of it."""
        printed, text = "".join(self._printed), run.winner.text if run.winner else ""
        return text.removeprefix(printed) if printed else text
