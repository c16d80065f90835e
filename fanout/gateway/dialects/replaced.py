"""The text of a stream, which nothing can be taken back of: a service that rewrites its text can only go on with it."""

from fanout.events import Delta, Replace


class Text:
    """Follows the text that was sent. `replaced` is what a service put in its place, where that is no continuation."""

    def __init__(self) -> None:
        self.replaced: str | None = None
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Notes what is sent."""
        self._pieces.append(text)

    def news_of(self, event: Delta | Replace) -> str:
        """Returns what of an event is to be sent, and notes it."""
        if isinstance(event, Delta):
            self._pieces.append(event.text)
            return event.text
        sent = "".join(self._pieces)
        if not event.text.startswith(sent):
            self.replaced = event.text
            return ""
        self._pieces = [event.text]
        return event.text[len(sent) :]
