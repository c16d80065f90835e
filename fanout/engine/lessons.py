"""The lessons of one lane: how fast its service was, as far as that can be known. Pure: the time is given."""

from collections.abc import Collection, Sequence

from attrs import define, evolve, field

from fanout.errors import TimedOut
from fanout.events import CONTENT, End, Event, Reasoning, Status
from fanout.learning.latencies import FIRST, Key, Latencies, Measure
from fanout.learning.lengths import Lengths

SPOKEN = CONTENT - {Reasoning}
"""Content that is no thought."""


@define
class Silences:
    """The silences of one try, in seconds, from its start on: the first, and the longest."""

    last: float = 0.0
    first: float | None = None
    longest: float = 0.0

    def break_at(self, at: float) -> None:
        """Takes note of a word."""
        silence = at - self.last
        self.last = at
        self.longest = max(self.longest, silence)
        if self.first is None:
            self.first = silence


@define(eq=False)
class Lessons:
    """The lessons of one lane about its service's latency, learnt once it has ended.

    `measures` are what is learnt: the time to the first content, and what its policies wait by. `size` is that of
    the prompt in characters. A lane is `overtaken` when another one starts because it is late: then, if it is cut off,
    it counts as if it had ended at the cut. To leave it out would lower the estimate, by which more would be cut off
    and left out. A lane that lost otherwise teaches nothing, because it was cut off before it was late; nor does a
    failure, which is no latency. A time-out is one that took as long. `on_cancel` says whether the service stops, or
    runs on and bills the whole answer, when it is cut off.
    """

    key: Key
    latencies: Latencies
    measures: Collection[Measure] = (FIRST,)
    lengths: Lengths = field(factory=Lengths)
    on_cancel: str = "unknown"
    size: int = 0
    overtaken: bool = False
    listens: bool = field(default=True, init=False)
    """False once nothing more is to be learnt from content: after the first, where nobody waits by silences."""
    _words: Silences = field(factory=Silences, init=False)
    _output: Silences | None = field(default=None, init=False)
    """Those between words that are no thoughts; None as long as nothing but such words has come."""

    def begin(self, now: float) -> None:
        """Begins a try: those before it have failed."""
        self._words, self._output, self.listens = Silences(now), None, True

    def content(self, at: float, events: Sequence[Event]) -> None:
        """Takes the events of one read, with content among them."""
        if self._output is None and type(events[0]) in SPOKEN:  # nearly always, and so in full
            words = self._words
            silence, words.last = at - words.last, at
            words.longest = max(words.longest, silence)
            if words.first is None:
                words.first = silence
            self.listens = len(self.measures) > 1
            return
        thought = type(events[0]) not in SPOKEN and not any(type(event) in SPOKEN for event in events)
        if thought and self._output is None:
            self._output = evolve(self._words)
        self._words.break_at(at)
        if self._output is not None and not thought:
            self._output.break_at(at)

    def count_most(self, tokens: int, limit: int | None) -> int | None:
        """Returns the tokens for which a service may bill an answer that was cut off after so many; None if unknown.

        Unless it stops, that is what its answers usually have; or else `limit`, the most that it may have.
        """
        if self.on_cancel == "stops":
            return tokens
        usual = self.lengths.expected(self.key)
        most = limit if usual is None else usual if limit is None else min(usual, limit)
        return None if most is None else max(tokens, most)

    def end(self, end: End, now: float, tokens: int = 0) -> None:
        """Takes the lane's End, and learns; `tokens` are those of the answer."""
        if end.status is Status.FINISHED:
            self.lengths.saw(self.key, tokens)
        late = end.status is Status.TIMED_OUT and not (
            isinstance(end.error, TimedOut) and end.error.clock == "deadline"
        )
        cut = late or (end.status is Status.CANCELLED and self.overtaken)
        if not cut and (end.status is not Status.FINISHED or self._words.first is None):
            return
        for measure in self.measures:
            self.latencies.saw(self.key, self.size, self._measure(measure, now), measure)

    def _measure(self, measure: Measure, now: float) -> float:
        silences = self._words if measure.thoughts or self._output is None else self._output
        if measure.whole:
            return max(silences.longest, now - silences.last)
        return now - silences.last if silences.first is None else silences.first
