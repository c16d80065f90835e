"""A lane with one provider: where sans-I/O meets I/O, with its clocks, its retries and its one End."""

from contextlib import suppress
from copy import copy
from math import inf
from random import Random
from typing import Any

import trio
from attrs import evolve

from fanout.abc import Head, Hear, Login, Provider, Reader, Reply, Request, Transport, nobody
from fanout.answers import Answer, Fold
from fanout.credentials import Credentials
from fanout.engine.alarms import Alarms, open_alarms
from fanout.engine.channel import Channel
from fanout.engine.clocks import Clocks
from fanout.engine.keys import Keys
from fanout.engine.retry import Budget, pause
from fanout.errors import (
    InvalidRequest,
    LoginRequired,
    ProtocolError,
    ProviderError,
    TimedOut,
    TooLarge,
    Truncated,
)
from fanout.events import CONTENT, End, Event, LoginNeeded, Started, Status, Usage
from fanout.history import Turns
from fanout.prompt import Message, Options, Prompt
from fanout.scrub import scrub
from fanout.secret import Secret
from fanout.sense import SENSELESS, sense_only, typed
from fanout.timeouts import DEFAULTS, Timeouts
from fanout.transports.fetch import fetch

LANE_BYTES = 64 << 20
"""Bytes of decoded body that a lane may receive."""

FAREWELL = 1.0
"""Seconds that a lane which is cut off may take to tell its service to stop."""


_RANDOM = Random()  # noqa: S311  # jitter needs no secrecy


class Attempt:
    """One provider's run in one fan-out. Its last event is exactly one End, whatever the service does."""

    def __init__(
        self,
        name: str,
        provider: Provider,
        transport: Transport,
        *,
        timeouts: Timeouts = DEFAULTS,
        retries: int = 0,
        options: Options | None = None,
        keys: Keys | None = None,
        limiter: trio.CapacityLimiter | None = None,
        budget: Budget | None = None,
        channel: Channel | None = None,
        turns: Turns | None = None,
        login: Login | None = None,
        random: Random | None = None,
        alarms: Alarms | None = None,
    ) -> None:
        self.name = name
        self.hear: Hear = nobody
        self._keys = keys or Keys((provider,))
        self._provider = provider
        self._limiter = limiter
        self._transport = transport
        self._timeouts = timeouts.over(DEFAULTS)
        self._retries = retries
        self._options = options or Options()
        self._budget = budget or Budget()
        self._channel = channel
        self._turns = turns
        self._login = login
        self._random = random or _RANDOM
        self.asked: tuple[Message, ...] = ()
        """All messages that were put to the service, from the beginning of the conversation."""
        self._fold = Fold(name, provider.name, provider.model)
        self._scope = trio.CancelScope()
        self._alarms = alarms
        self._alarm_at = inf
        self._fired: TimedOut | None = None
        self._ended = False
        self._closed = False
        self._cut_off = False
        self._tried = 0
        self._wait: float | None = None
        self._login_for: LoginRequired | None = None
        self._logged_in = False
        self._under_way: Request | None = None
        self._renewed: Credentials | None = None
        self._reader: Reader | None = None
        self._uncounted: Reader | None = None
        self._received = 0
        self._secrets: set[Secret] = set()
        self._bug: Exception | None = None
        self._clocks = Clocks(self._timeouts, 0.0)

    @property
    def answer(self) -> Answer:
        """The answer so far.

        What its service has counted of an answer that was cut off, the reader is asked only here: in the call that cuts
        off, where seven losers keep a winner waiting, it would take 0.4 ms.
        """
        if self._uncounted is not None:
            reader, self._uncounted = self._uncounted, None
            with suppress(ProviderError), sense_only():
                self._fold.add([event for event in reader.close() if isinstance(event, Usage)], 0.0)
        return self._fold.answer

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs to the End, which comes at `until` (a Trio time) at the latest."""
        if self._ended:  # cancelled between being scheduled and being run
            return
        try:
            if self._alarms is None:
                async with open_alarms() as self._alarms:
                    await self._run_in_time(prompt, until)
            else:
                await self._run_in_time(prompt, until)
        finally:
            self.cancel()  # nothing to do, unless cancelled from outside
            if self._cut_off and self._under_way is not None:
                with trio.move_on_after(FAREWELL, shield=True):
                    await self._say_farewell(self._under_way)
            if self._renewed is not None and self._login is not None and self._fold.chunks:
                # For the service, lanes that lost have been there too. If this fails, the answer is there, and the
                # login may have to be repeated later.
                with trio.move_on_after(FAREWELL, shield=True), suppress(ProviderError):
                    await self._login.keep(self._renewed)

    async def _say_farewell(self, request: Request) -> None:
        """Tells a service that goes on without a connection to stop."""
        with suppress(ProviderError), sense_only():
            farewell = self._provider.farewell(request, self._reader)
            if farewell is not None:
                await fetch(self._transport, farewell, FAREWELL)

    async def _run_limited(self, prompt: Prompt, until: float, limiter: trio.CapacityLimiter) -> None:
        """Waits for its turn first. To wait for ourselves is not to wait for the service: the clocks start after it."""
        mine = False
        with trio.move_on_at(until):
            await limiter.acquire()
            mine = True
        if not mine:
            self.cancel(TimedOut("the deadline of all lanes together passed before its turn came", clock="deadline"))
            return
        try:
            await self._run(prompt, until)
        finally:
            limiter.release()

    def cancel(self, error: TimedOut | None = None, /) -> None:
        """Ends the lane now: cancelled, or timed out if `error` says so. Its End is heard before this returns."""
        if not self._ended:
            self._cut_off = self._wait is None  # else the service has ended, and there would be another try
            self._uncounted = self._reader
            # A copy, because each lane writes its name into its error.
            self._emit([End(Status.TIMED_OUT if error else Status.CANCELLED, error=copy(error))])
        self._scope.cancel()

    def close(self) -> None:
        """Starts nothing new from now on: what runs may end, and is not tried again."""
        self._closed = True
        if self._wait is not None or not self._tried:
            self.cancel()  # it waits for its turn, a login or the end of a pause: all of them are for another request

    async def _run_in_time(self, prompt: Prompt, until: float) -> None:
        with self._scope:
            if self._limiter is None:
                await self._run(prompt, until)
            else:
                await self._run_limited(prompt, until, self._limiter)
        if self._fired is not None and not self._ended:
            self._wait = None  # the clock fired before the next try could begin
            self._cut_off = self._reader is None or not self._reader.complete
            self._take(self._rest(self._fired))

    async def _run(self, prompt: Prompt, until: float) -> None:
        if self._ended:  # cancelled in the very step in which its turn came
            return
        if self._turns is not None:
            prompt = self._turns.before(prompt)
        self.asked = prompt.messages
        self._fold.asked = sum(len(message.text) for message in prompt.messages)
        self._start_clocks(until)
        await self._try_until_ended(prompt.with_options(self._options))

    def _start_clocks(self, until: float) -> None:
        self._fold.started = trio.current_time()
        self._clocks = Clocks(self._timeouts, self._fold.started, until)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """For the moments in a lane's life that bring its next alarm forward: start, first content, and completion."""
        at = self._clocks.next_alarm()[0]
        if at < self._alarm_at and self._alarms is not None:
            self._alarm_at = at
            self._alarms.set(at, self._ring)

    def _ring(self, at: float) -> None:
        """A clock may have fired. Content moves its alarm later, which is looked at only now."""
        if at != self._alarm_at or self._ended:
            return
        self._fired = self._clocks.fired(trio.current_time())
        self._alarm_at = inf
        if self._fired is None:
            self._set_alarm()
        else:
            self._scope.cancel()

    async def _try_until_ended(self, prompt: Prompt) -> None:
        while True:
            self._tried += 1
            wait = await self._try(prompt)
            if wait is None:
                return
            self._reader = None  # it has ended; the lane has not
            if self._login_for is not None and not await self._log_in(self._login_for):
                return
            await trio.sleep(wait)

    async def _log_in(self, needed: LoginRequired) -> bool:
        """Gets other credentials, which may wait for a person: that is not the service's time. Without any, it ends."""
        assert self._login is not None
        until = self._clocks.until
        self._clocks = Clocks(_NO_CLOCKS, trio.current_time(), until)
        self._set_alarm()
        error: ProviderError = needed
        found = None
        try:
            found = await self._login.renew(self._provider, getattr(self._provider, "credentials", None))
        except ProviderError as failed:
            error = failed
        self._logged_in = True
        self._login_for = None
        if found is None:
            self._wait = None
            self.close()
            self._take([End(Status.FAILED, error=error)])
            return False
        provider: Any = self._provider
        self._keys = Keys((evolve(provider, credentials=found),), self._keys.known)
        self._start_clocks(until)
        return True

    async def _try(self, prompt: Prompt) -> float | None:
        """One try, from its Started to its End (None), or to the wait before the next one (seconds)."""
        self._provider = self._keys.usable(trio.current_time())
        self._reader = self._wait = self._renewed = None
        self._cut_off = False
        self._received = 0
        if isinstance(login := getattr(self._provider, "credentials", None), Credentials):
            self._secrets.update(login.cookies.values(), login.secrets.values())
        self._emit([Started(self._tried)])
        failed: ProviderError | None = None
        try:
            request = await self._ask(prompt)
            self._under_way = request
            await self._transport.exchange(request, self, self._connect)
        except ProviderError as error:
            failed = error
        if not self._cut_off:
            self._under_way = None
        if self._bug is not None:
            raise self._bug
        self._take(self._rest(failed))
        return self._wait

    async def _ask(self, prompt: Prompt) -> Request:
        """Makes the round trips before the last one, and returns the last one's request."""
        reply: Reply | None = None
        flow = self._provider.flow(prompt)  # a generator: nothing of it runs before `next`
        while True:
            first = reply is None
            try:
                with sense_only("the request cannot be made", InvalidRequest) if first else sense_only():
                    request = next(flow) if reply is None else flow.send(reply)
            except StopIteration as last:
                final: Request = last.value
                self._secrets.update(value for value in final.headers.values() if isinstance(value, Secret))
                return final
            self._secrets.update(value for value in request.headers.values() if isinstance(value, Secret))
            reply = await fetch(self._transport, request, self._connect)

    @property
    def _connect(self) -> float:
        return inf if self._timeouts.connect is None else self._timeouts.connect

    def head(self, head: Head, /) -> None:
        """The response begins."""
        assert self._under_way is not None
        with sense_only():
            self._reader = self._provider.read_answer(self._under_way, head)
            if head.status < 300:
                self._renewed = self._provider.renewed(head)

    def data(self, data: bytes, /) -> bool:
        """The bytes of one read: decoded, judged and on the channel before this returns. True once it has ended."""
        if self._ended or self._wait is not None:
            return True
        self._received += len(data)
        if self._received > LANE_BYTES:
            self._cut_off = True
            raise TooLarge(f"the answer exceeds {LANE_BYTES} bytes")
        assert self._reader is not None
        try:  # in full, because a context manager would be half of what this costs
            events = self._reader.feed(data)
        except SENSELESS as error:
            self._cut_off = True
            raise typed(error) from error
        if events:
            try:
                self._take(events)
            except Exception as bug:  # noqa: BLE001  # not the transport's business: raised again when that is over
                self._bug = bug
                return True
        over = self._ended or self._wait is not None
        if self._reader.complete and not over and self._clocks.complete_at is None:
            self._clocks.complete_at = trio.current_time()
            self._set_alarm()
        return over

    def _rest(self, error: ProviderError | None) -> list[Event]:
        """What the reader still holds, with the End."""
        if self._reader is None:
            return [End(Status.FAILED, error=error or Truncated("the service closed the connection without a word"))]
        try:
            with sense_only():
                return self._reader.close(error)
        except ProtocolError as broken:
            return [End(Status.FAILED, error=error or broken)]

    def _take(self, events: list[Event]) -> None:
        """Events from the reader: an End among them may become another try instead."""
        if self._ended or self._wait is not None or not events:
            return
        if isinstance(end := events[-1], End):
            self._clocks.complete_at = None  # another try may take its time
            events[-1] = end = self._judged(end, events)
            if end.error is None:
                self._budget.succeeded()
            elif not self._has_content(events) and self._may_repeat(end.error):
                return
            if isinstance(end.error, LoginRequired):
                events[-1:-1] = [LoginNeeded(end.error.command)]
        self._emit(events)

    def _judged(self, end: End, events: list[Event]) -> End:
        """The reader's End as the lane's: a clock of ours is a time-out, and an empty answer is none."""
        if isinstance(end.error, TimedOut) and end.error.clock:
            end.status = Status.TIMED_OUT
        if (
            end.status is Status.FINISHED
            and not self._has_content(events)
            and end.finish_reason in (None, "stop", "unknown")
        ):
            error = Truncated("the stream ended without any content", request_id=end.request_id)
            return End(Status.FAILED, error=error, raw=end.raw, model=end.model, request_id=end.request_id)
        return end

    def _has_content(self, events: list[Event]) -> bool:
        """Whether any content came, before or among these."""
        return self._fold.chunks > 0 or any(type(event) in CONTENT for event in events)

    def _may_repeat(self, error: ProviderError) -> bool:
        """Sets `_wait` if another try is allowed: with another key, or retryable, within count, budget and time."""
        if self._closed:
            return False
        if self._fired is None:
            if isinstance(error, LoginRequired) and self._login is not None and not self._logged_in:
                self._login_for = error
            if self._login_for is not None or self._keys.change(self._provider, error, trio.current_time()):
                self._retries += 1
                self._wait = 0.0
                return True
        if error.retryable:
            self._budget.failed()
        if self._fired is not None or self._tried > self._retries or not self._budget.allows:
            return False
        wait = pause(error, self._tried, self._random)
        if wait is None or trio.current_time() + wait >= self._clocks.next_alarm()[0]:
            return False
        self._wait = wait
        return True

    def _emit(self, events: list[Event]) -> None:
        at = trio.current_time()
        contents = self._fold.add(events, at)
        if contents:
            tokens = self._tokens(events, contents) if self._timeouts.min_tps else contents
            if self._clocks.content(at, tokens):
                self._set_alarm()
        if isinstance(end := events[-1], End):
            self._ended = True
            if end.error:
                end.error.lane, end.error.partial = self.name, self._fold.text
                scrub(end.error, self._secrets)
        if self._channel is not None:
            self._channel.put(self.name, events, at)
        self.hear(events, at)

    def _tokens(self, events: list[Event], contents: int) -> int:
        """About how many tokens arrived, for `min_tps`: one piece may hold several, of four characters each."""
        return max(contents, sum(len(getattr(event, "text", "")) for event in events) // 4)


_NO_CLOCKS = Timeouts(connect=inf, first=inf, idle=inf, total=inf, min_tps=0.0)
