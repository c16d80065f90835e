"""The pages that an answer rests on, gathered from the places where it cites them."""

from typing import Any

from fanout.events import Event, Source, Sources
from fanout.providers.reader import text_of
from fanout.wire.json_text import repair


class Citations:
    """Every page once, in the order in which they are first cited."""

    def __init__(self) -> None:
        self._pages: dict[str, Source] = {}

    def add(self, url: Any, title: Any, out: list[Event]) -> None:
        """Appends the event of all the pages so far, if this one is an address on the web and new."""
        if not text_of(url) or not url.startswith(("http://", "https://")):
            return
        page = Source(repair(url), repair(text_of(title) or "") or None)
        if page.url not in self._pages:
            self._pages[page.url] = page
            out.append(Sources(list(self._pages.values())))
