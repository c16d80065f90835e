"""Decides what follows a failed try of a lane: another one, after how long and with which key, or nothing.

The waits are those of common clients (half a second doubling to eight, jittered); the budget is gRPC's retry throttling
(proposal A6): retries stop while a service fails more than it succeeds, first attempts never do.
"""

from contextlib import suppress
from random import Random

from attrs import define, field, frozen

from fanout.abc import Provider
from fanout.engine.keys import Keys
from fanout.errors import CircuitOpen, LoginRequired, ProviderError
from fanout.learning.gates import Gate

LONGEST_WAIT = 120.0
"""Seconds. A service that asks for a longer pause is not waited for: the lane fails and says how long it asked."""

RANDOM = Random()  # noqa: S311  # jitter needs no secrecy


@define
class Budget:
    """Bounds the repeats that a service gets: full at 10 tokens, a failure takes one, ten successes give one back."""

    tokens: float = 10.0
    full: float = 10.0

    def note_failure(self) -> None:
        """Takes a token for an attempt that failed in a way which repeating might mend."""
        self.tokens = max(0.0, self.tokens - 1)

    def note_success(self) -> None:
        """Gives a tenth of a token back for an attempt that finished."""
        self.tokens = min(self.full, self.tokens + 0.1)

    @property
    def allows(self) -> bool:
        """True if a retry may be sent: above half."""
        return self.tokens > self.full / 2


@frozen
class Wait:
    """Another try, after so many seconds."""

    seconds: float

    def __str__(self) -> str:
        return f"in {self.seconds:.3g} s"


@frozen
class Relogin:
    """Another try, with other credentials than those that `needed` refused."""

    needed: LoginRequired

    def __str__(self) -> str:
        return "with another login"


@define(eq=False)
class Retries:
    """The tries of one lane: how many it has had, and what may follow one that failed.

    It is tried again `allowed` times, and once more for each change of key or form and for a login, which the service's
    refusal asks for. Of all that, nothing is sent here.
    """

    keys: Keys
    budget: Budget
    allowed: int
    random: Random
    gate: Gate | None = None
    tried: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)
    _logged_in: bool = field(default=False, init=False)
    provider: Provider = field(init=False)
    """That of the last try; before the first, the first of the keys'."""

    def __attrs_post_init__(self) -> None:
        self.provider = self.keys.providers[0]

    def begin(self, now: float) -> Provider:
        """Counts another try, and returns the provider for it: with a key that is not blocked, in the form it takes."""
        self.tried += 1
        self.provider = self.keys.usable(now)
        return self.provider

    def check(self, now: float) -> ProviderError | None:
        """Returns the error of a try that is not sent: all keys rest, or the circuit of the service is open."""
        return self.keys.check_rest(now) or (None if self.gate is None else self.gate.enter(now))

    def leave(self) -> None:
        """Takes note that the lane has ended: a probe that has shown nothing makes way for the next."""
        if self.gate is not None:
            self.gate.close()

    def close(self) -> None:
        """Allows no further try."""
        self.closed = True

    def after(self, error: ProviderError | None, had_content: bool, now: float, due: float) -> Wait | Relogin | None:
        """Decides what follows the try that `error` ended at `now`, and learns from it; None: nothing, it is the End.

        What has begun to answer is never repeated, and a failure teaches all the same what others may profit from.
        `due` is when the lane's next clock fires: no pause may last until then, and once it has come nothing follows at
        all. Raises ProviderError if the provider's own code fails.
        """
        if error is None:
            self.budget.note_success()
            if had_content and self.gate is not None:
                self.gate.succeed()
            return None
        if isinstance(error, CircuitOpen):  # the service has not been asked
            return None
        unhealthy = self.gate is not None and self.gate.fail(error, now)
        over = had_content or self.closed or unhealthy or now >= due
        if not over and isinstance(error, LoginRequired) and self.keys.login is not None and not self._logged_in:
            self._logged_in = True
            return Relogin(error)
        if self.keys.learn(self.provider, error, now) and not over:
            self.allowed += 1
            return Wait(0.0)
        if error.retryable:
            self.budget.note_failure()
        if over or self.tried > self.allowed or not self.budget.allows:
            return None
        seconds = pause(error, self.tried, self.random)
        return None if seconds is None or now + seconds >= due else Wait(seconds)

    def learn(self, error: ProviderError | None, now: float) -> None:
        """Learns from the refusal of a try that was cut off, after which nothing follows."""
        if error is not None:
            with suppress(ProviderError):
                self.after(error, had_content=False, now=now, due=now)


def pause(error: ProviderError, attempt: int, random: Random) -> float | None:
    """Returns the seconds to wait before attempt number `attempt + 1`, or None if there is no point in one."""
    if not error.retryable:
        return None
    if error.retry_after is not None:
        return max(0.0, error.retry_after) if error.retry_after <= LONGEST_WAIT else None
    return random.uniform(0.0, min(8.0, 0.5 * 2.0 ** (attempt - 1)))
