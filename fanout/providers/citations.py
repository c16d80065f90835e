"""The pages that an answer rests on, gathered from the places where it cites them."""

from collections.abc import Iterable
from typing import Any

from fanout.events import Event, Source, Sources
from fanout.providers.reader import text_of
from fanout.wire.json_text import repair

MAX_PAGES = 1000
"""Pages that are kept of one answer: each new one makes an event of all so far."""


class Citations:
    """Every page once, in the order in which they are first cited, with the first title that it is given."""

    def __init__(self) -> None:
        self._pages: dict[str, Source] = {}

    def add(self, url: Any, title: Any, out: list[Event]) -> None:
        """Appends the event of all the pages so far, if this one is an address on the web and tells something new."""
        self.add_all([(url, title)], out)

    def add_all(self, pages: Iterable[tuple[Any, Any]], out: list[Event]) -> None:
        """Takes pages as (address, title), and appends one event for all of them. What is no address is passed over."""
        news = [self._add(url, title) for url, title in pages]
        if any(news):
            out.append(Sources(list(self._pages.values())))

    def _add(self, url: Any, title: Any) -> bool:
        if not text_of(url) or not url.startswith(("http://", "https://")):
            return False
        if len(self._pages) >= MAX_PAGES and url not in self._pages:
            return False  # as soon as can be: of one reply there may be tens of thousands
        page = Source(repair(url), repair(text_of(title) or "") or None)
        known = self._pages.get(page.url)
        if (len(self._pages) >= MAX_PAGES) if known is None else (known.title or not page.title):
            return False
        self._pages[page.url] = page
        return True
