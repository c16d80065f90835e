"""The end of an answer: what every reader knows of it, and the one event that says so."""

from fanout.abc import Head
from fanout.errors import ProviderError, TimedOut
from fanout.events import End, Status
from fanout.wire.faults import kept_headers, request_id
from fanout.wire.json_text import excerpt

MAX_NOTES = 16
"""Notes on one answer."""


class AnswerEnding:
    """Keeps what a reader's End needs, and makes it by `make_end`; a protocol's end mark calls `finish`.

    `complete` says that the end mark has been seen, `_error` what went wrong within the answer, `_ended` that the End
    has been given out.
    """

    def __init__(self, head: Head) -> None:
        self.complete = False
        self.model: str | None = None
        self._head = head
        self._error: ProviderError | None = None
        self._reason: str | None = None
        self._raw: str | None = None
        self._ended = False
        self._notes: dict[str, None] = {}

    def finish(self, reason: str, raw: object = None) -> None:
        """Takes the end mark, after which the answer is complete; `raw` is the service's word for `reason`."""
        self.complete = True
        self._reason, self._raw = reason, raw if isinstance(raw, str) and raw else None

    def note(self, text: str) -> None:
        """Has the answer say `text`, which a reader of it should know."""
        if len(self._notes) < MAX_NOTES:
            self._notes[excerpt(text, 200)] = None

    def make_end(self, error: ProviderError) -> End:
        """Makes the End of a complete answer, else of one that `error` cut off; a clock of ours makes it timed out."""
        headers = kept_headers(self._head.headers)
        known = request_id(self._head.headers)
        if self.complete:
            if self._reason == "unknown" and self._raw:
                self.note(f"the service ended with the reason {excerpt(self._raw, 100)!r}, which is not known")
            notes = tuple(self._notes)
            return End(Status.FINISHED, self._reason, None, self._raw, self.model, known, headers, notes)
        error.request_id = error.request_id or known
        status = Status.TIMED_OUT if isinstance(error, TimedOut) and error.clock else Status.FAILED
        return End(status, None, error, None, self.model, error.request_id, headers, tuple(self._notes))
