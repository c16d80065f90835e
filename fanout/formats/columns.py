"""The lanes side by side while they run: what has been heard, drawn for a width, a height and a moment.

What is drawn is never higher than asked for: a live region higher than the terminal scrolls, and then leaves copies of
itself behind. Where there is no room for columns the lanes are stacked, and where there is no room for that either
each has a line.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fanout.answers import Answer, Fold
from fanout.events import Delta, Reasoning, Refusal, Replace, Started, Status, Tagged
from fanout.formats.summary import figures, has_thought, one_line, reason, state
from fanout.formats.terminal import Sanitiser
from fanout.formats.wrapping import NARROWEST, SIDE_BY_SIDE, Wrapped, fill_rows

LOWEST = 5
"""The least height of a lane in a stack, its frame included."""
HIGHEST = 24
"""The lines that lanes in one row or one stack take at most; more lanes than that share all the lines there are."""

_STYLES = {None: "cyan", Status.FINISHED: "white", Status.FAILED: "red", Status.TIMED_OUT: "red"}
_GREY = "bright_black"
_WINNER = "bold green"
BEHIND = 3
"""Of so many times what can be seen at once the text is laid out at most: what comes faster is skipped."""
_FRAME = 4


class Column:
    """One lane as it is shown."""

    def __init__(self, lane: str) -> None:
        self.fold = Fold(lane)
        self.name = one_line(lane)
        self._kind: type | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._sanitiser = Sanitiser()
        self._wrapped = Wrapped(1)
        self._clean = ""
        self._new: list[str] = []

    def event(self, tagged: Tagged) -> None:
        """Takes an event of this lane."""
        event = tagged.event
        if isinstance(event, Started) and self.fold.started is None:
            self.fold.started = tagged.at
        self.fold.add([event], tagged.at)
        if isinstance(event, Delta | Reasoning | Refusal | Replace):
            self._take(type(event), event.text)

    def _take(self, kind: type, text: str) -> None:
        """Adds to the text; reasoning makes room for the answer, and the answer for its new version."""
        if kind is Replace or (self._kind is Reasoning and kind is not Reasoning):
            self._begin_anew()
        elif kind is Reasoning and self._kind not in (None, Reasoning):
            return
        self._kind = kind
        self._new.append(text)

    def lines(self, width: int, most: int) -> list[str]:
        """Returns the end of the text in lines none of which is wider than `width`: all, or at least `most` of them.

        The work is bounded by what can be seen, whatever has come since the last picture: of a text that is longer, the
        end is laid out, as if it began there.
        """
        bound = BEHIND * width * most
        new = self._read_new(bound)
        if self._wrapped.width != width or len(new) >= bound:
            self._wrapped = Wrapped(width)
            self._clean = new = (self._clean + new)[-bound:]
        else:
            self._clean = (self._clean + new)[-bound:]
        self._wrapped.add(new)
        del self._wrapped.lines[: -2 * most]
        return self._wrapped.lines

    def _read_new(self, bound: int) -> str:
        """Returns what has come, made safe; of more than `bound` characters only the end is read."""
        pieces, self._new = self._new, []
        size, first = 0, len(pieces)
        while first and size < bound:
            first -= 1
            size += len(pieces[first])
        text = "".join(pieces[first:])
        if first or len(text) > bound:
            self._sanitiser, text = Sanitiser(), text[-bound:]
        return self._sanitiser.feed(text)[-bound:]

    @property
    def thinking(self) -> bool:
        """True if the text is the model's reasoning, because the answer has not begun."""
        return self._kind is Reasoning

    def standing(self, answer: Answer, now: float, width: int) -> list[str]:
        """The lane in a few words, the most important first: its state, how fast it is, why it failed.

        Of a lane that thinks, the time of its first thought is among them where there is room.
        """
        if self.fold.started is None and answer.status is None:
            return ["waiting"]
        so_far = now - (self.fold.started or 0.0)
        if answer.error and answer.status in (Status.FAILED, Status.TIMED_OUT):
            return [reason(answer.error)]
        word = "thinking" if answer.status is None and self.thinking else state(answer)
        if answer.ttft is None and answer.status is None:
            return [word, f"{so_far:.1f} s"]
        first, *others = figures(answer, so_far)
        if has_thought(answer) and answer.ttfo is not None and cell_len(f"{word} · {first}") > width:
            first = f"answers at {answer.ttfo:.2f} s"
        return [word, *filter(None, (first, *others))]


class Columns:
    """All lanes: tell it every event, and draw it whenever the picture is wanted."""

    def __init__(self, lanes: Sequence[str]) -> None:
        self.winner: str | None = None
        self._columns = {lane: Column(lane) for lane in lanes}

    def event(self, tagged: Tagged) -> None:
        """Takes an event of any lane."""
        if tagged.lane not in self._columns:  # one that is asked again
            self._columns[tagged.lane] = Column(tagged.lane)
        self._columns[tagged.lane].event(tagged)

    def draw(self, width: int, height: int, now: float) -> RenderableType:
        """The picture at `now`, in seconds after the prompt was put."""
        columns = list(self._columns.values())
        many = len(columns)
        if width >= SIDE_BY_SIDE and width // many >= NARROWEST and height >= LOWEST:
            return self._grid([columns], width, min(height, HIGHEST), now)
        if width >= NARROWEST and height // many >= LOWEST:
            most = min(height, HIGHEST) // many if HIGHEST // many >= LOWEST else height // many
            return Group(*(self._panel(lane, width, _height([lane], width, most), now) for lane in columns))
        if rows := _fill_rows(columns, width, height):
            return self._grid(rows, width, height // len(rows), now)
        if height // many > 1:
            return Group(*(self._lines(column, width, height // many, now) for column in columns))
        shown = columns if many <= height else columns[: max(height - 1, 0)]
        lines = [self._line(column, width, now) for column in shown]
        if many > len(shown):
            lines.append(Text(f"… and {many - len(shown)} more", style=_GREY, no_wrap=True))
        return Group(*lines[:height])

    def _grid(self, rows: Sequence[Sequence[Column]], width: int, most: int, now: float) -> RenderableType:
        """Rows of lanes side by side, each at most so many lines high."""
        return Group(*(self._side_by_side(row, width // len(rows[0]), most, now) for row in rows))

    def _side_by_side(self, columns: Sequence[Column], wide: int, most: int, now: float) -> RenderableType:
        table = Table.grid(padding=0)
        for _ in columns:
            table.add_column(width=wide, no_wrap=True)
        high = _height(columns, wide, most)
        table.add_row(*(self._panel(column, wide, high, now) for column in columns))
        return table

    def _lines(self, column: Column, width: int, most: int, now: float) -> RenderableType:
        """A lane without a frame: its state, and the end of its text below."""
        shown = [line for line in column.lines(max(width - 2, 1), most) if line.strip()][1 - most :]
        style = _GREY if column.thinking or self._style(column.fold.answer) == _GREY else ""
        text = Text("\n".join(f"  {line}" for line in shown), style=style, no_wrap=True, overflow="crop")
        return Group(self._line(column, width, now), *([text] if shown else []))

    def _panel(self, column: Column, width: int, height: int, now: float) -> Panel:
        answer = column.fold.answer
        style = self._style(answer)
        lines = column.lines(width - _FRAME, height)[-(height - 2) :]
        quiet = style == _GREY or column.thinking
        standing = _fitting(column.standing(answer, now, width - 6), width - 6, least=1)
        return Panel(
            Text("\n".join(lines), style=_GREY if quiet else "", no_wrap=True, overflow="crop"),
            title=Text(self._name(column, width - 6), style=style),
            title_align="left",
            subtitle=Text(standing, style=style),
            subtitle_align="left",
            border_style=style,
            width=width,
            height=height,
        )

    def _line(self, column: Column, width: int, now: float) -> Text:
        answer = column.fold.answer
        name = self._name(column, max(width // 3, 8))
        words = [name, *column.standing(answer, now, width - cell_len(name) - 3)]
        return Text(_fitting(words, width, least=2), style=self._style(answer), no_wrap=True, overflow="crop")

    def _name(self, column: Column, width: int) -> str:
        mark = "* " if column.fold.lane == self.winner else ""
        return one_line(mark + column.name, max(width, 4))

    def _style(self, answer: Answer) -> str:
        if answer.lane == self.winner:
            return _WINNER
        if self.winner is not None and answer.status is not None:
            return _GREY
        return _STYLES.get(answer.status, _GREY)


def _fitting(words: list[str], width: int, *, least: int) -> str:
    """As many of the words as fit, but at least so many, cut off at the end."""
    while len(words) > least and cell_len(" · ".join(words)) > width:
        words = words[:-1]
    return one_line(" · ".join(words), max(width, 2))


def _fill_rows(columns: list[Column], width: int, height: int) -> list[Sequence[Column]]:
    """The lanes in as few rows as there is room for, all but the last of one length; none where there is no room."""
    most = width // NARROWEST
    rows = fill_rows(columns, most) if most > 1 else []
    return rows if rows and height // len(rows) >= LOWEST else []


def _height(columns: Sequence[Column], width: int, most: int) -> int:
    """The height of the panels: as their longest text needs, within what there is."""
    longest = max(len(column.lines(width - _FRAME, most)) for column in columns)
    return min(most, max(LOWEST, longest + 2))
