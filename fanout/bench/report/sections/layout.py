"""The parts of sections: figures with their legend and data, tables, and notes."""

import re
from collections.abc import Sequence

from attrs import frozen

from fanout.bench.report.charts.drawing import lane_class, mark_of
from fanout.bench.report.markup import Child, Markup, join, tag

# Marks that make a browser show text in another order than it has.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class Term:
    """A word that the definitions explain under `key`."""

    word: str
    key: str


Cell = str | Term | None


@frozen
class Table:
    """Rows of texts; the first cell of a row is its name.

    `groups` are names above the heads, each over so many columns. `note` says what is left out.
    """

    head: Sequence[Cell]
    rows: Sequence[Sequence[Child]]
    note: str = ""
    groups: Sequence[tuple[Cell, int]] = ()


def section(key: str, heading: str, *parts: Child, folded: str = "") -> Markup:
    """A section that `key` links to; nothing where it has no parts. `folded` says what it opens, where it is closed."""
    if not join(*parts):
        return Markup()
    inside = (tag("details", tag("summary", folded), *parts, class_="folded"),) if folded else parts
    return tag("section", tag("h2", heading), *inside, id=key)


def figure(heading: str | None, says: Child, chart: Markup, table: Table, *, lanes: Sequence[str] = ()) -> Markup:
    """A chart under what it says, with a legend of `lanes` if their names are not in it, and its data."""
    return tag(
        "figure",
        tag("figcaption", tag("h3", heading) if heading else None, tag("p", says)),
        legend(lanes) if lanes else None,
        chart,
        data(table),
    )


def side_by_side(*figures: Child, thirds: bool = False) -> Markup:
    """Figures beside one another where there is room: two, or three. Nothing of no figure."""
    if not join(*figures):
        return Markup()
    return tag("div", *figures, class_="thirds" if thirds else "halves")


def legend(lanes: Sequence[str]) -> Markup:
    """The lanes' lines and marks."""
    return tag("ul", (tag("li", swatch(index), lane) for index, lane in enumerate(lanes)), class_="legend")


def swatch(index: int) -> Markup:
    """A lane's line and mark, for text."""
    return tag(
        "svg",
        tag("line", x1=0, x2=30, y1=7, y2=7, class_="line"),
        tag("use", href=f"#m{mark_of(index)}", x=15, y=7, class_="mark"),
        class_=lane_class(index, "swatch"),
        width=30,
        height=14,
        aria_hidden="true",
    )


def data(table: Table) -> Markup:
    """A table that is opened on demand."""
    note = tag("p", table.note, class_="note") if table.note else None
    return tag("details", tag("summary", "Data"), grid(table), note)


def grid(table: Table, class_: str | None = None) -> Markup:
    """A table, which scrolls by itself where it is wider than the page."""
    groups = (tag("th", _name(cell), colspan=span, scope="colgroup") for cell, span in table.groups)
    heads = tag("tr", (tag("th", _name(cell), scope="col") for cell in table.head))
    head = [tag("tr", groups, class_="groups") if table.groups else None, heads]
    body = (tag("tr", tag("th", row[0], scope="row"), (tag("td", cell) for cell in row[1:])) for row in table.rows)
    inside = tag("table", tag("thead", head), tag("tbody", body), class_=class_)
    return tag("div", inside, class_="scroll", tabindex="0", role="region", aria_label=_label(table))


def _label(table: Table) -> str:
    cells = [cell for cell, _ in table.groups] or table.head
    words = [cell.word if isinstance(cell, Term) else cell or "" for cell in cells]
    return "Table: " + ", ".join(word for word in words if word)


def _name(cell: Cell) -> Child:
    return tag("a", cell.word, href=f"#def-{cell.key}") if isinstance(cell, Term) else cell


def note(*words: Child) -> Markup:
    """A remark in small letters."""
    return tag("p", *words, class_="note")


def foreign(text: str, most: int = 400) -> Markup:
    """Words of a service, which may hold anything: as text, cut to a length, in the order in which they were sent."""
    kept = _TURNING.sub("\ufffd", text[:most]) + ("…" if len(text) > most else "")
    return tag("bdi", kept, class_="foreign")
