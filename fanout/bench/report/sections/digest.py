"""The parts of a run's records that charts need: read twice, and small however many records there are."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median

from attrs import define, field

from fanout.bench.analysis.metrics import measure
from fanout.bench.records.record import Record
from fanout.bench.report.charts.gaps import class_of
from fanout.bench.report.charts.scales import thin
from fanout.bench.report.charts.timeline import Pace, Timeline
from fanout.events import Status

INTERVALS = 80
"""Intervals of the timeline, at most."""
EACH = 3
"""Requests of a lane in each interval, at least on average."""
REQUESTS = 40
"""Requests in the waterfall, about."""


@define
class Seen:
    """A lane's requests at the lightest load, in seconds; infinite where a request came to nothing.

    `gaps` counts gaps by their class; `by_block` has a figure for every block.
    """

    ttft: "array[float]" = field(factory=lambda: array("d"))
    total: "array[float]" = field(factory=lambda: array("d"))
    gaps: Counter[int] = field(factory=Counter)
    by_block: dict[int, float] = field(factory=dict)

    @property
    def streams(self) -> bool:
        """True if there is a time to first token."""
        return any(value < inf for value in self.ttft)


@define
class Digest:
    """The digest of a whole run.

    `asked` has the first sending of each block, `starts` that of each level; `blocks` are those that are shown whole.
    """

    level: float | None
    seen: dict[str, Seen]
    timeline: Timeline
    blocks: dict[int, list[Record]] = field(factory=dict)
    asked: dict[int, float] = field(factory=dict)
    starts: dict[float, float] = field(factory=dict)
    end: float = 0.0

    @property
    def streams(self) -> bool:
        """True if any lane sent its answers in pieces."""
        return any(seen.streams for seen in self.seen.values())


def digest(records: Sequence[Record], lanes: Sequence[str], level: float | None, *, open_loop: bool) -> Digest:
    """Reads the records; distributions are of one level of load, the timeline is of all."""
    made = Digest(level, {lane: Seen() for lane in lanes}, Timeline(1.0, (), (), ()))
    troubled: dict[int, None] = {}
    for record in records:
        made.end = max(made.end, record.sent + record.ended)
        if not record.warmup:
            _take(made, record, "response" if open_loop else "e2e")
            if not record.finished and record.status is not Status.CANCELLED:
                troubled[record.block] = None
    chosen = _choose_blocks(made, len(lanes), troubled)
    made.blocks = {block: [] for block in chosen}
    number = max(4, min(INTERVALS, len(records) // (EACH * max(1, len(lanes)))))
    lengths = _Intervals(lanes, number, made.end / number or 1.0)
    for record in records:
        lengths.add(record)
        if record.block in made.blocks and not record.warmup and record.level == level:
            made.blocks[record.block].append(record)
    made.timeline = lengths.timeline(sorted(made.starts.values())[1:])
    return made


def _take(made: Digest, record: Record, total: str) -> None:
    if record.level is not None:
        made.starts[record.level] = min(made.starts.get(record.level, inf), record.sent)
    if record.level != made.level:
        return
    made.asked[record.block] = min(made.asked.get(record.block, inf), record.sent)
    if record.race or record.status is Status.CANCELLED or record.lane not in made.seen:
        return
    seen, figures = made.seen[record.lane], measure(record)
    ttft, end = figures["ttft"], figures[total]
    if not record.finished:
        ttft = end = inf
    if ttft is not None:
        seen.ttft.append(ttft)
    if end is not None:
        seen.total.append(end)
        seen.by_block[record.block] = end if ttft is None else ttft
    seen.gaps.update(map(class_of, figures.gaps))


def _choose_blocks(made: Digest, lanes: int, troubled: Iterable[int]) -> list[int]:
    """Blocks from the whole run, in the order in which they were asked; one with a failure is among them."""
    order = sorted(made.asked, key=made.asked.__getitem__)
    most = max(3, REQUESTS // max(1, lanes))
    chosen = {order[index] for index in thin(len(order), most)}
    among = [block for block in troubled if block in made.asked]
    if among and not chosen & set(among):
        chosen.add(among[0])
    return sorted(chosen, key=made.asked.__getitem__)


@define
class _Intervals:
    """Counts requests in so many intervals of `width` seconds."""

    lanes: Sequence[str]
    number: int
    width: float
    finished: Counter[int] = field(factory=Counter)
    failed: Counter[int] = field(factory=Counter)
    busy: defaultdict[int, float] = field(factory=lambda: defaultdict(float))
    firsts: dict[tuple[str, int], "array[float]"] = field(factory=dict)

    def add(self, record: Record) -> None:
        end = record.sent + record.ended
        start, last = self._place(record.sent), self._place(end)
        for index in range(start, last + 1):
            self.busy[index] += max(0.0, min(end, (index + 1) * self.width) - max(record.sent, index * self.width))
        if record.finished:
            self.finished[last] += 1
            if record.streamed and record.times and not record.warmup:
                self.firsts.setdefault((record.lane, start), array("d")).append(record.times[0])
        elif record.status is not Status.CANCELLED:
            self.failed[last] += 1

    def _place(self, at: float) -> int:
        return min(self.number - 1, max(0, int(at / self.width)))

    def timeline(self, borders: Sequence[float]) -> Timeline:
        every = range(self.number)
        return Timeline(
            self.width,
            [self.finished[index] for index in every],
            [self.failed[index] for index in every],
            [self.busy[index] / self.width for index in every],
            [Pace(lane, index, self._medians(lane)) for index, lane in enumerate(self.lanes)],
            borders,
        )

    def _medians(self, lane: str) -> list[float | None]:
        rows = (self.firsts.get((lane, index)) for index in range(self.number))
        return [median(row) if row else None for row in rows]


def outcomes(made: Digest, lanes: Sequence[str]) -> dict[str, str]:
    """The outcomes of each lane's blocks as letters, as `charts.winners` has them, in the order of asking."""
    order = sorted(made.asked, key=made.asked.__getitem__)
    best: dict[int, float] = {}
    for lane in lanes:
        for block, value in made.seen[lane].by_block.items():
            best[block] = min(value, best.get(block, inf))
    return {lane: "".join(_outcome(made.seen[lane].by_block, best, block) for block in order) for lane in lanes}


def _outcome(mine: Mapping[int, float], best: Mapping[int, float], block: int) -> str:
    value = mine.get(block)
    if value is None:
        return "-"
    if value == inf:
        return "f"
    return "w" if value == best[block] else "l"
