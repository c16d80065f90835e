"""One try of a lane: its round trips, the reader of its answer, and what is left to be done when it is cut off."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property, partial
from inspect import CO_VARARGS

import trio
from attrs import define, evolve, field

from fanout.abc import Flow, Head, Provider, Reader, Reply, Request, Transport
from fanout.credentials import Credentials
from fanout.credentials.scrub import Scrubber
from fanout.credentials.secret import Secret
from fanout.engine.checked import bare, check
from fanout.engine.keys import Keys
from fanout.engine.retry import Relogin, Wait
from fanout.engine.watch import Watch
from fanout.errors import (
    FanoutError,
    InvalidRequest,
    ProtocolError,
    ProviderError,
    TimedOut,
    TooLarge,
    Truncated,
)
from fanout.errors.parsing import PASSING, make_internal_error, parsing, translate
from fanout.events import End, Event, Status, Usage
from fanout.prompt import Prompt
from fanout.transports.fetch import fetch

LANE_BYTES = 64 << 20
"""Bytes of decoded body that a try may receive."""

FAREWELL = 1.0
"""Seconds that a lane which is cut off may take to tell its service to stop."""


def _let_go(_: list[Event]) -> None:
    """Takes no more events."""


@define(eq=False)
class Trial:
    """One try, made new for each: the Receiver of its answer, whose events go to `take` in the read that brings them.

    Those of the last read, with the End, go to `conclude`. The try has `ended` when its End has been read, and is `cut`
    when it was left before that; nothing is read after either. `then` follows instead of the lane's End, `secrets` are
    those of its requests, which no error may show, and `bug` is an exception of whoever hears the events. The service
    has `refused` it if the response's status says so.
    """

    provider: Provider
    secrets: set[Secret]
    _transport: Transport
    _watch: Watch
    _take: Callable[[list[Event]], None]
    _conclude: Callable[[list[Event]], None]
    ended: bool = field(default=False, init=False)
    cut: bool = field(default=False, init=False)
    then: Wait | Relogin | None = field(default=None, init=False)
    bug: Exception | None = field(default=None, init=False)
    refused: bool = field(default=False, init=False)
    _request: Request | None = field(default=None, init=False)
    _reader: Reader | None = field(default=None, init=False)
    _renewed: Credentials | None = field(default=None, init=False)
    _received: int = field(default=0, init=False)
    _scrubber: Scrubber = field(factory=Scrubber, init=False)

    async def exchange(self, prompt: Prompt) -> ProviderError | None:
        """Asks, and returns when the answer is over: the error that ended it before its End, if one did.

        Whatever the provider's code raises is such an error, and whatever the transport raises, but for PASSING.
        """
        # Before the request is made, which would want a farewell: also by who has just heard that it starts.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            if (login := self.provider.credentials) is not None:
                self.secrets.update(login.cookies.values(), login.secrets.values())
            self._request = await self._last_request(prompt)
            await self._transport.exchange(self._request, self, self._watch.connect)
        except ProviderError as error:
            return error
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001  # a lane's fault is its own
            broken = make_internal_error(error)
            broken.__cause__ = error
            return broken
        return None

    async def _last_request(self, prompt: Prompt) -> Request:
        """Makes the round trips before the last one, and returns the last one's request."""
        with parsing("the request cannot be made", InvalidRequest):
            flow = self.provider.flow(prompt)  # a generator: nothing of it runs before `next`
            request, is_last = _advance(flow, None)
            request = self._outgoing(request)
        while not is_last:
            reply = await fetch(self._transport, request, self._watch.connect)
            with parsing():
                request, is_last = _advance(flow, reply)
                request = self._outgoing(request)
        return request

    def _outgoing(self, request: Request) -> Request:
        """Prepares a request, of which the error of this try must show no secret. Every request goes through here."""
        self.secrets.update(value for value in request.headers.values() if isinstance(value, Secret))
        return request

    def head(self, head: Head, /) -> None:
        """Begins to read the response."""
        assert self._request is not None
        self.refused = head.status >= 400
        with parsing():
            self._reader = check(_make_reader(self.provider, head, self._request))
            if head.status < 300:
                self._renewed = self.provider.renewed(head)

    def data(self, data: bytes, /) -> bool:
        """Takes the bytes of one read: decoded, judged and on the channel before this returns True, at the end."""
        if self.ended or self.cut:
            return True
        self._received += len(data)
        if self._received > LANE_BYTES:
            self.cut = True
            raise TooLarge(f"the answer exceeds {LANE_BYTES} bytes")
        assert self._reader is not None
        try:  # in full, because a context manager would be half of what this costs
            events = self._reader.feed(data)
            ends = bool(events) and isinstance(events[-1], End)
        except (ProviderError, *PASSING):
            raise
        except Exception as error:
            self.cut = True
            raise translate(error) from error
        if events:
            try:
                if ends:
                    self.ended = True
                    self._conclude(events)
                else:
                    self._take(events)
            except Exception as bug:  # noqa: BLE001  # not the transport's business: raised again when that is over
                self.bug = bug
                return True
            if self.ended or self.cut:
                return True
        elif not self.refused and data:
            self._watch.begin()
        if self._reader.complete:
            self._watch.complete()
        return False

    def close(self, error: ProviderError | None) -> list[Event]:
        """Returns what the reader still holds, with the End; `error` is what cut its answer off."""
        self.ended = True
        if self._reader is None:
            return [End(Status.FAILED, error=error or Truncated("the service closed the connection without a word"))]
        try:
            with parsing():
                events = self._reader.close(error)
                if not (events and isinstance(events[-1], End)):
                    raise AssertionError("the reader's last event is no End")
                return events
        except ProviderError as broken:
            return [End(Status.FAILED, error=error or broken)]

    def scrub(self, events: list[Event]) -> list[Event]:
        """Returns the events without the secrets of this try's requests, and of those before it."""
        return self._scrubber.scrub_events(events, self.secrets)

    def cut_off(self) -> None:
        """Leaves the answer where it is: nothing more is read. `errand` has what tells its service to stop."""
        self.cut = True

    def release(self) -> None:
        """Lets go of the lane, which is over, and of a reader at its end: cycles wait for the garbage collector."""
        self._take = self._conclude = _let_go
        if self.ended:
            self._reader = None

    @property
    def url(self) -> str:
        """The address that was asked, without its query, which may hold a key; empty before there is a request."""
        return "" if self._request is None else self._request.url.partition("?")[0]

    @property
    def late_usage(self) -> Usage | None:
        """The service's count of an answer that has been cut off, for good."""
        counts = [event for event in self._rest if isinstance(event, Usage)]
        return counts[-1] if counts else None

    @property
    def lesson(self) -> ProviderError | None:
        """The refusal that had begun to come when the try was cut off, for good."""
        if not self.refused:
            return None
        ends = [event for event in self._rest if isinstance(event, End)]
        return ends[-1].error if ends else None

    @cached_property
    def _rest(self) -> list[Event]:
        """The events that the reader of an answer which has been cut off still holds.

        The reader is asked when somebody wants to know, and not in `cut_off`: there seven losers would keep a winner
        waiting for 0.4 ms.
        """
        if self.ended or self._reader is None:
            return []
        with suppress(ProviderError), parsing():
            return self._reader.close()
        return []

    def errand(self, keys: Keys, *, answered: bool) -> Callable[[], Awaitable[None]] | None:
        """Returns what is still to be done for the service: to stop it if it goes on, to keep what it renewed.

        What was renewed is kept if the service has `answered`, also where the lane lost. None, mostly: nothing.
        """
        farewell = self._farewell()
        renewed = self._renewed if answered else None
        if farewell is None and renewed is None:
            return None
        return partial(self._run_errand, farewell, renewed, keys)

    def _farewell(self) -> Request | None:
        """Returns what tells a service to stop that goes on without a connection."""
        if not self.cut or self._request is None:
            return None
        with suppress(ProviderError), parsing():
            if self._reader is None or not self._reader.complete:
                farewell = self.provider.farewell(self._request, bare(self._reader))
                return None if farewell is None else self._outgoing(farewell)
        return None

    async def _run_errand(self, farewell: Request | None, renewed: Credentials | None, keys: Keys) -> None:
        """If this fails, the answer is there all the same, and the login may have to be repeated later."""
        if farewell is not None:
            with trio.move_on_after(FAREWELL), suppress(FanoutError), parsing():
                await fetch(self._transport, farewell, FAREWELL)
        if renewed is not None:
            with trio.move_on_after(FAREWELL), suppress(FanoutError), parsing():
                await keys.keep(renewed)


def _advance(flow: Flow, reply: Reply | None) -> tuple[Request, bool]:
    """Returns the next request of a flow, and True with its last one."""
    try:
        return (next(flow) if reply is None else flow.send(reply)), False
    except StopIteration as last:
        return last.value, True


def _make_reader(provider: Provider, head: Head, request: Request) -> Reader:
    """Makes the reader of a response; a plug-in written for 0.1.0 has a `read` that takes the head alone."""
    code = getattr(type(provider).read, "__code__", None)
    if code is not None and code.co_argcount == 2 and not code.co_flags & CO_VARARGS:
        return provider.read(head)
    return provider.read(head, request)


def judge(events: list[Event], had_content: bool, fired: TimedOut | None = None) -> End:
    """Makes the reader's End, the last of these events, the lane's: a clock of ours is a time-out, nothing no answer.

    An answer with nothing in it may be asked for again; but one whose tokens were counted, or of which something came
    that is not known, is there and paid for, and would only be paid for twice. `fired` is the clock that ended it.
    """
    end = events[-1]
    assert isinstance(end, End)
    if isinstance(end.error, TimedOut) and end.error.clock:
        end.status = Status.TIMED_OUT
    if had_content or end.status is not Status.FINISHED or end.finish_reason not in (None, "stop", "unknown"):
        return end
    error = _find_unknown(events, end) or fired or Truncated("the stream ended without any content")
    error.request_id = end.request_id
    return evolve(end, status=Status.TIMED_OUT if error is fired else Status.FAILED, finish_reason=None, error=error)


def _find_unknown(events: list[Event], end: End) -> ProtocolError | None:
    """Returns the error for an answer that is there, but has nothing in it that is known; None if there is none.

    Signs of one are the service's count, and what the reader noted of parts; a note on the finish reason is none.
    """
    counts = [event.output for event in events if isinstance(event, Usage) and event.output and not event.estimated]
    parts = [note for note in end.notes if not (end.raw and repr(end.raw) in note)]
    if not counts and not parts:
        return None
    signs = [*(f"{count} tokens were counted" for count in counts[-1:]), *end.notes]
    return ProtocolError(f"nothing of the answer is known: {'; '.join(signs)}")
