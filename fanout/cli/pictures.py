"""Pictures on the terminal: what is drawn over itself, and must be away when something else has the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

shown: "list[Picture]" = []
"""The pictures that may be on the terminal now."""

_CURSOR_BACK = b"\r\x1b[K\x1b[?25h"


class Picture:
    """Something that is drawn over itself. Entered, it is among those `shown`; left, it is wiped."""

    holds = 0
    """The number of those who want it away."""

    @property
    def away(self) -> bool:
        """True while it may not be drawn."""
        return self.holds > 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Takes the picture away and keeps it away, for something else to be written."""
        self.clear()
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1

    def __enter__(self) -> Self:
        shown.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()
        shown.remove(self)

    def clear(self) -> None:
        """Takes the picture away, and gives the cursor back; the next draw brings it back."""


def give_cursor_back() -> None:
    """Leaves the terminal usable for whoever comes next, in a process that ends at once: nothing else is safe there."""
    if shown:
        for descriptor in (2, 1):
            if os.isatty(descriptor):
                os.write(descriptor, _CURSOR_BACK)
                return
