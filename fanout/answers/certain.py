"""The one lane whose answer is certain to count, and its text as it comes."""

from collections.abc import Callable, Sequence

from fanout.events import CONTENT, Delta, End, Event, Reasoning, Replace, Status, Tagged


class Certain:
    """Is told every event; from the moment when no other lane can count any more, it returns that lane's text.

    That is the winner's from the verdict on, and that of the last lane that runs: if none before it gave an answer,
    or where `all_count`. Where an answer may still be refused, the last lane is not certain: `last_counts` is False.

    What was returned is not taken back: of a text that its service rewrites, only a continuation follows, and where it
    is another text, nothing more.
    """

    def __init__(self, lanes: Sequence[str], *, all_count: bool = False, last_counts: bool = True) -> None:
        self.lane: str | None = None
        self._texts: dict[str, list[str]] = {lane: [] for lane in lanes}
        self._all_count = all_count
        self._last_counts = last_counts
        self._open = set(lanes)
        self._good: set[str] = set()
        self._replaced = False

    def event(self, tagged: Tagged, winner: Callable[[], str | None]) -> str:
        """Returns what is new of the text; `winner` says who has won, if anybody has."""
        lane, event = tagged.lane, tagged.event
        if self.lane is not None:
            return self._news_of(event) if lane == self.lane else ""
        self._note(lane, event)
        self.lane = self._last() or winner()
        return "".join(self._texts[self.lane]) if self.lane else ""

    def close(self, winner: Callable[[], str | None]) -> str:
        """Returns what is still to be said when no more events come: a verdict may fall after the last of them."""
        if self.lane is not None:
            return ""
        self.lane = winner()
        return "".join(self._texts[self.lane]) if self.lane else ""

    def _note(self, lane: str, event: Event) -> None:
        if isinstance(event, End):
            self._open.discard(lane)
            if event.status is not Status.FINISHED:
                self._good.discard(lane)
        elif type(event) in CONTENT and not isinstance(event, Reasoning):
            self._good.add(lane)
            if isinstance(event, Replace):
                self._texts[lane].clear()
            self._texts[lane].append(_text(event))

    def _news_of(self, event: Event) -> str:
        """Returns what an event adds to the text that was returned so far, which is in the lane's pieces."""
        assert self.lane is not None
        pieces = self._texts[self.lane]
        new = _text(event)
        if isinstance(event, Replace):
            given = "".join(pieces)
            self._replaced = not new.startswith(given)
            new = new[len(given) :]
        if self._replaced:
            return ""
        pieces.append(new)
        return new

    def _last(self) -> str | None:
        alone = self._last_counts and len(self._open) == 1 and (self._all_count or self._good <= self._open)
        return next(iter(self._open)) if alone else None


def _text(event: Event) -> str:
    return event.text if isinstance(event, Delta | Replace) else ""
