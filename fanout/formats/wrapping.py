"""Text broken into lines of a terminal's width, between words where there are any."""

from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len, get_character_cell_size

NARROWEST = 28
"""The least width of a lane's column."""
SIDE_BY_SIDE = 96
"""The least width of a terminal for all lanes in one row."""

CHARACTERS = 4
"""Characters of a line for each of its cells, at most: accents and the like have no width, and need not end."""

_TAB = "    "


class Wrapped:
    """Text broken into lines of one width, piece by piece: a line once broken stays as it is, so nothing jumps."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines = [""]

    def add(self, text: str) -> None:
        """Takes the next piece."""
        first, *others = text.replace("\t", _TAB).split("\n")
        self._extend(self.lines.pop() + first)
        for line in others:
            self._extend(line)

    def _extend(self, line: str) -> None:
        start, width, most = 0, self.width, CHARACTERS * self.width
        while True:
            # So many characters hold the first line, unless most of them have no width: then they are cut there.
            ahead = line[start : start + most]
            whole = width if ahead.isascii() else _fit(ahead, width)
            if len(ahead) <= whole:
                break
            space = ahead.rfind(" ", 1, whole + 1)
            cut = space + 1 if space > 0 else whole
            self.lines.append(ahead[:cut].rstrip(" "))
            start += cut
        self.lines.append(line[start:])


def _fit(text: str, width: int) -> int:
    """Returns how many characters fit into a line of so many cells, at least one."""
    used = 0
    for number, character in enumerate(text):
        used += get_character_cell_size(character)
        if used > width:
            return max(number, 1)
    return max(len(text) if len(text) < CHARACTERS * width else len(text) - 1, 1)


def wrap(text: str, width: int) -> list[str]:
    """Returns the text's lines, none wider than so many cells."""
    wrapped = Wrapped(max(width, 1))
    wrapped.add(text)
    return [line.rstrip(" ") for line in wrapped.lines]


def fit(text: str, width: int | None) -> str:
    """Returns the text, cut off at the end where it is wider than so many cells; None: as it is."""
    if width is None or cell_len(text) <= width:
        return text
    cut = text[:width]
    while cell_len(cut) > max(width - 1, 0):
        cut = cut[:-1]
    return f"{cut.rstrip()}…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Returns the text with spaces after it, or before it, that make it so many cells wide."""
    room = " " * (width - cell_len(text))
    return room + text if right else text + room


def put_beside(columns: Sequence[Sequence[str]], width: int, between: str) -> list[str]:
    """Returns the lines of several columns, each so many cells wide, beside one another."""
    rows = zip_longest(*columns, fillvalue="")
    return [between.join(pad(cell, width) for cell in row).rstrip() for row in rows]
