"""The formats in which a run is printed: one a file, all of them pure.

A format is told what happens, and returns the text to print now. None of them knows what it is printed on.
"""

from fanout.answers import Answer, Run
from fanout.events import Tagged


class Output:
    """A format; what it has no word for, it answers with an empty string."""

    def event(self, tagged: Tagged, /) -> str:
        """Returns what to print for one event."""
        return ""

    def streams(self, lanes: int, /) -> bool:
        """Tells whether, of a run of so many lanes, a text that is certain to count may be printed as it comes."""
        return False

    def shows_all(self, run: Run, /) -> bool:
        """Tells whether `run` prints what came of every lane, also of those whose answers do not count."""
        return False

    def piece(self, lane: str, text: str, /) -> str:
        """Returns what to print of the next piece of that text."""
        return ""

    def answer(self, answer: Answer, /) -> str:
        """Returns what to print for a lane that has just ended."""
        return ""

    def run(self, run: Run, /) -> str:
        """Returns what to print when all is over, beside what was printed already."""
        return ""
