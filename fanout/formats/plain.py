"""Plain text for pipes: every line of an answer under its lane's name, or the winner's text alone."""

from collections.abc import Callable

from fanout.answers import Answer, Run
from fanout.events import Status
from fanout.formats import Output
from fanout.formats.summary import Who, body, one_line, select_answers
from fanout.formats.terminal import Sanitiser, sanitise


class Plain(Output):
    """The winner's text; or, where several answers count, `[lane] text`.

    Each line has the name, so that no answer can speak in the name of another lane. Where all count, a lane's lines
    are printed when it finishes; a quorum's, when there is one. `safe` text is for a terminal; a pipe gets what came.
    """

    def __init__(self, who: Who, *, safe: bool = True) -> None:
        self.who = who
        self._safe = safe
        self._streamed: Streamed | None = None

    def streams(self, lanes: int) -> bool:
        """Tells whether a text may be printed as it comes; a quorum's answers come together."""
        return self.who != "quorum"

    def piece(self, lane: str, text: str) -> str:
        """Returns what to print of the next piece of the one text that is certain to count."""
        if self._streamed is None:
            add = Sanitiser().feed if self._safe else str
            self._streamed = Streamed(lane, Labeller(lane, add).feed if self.who == "all" else add)
        return self._streamed.add(text)

    def answer(self, answer: Answer) -> str:
        """Returns the lines of a lane that finished, if all count, or what is not printed yet of them."""
        if self.who != "all":
            return ""
        shown = label(answer, safe=self._safe) if answer.status is Status.FINISHED and answer.answered else ""
        if self._streamed and self._streamed.lane == answer.lane:
            return self._streamed.finish(shown)
        return shown

    def run(self, run: Run) -> str:
        """Returns the winner's text, or what is not printed yet of it, or the lines of a quorum."""
        if self.who == "all":
            return ""
        shown = label if self.who == "quorum" else alone
        text = "".join(shown(answer, safe=self._safe) for answer in select_answers(run, self.who))
        return self._streamed.finish(text) if self._streamed else text


class Streamed:
    """The text of one lane that is printed as it comes, each piece as `prepare` makes it."""

    def __init__(self, lane: str, prepare: Callable[[str], str]) -> None:
        self.lane = lane
        self._prepare = prepare
        self._printed: list[str] = []

    def add(self, text: str) -> str:
        """Returns what to print of the next piece."""
        out = self._prepare(text)
        self._printed.append(out)
        return out

    def finish(self, whole: str) -> str:
        """Returns what is missing of the `whole`; where it is another text than what was printed, all of it."""
        printed = "".join(self._printed)
        if whole.startswith(printed):
            return whole[len(printed) :]
        return whole if not printed or printed.endswith("\n") else f"\n{whole}"


class Labeller:
    """Puts a lane's name before every line of a text that comes in pieces, each of which `clean` has made."""

    def __init__(self, lane: str, clean: Callable[[str], str]) -> None:
        self._label = f"[{one_line(lane)}] "
        self._clean = clean
        self._within = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Returns the lines and beginnings of lines that the piece brings."""
        text = self._held + self._clean(text)
        self._held = "\r" if text.endswith("\r") else ""  # half of a line end, perhaps
        out = []
        for line in text.removesuffix(self._held).splitlines(keepends=True):
            bare = line.splitlines()[0]
            out.append(bare if self._within else self._label + bare)
            self._within = bare == line
            out.append("" if self._within else "\n")
        return "".join(out)


def label(answer: Answer, *, safe: bool = True) -> str:
    """The answer, every line under the lane's name; whatever ends a line anywhere ends one here."""
    name, text = one_line(answer.lane), body(answer)
    return "".join(f"[{name}] {line}\n" for line in (sanitise(text) if safe else text).splitlines())


def alone(answer: Answer, *, safe: bool = True) -> str:
    """The answer's text with a line end: safe for a terminal, or exactly as it came."""
    text = body(answer)
    return end_line(sanitise(text) if safe else text)


def end_line(text: str) -> str:
    """The text with a line end."""
    return text if text.endswith("\n") else text + "\n"
