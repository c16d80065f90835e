"""A lane with one provider: its tries one after the other, and its one End."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from enum import Enum
from functools import partial
from random import Random

import trio
from attrs import evolve

from fanout.abc import Hear, Leave, Observer, Provider, Transport, no_others, nobody
from fanout.answers import Answer, Fold
from fanout.engine.alarms import Alarms, open_alarms
from fanout.engine.channel import Channel
from fanout.engine.keys import Keys
from fanout.engine.lessons import Lessons
from fanout.engine.observer import tell
from fanout.engine.portions import start
from fanout.engine.retry import RANDOM, Budget, Retries, Wait
from fanout.engine.trial import FAREWELL, Trial, judge
from fanout.engine.watch import Watch, Watched, format_age
from fanout.errors import LoginRequired, NotFound, ProviderError, TimedOut
from fanout.events import End, Event, LoginNeeded, Started, Status, is_content
from fanout.learning.gates import Gate
from fanout.prompt import Options, Prompt
from fanout.prompt.history import Turns
from fanout.settings.timeouts import DEFAULTS, Timeouts


class State(Enum):
    """The states of a lane, from its making to its End."""

    __hash__ = object.__hash__  # an Enum's own is written in Python, and each move looks one up

    WAITING = "waits for its start, or for its turn among the lanes of its name"
    TRYING = "its service is asked, and answers"
    PAUSED = "a try has failed, and another follows after some seconds or with another login"
    ENDED = "its End has been heard"


WAITING, TRYING, PAUSED, ENDED = State

MOVES = {
    (WAITING, TRYING): "its turn has come",
    (WAITING, ENDED): "cancelled, closed, or too late for its turn",
    (TRYING, PAUSED): "failed before any content, and may be repeated",
    (TRYING, ENDED): "finished or failed, a clock fired, or cancelled",
    (PAUSED, TRYING): "the pause is over, or there is another login",
    (PAUSED, ENDED): "cancelled, closed, no other login, or the deadline",
}
"""The legal moves, and when they are made; any other is a bug, and raises.

A lane that waits for a person to log in is PAUSED like one that sleeps: nothing of it runs upstream, so both may be
closed without loss. They differ only in their clocks, which are the watch's business.
"""

_log = logging.getLogger("fanout")


class Attempt(Watched):
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
        server_limiter: trio.CapacityLimiter | None = None,
        budget: Budget | None = None,
        channel: Channel | None = None,
        turns: Turns | None = None,
        random: Random | None = None,
        alarms: Alarms | None = None,
        observer: Observer | None = None,
        elsewhere: bool = False,
        patient: bool = False,
        lessons: Lessons | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.name = name
        self.hear: Hear = nobody
        self.leave: Leave = no_others
        self.state = WAITING
        self.prompt: Prompt | None = None
        self._prepare = _NOTHING_ADDED if turns is None and not options else partial(_prepare, turns, options)
        self._limiters = [one for one in (limiter, server_limiter) if one is not None]
        self._watch = Watch(timeouts.over(DEFAULTS), alarms, patient=patient, lessons=lessons)
        self._transport = transport
        self._retries = Retries(keys or Keys((provider,)), budget or Budget(), retries, random or RANDOM, gate)
        self._trial: Trial | None = None
        self._fold = Fold(name, provider.name, provider.model, maker=provider.maker, elsewhere=elsewhere)
        self._fold.told = self._watch.notes
        self._channel = channel
        self._observer = observer

    @property
    def answer(self) -> Answer:
        """The answer so far."""
        return self._fold.answer_with(self._trial.late_usage if self._trial and self.state is ENDED else None)

    @property
    def provider(self) -> Provider:
        """The provider of its last try, with the key and in the form that it used."""
        return self._retries.provider

    @property
    def tries(self) -> int:
        """The number of its tries so far."""
        return self._retries.tried

    def __repr__(self) -> str:
        age = format_age(self._fold.started, self._fold.answer.elapsed)
        return f"<Attempt {self.name!r} {self.state.name} try {self.tries}, {self._fold.chunks} chunks{age}>"

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs to the End, which comes at `until` (a Trio time) at the latest."""
        if self.state is ENDED:  # cancelled between being scheduled and being run
            return
        try:
            if self._watch.alarms is None:
                async with open_alarms() as self._watch.alarms:
                    await self._run_watched(prompt, until)
            else:
                await self._run_watched(prompt, until)
        finally:
            if self.state is not ENDED:  # cancelled from outside
                self.leave()
                self.cancel()
            if self._trial is not None and (errand := _settle(self._trial, self._retries, self._fold.chunks > 0)):
                with trio.move_on_after(2 * FAREWELL, shield=True):
                    await errand()

    def cancel(self, error: TimedOut | None = None, /) -> None:
        """Ends the lane now: cancelled, or timed out if `error` says so. Its End is heard before this returns."""
        self._watch.scope.cancel()  # before anybody hears of it, who may raise
        if self.state is not ENDED:
            if self.state is TRYING and self._trial is not None:
                self._trial.cut_off()
            self._end(End(_cut(error), error=copy(error)))  # a copy: each lane writes its name into its own

    def close(self) -> None:
        """Starts nothing new from now on: what runs may end, and is not tried again."""
        self._retries.close()
        if self.state in (WAITING, PAUSED):
            self.cancel()  # what it waits for is another request

    async def _run_watched(self, prompt: Prompt, until: float) -> None:
        run = partial(_run_in_turn, self._limiters, self) if self._limiters else self.run_now
        with self._watch.scope:
            await start(run, prompt, until)
        if (trial := self._trial) is not None and trial.bug is not None:
            raise trial.bug
        if trial is not None and self._watch.fired is not None:
            self._time_out(trial, self._watch.fired)

    async def run_now(self, prompt: Prompt, until: float) -> None:
        """Runs, once its turn has come."""
        if self.state is ENDED:  # cancelled in the very step in which its turn came
            return
        self.prompt = self._prepare(prompt)
        self._fold.asked = sum(len(message.text) for message in self.prompt.messages)
        self._fold.started = self._watch.start(until, self._fold.asked)
        if self._observer is not None:
            tell(self._observer, "lane_started", self, self._fold.started)
        await self._try_until_ended(self.prompt)

    async def _try_until_ended(self, prompt: Prompt) -> None:
        while True:
            trial = self._begin_trial()
            error = self._retries.check(trio.current_time()) or await trial.exchange(prompt)
            if self.state is TRYING and trial.bug is None:
                self._conclude(trial.close(error))
            if self.state is PAUSED:
                await self._pause(trial)
            if self.state is ENDED or trial.bug is not None:  # cancelled, too, in the step in which its pause was over
                return

    def _begin_trial(self) -> Trial:
        self._move(TRYING)
        secrets = set() if self._trial is None else self._trial.secrets
        if self.tries:
            self._watch.repeat()
        provider = self._retries.begin(trio.current_time())
        self._trial = trial = Trial(provider, secrets, self._transport, self._watch, self._emit, self._conclude)
        self._emit([Started(self.tries)])
        return trial

    async def _pause(self, trial: Trial) -> None:
        """Waits for the next try: some seconds, or for other credentials, which may take a person's time."""
        if isinstance(trial.then, Wait):
            await trio.sleep(trial.then.seconds)
        elif trial.then is not None:
            self._watch.pause()
            error = await self._retries.keys.log_in(trial.provider, trial.then.needed)
            if error is not None and self.state is PAUSED:
                self._end(End(Status.FAILED, error=error))
            elif self.state is PAUSED:  # and not cancelled in the very step in which they came
                self._fold.started = self._watch.resume()

    def _conclude(self, events: list[Event]) -> None:
        """Takes the last events of a try: its End is the lane's, unless another try is to follow."""
        trial = self._trial
        assert trial is not None
        had_content = self._fold.chunks > 0 or any(map(is_content, events))
        end = judge(events, had_content, self._watch.fired)
        try:
            trial.then = self._retries.after(end.error, had_content, trio.current_time(), self._watch.find_due())
        except ProviderError as broken:
            trial.then, end = None, evolve(end, status=Status.FAILED, error=broken)
        if trial.then is None:
            self._end(end, events[:-1])
        else:
            self._move(PAUSED)
            self._fold.repeat(end)
            if len(events) > 1:
                self._emit(events[:-1])
            _log.debug("%s: try %d failed (%s), the next follows %s", self.name, self.tries, _kind(end), trial.then)

    def _time_out(self, trial: Trial, error: TimedOut) -> None:
        """Ends the lane for a clock; an answer that is complete stays whole, and a refusal says more than a clock."""
        if self.state is TRYING:
            trial.cut_off()
            self._conclude(trial.close(error))
        elif self.state is PAUSED:
            self._end(End(Status.TIMED_OUT, error=error))

    def _end(self, end: End, before: Sequence[Event] = ()) -> None:
        self._move(ENDED)
        self._retries.leave()
        end = evolve(end, notes=(*end.notes, *self._retries.keys.notes, *self._watch.notes))
        _log.debug("%s: %s in try %d%s", self.name, end.status, self.tries, f" ({_kind(end)})" if end.error else "")
        self._emit([*before, *_needs(end), end], end)

    def _emit(self, events: list[Event], end: End | None = None) -> None:
        at = trio.current_time()
        if self._trial is not None:  # before anybody has them
            events = self._trial.scrub(events)
        if contents := self._fold.add(events, at):
            self._watch.content(at, contents, events)
        if end is not None:
            self._watch.end(end, self._fold)
        if end is not None and end.error is not None:
            _sign(end.error, self.name, self._fold.text, self._trial)
        if self._channel is not None:
            self._channel.put(self.name, events, at)
        if end is not None and self._observer is not None and self._fold.started is not None:
            tell(self._observer, "lane_ended", self, at)
        self.hear(events, at)

    def _move(self, state: State) -> None:
        if (self.state, state) not in MOVES:
            raise RuntimeError(f"a lane that is {self.state.name} cannot become {state.name}")
        self.state = state


def _sign(error: ProviderError, lane: str, text: str, trial: Trial | None) -> None:
    """Writes into an error whose it is, what had come, and where nothing was found."""
    error.lane, error.partial = lane, text
    if isinstance(error, NotFound) and trial is not None:
        error.url = trial.url


def _needs(end: End) -> list[Event]:
    return [LoginNeeded(end.error.command)] if isinstance(end.error, LoginRequired) else []


def _cut(error: TimedOut | None) -> Status:
    return Status.TIMED_OUT if error else Status.CANCELLED


def _kind(end: End) -> str | None:
    return end.error.kind if end.error else None


_TOO_LATE = "the deadline of all lanes together passed before its turn came"


def _settle(trial: Trial, retries: Retries, answered: bool) -> Callable[[], Awaitable[None]] | None:
    """Learns from the last try of a lane that has ended, lets go of it, and returns what is to be done for its service.

    That is mostly nothing, and a scope for it would cost every loser of a race ten microseconds.
    """
    retries.learn(trial.lesson, trio.current_time())
    errand = trial.errand(retries.keys, answered=answered)
    trial.release()
    return errand


def _prepare(turns: Turns | None, options: Options | None, prompt: Prompt) -> Prompt:
    """Returns the prompt as it is put to the service: after what was said before, with the lane's options."""
    prompt = prompt if turns is None else turns.before(prompt)
    return prompt if options is None else prompt.with_options(options)


_NOTHING_ADDED = partial(_prepare, None, None)


async def _run_in_turn(limiters: Sequence[trio.CapacityLimiter], lane: Attempt, prompt: Prompt, until: float) -> None:
    """Waits for the lane's turn. To wait for ourselves is not to wait for the service: its clocks start after it."""
    if not limiters:
        return await lane.run_now(prompt, until)
    if not await _acquire(limiters[0], until):
        return lane.cancel(TimedOut(_TOO_LATE, clock="deadline"))
    try:
        await _run_in_turn(limiters[1:], lane, prompt, until)
    finally:
        limiters[0].release()


async def _acquire(limiter: trio.CapacityLimiter, until: float) -> bool:
    with trio.move_on_at(until):
        await limiter.acquire()
        return True
    return False
