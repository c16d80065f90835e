"""The gate of a lane: asks the circuits whether its service may be asked, and tells them what became of it."""

from collections.abc import Sequence

from attrs import define, field

from fanout.errors import AuthError, CircuitOpen, LoginRequired, ProviderError, QuotaError, RateLimited, TimedOut
from fanout.learning.circuits import Circuit, Circuits, Target
from fanout.learning.latencies import Key


@define(eq=False)
class Rivals:
    """The gates of the lanes of a plan that have not ended, in their order.

    Where none lets its lane through, the one does that would soonest: one for all, since the others would have to
    follow, and found once.
    """

    gates: "dict[Gate, None]" = field(factory=dict)
    _soonest: "Gate | None" = None

    def force(self, gate: "Gate", now: float) -> bool:
        """Returns True if this gate must let its lane through because no other will."""
        if self._soonest is None and not any(one.admits(now) for one in self.gates):
            self._soonest = min(self.gates, key=lambda one: one.opens_at(now))
        return self._soonest is gate


@define(eq=False)
class Gate:
    """The circuits of one lane: that of its service, and that of its `key` by name if it has but one."""

    circuits: Circuits
    service: Key
    key: str | None = None
    rivals: Rivals = field(factory=Rivals)

    _targets: Sequence[Target] = field(init=False)
    _probes: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.rivals.gates[self] = None
        own = () if self.key is None else (Target(self.service, self.key),)
        self._targets = (Target(self.service), *own)

    @property
    def _found(self) -> Sequence[Circuit]:
        return [circuit for target in self._targets if (circuit := self.circuits.find(target)) is not None]

    def admits(self, now: float) -> bool:
        """True if the lane may ask its service."""
        return all(circuit.admits(now) or circuit.probe is self for circuit in self._found)

    def opens_at(self, now: float) -> float:
        """Returns the time from which its service may be asked, if no probe is under way."""
        return max((circuit.open_until or now for circuit in self._found), default=now)

    def enter(self, now: float) -> CircuitOpen | None:
        """Lets the lane ask its service, as a probe if need be; or returns why not."""
        found = self._found
        if all(circuit.open_until is None for circuit in found):
            return None
        if not self.admits(now) and not self.rivals.force(self, now):
            wait = max(0.0, self.opens_at(now) - now)
            failures = max(circuit.failures for circuit in found)
            why = f"{failures} failures in a row" if failures else "most answers failed"
            when = f"is asked again in {wait:.3g} s" if wait else "is probed by another request now"
            return CircuitOpen(f"not asked after {why}; the service {when}", retry_after=wait)
        for circuit in found:
            if circuit.open_until is not None and circuit.probe is None:
                circuit.probe, self._probes = self, True
        return None

    def succeed(self) -> None:
        """Takes note of an answer with content."""
        for target in self._targets:
            self.circuits.note_success(target)

    def fail(self, error: ProviderError, now: float) -> bool:
        """Takes note of a failure. Returns True if it leaves the service one that is not to be asked now."""
        target = self._find_target(error)
        if target is not None:
            self.circuits.touch(target).fail(now, error.retry_after)
        self.leave()
        return target is not None and any(circuit.open_until is not None for circuit in self._found)

    def leave(self) -> None:
        """Ends a probe that has shown nothing, because its lane was cut off: the next request may be one."""
        if not self._probes:
            return
        self._probes = False
        for circuit in self._found:
            if circuit.probe is self:
                circuit.probe = None

    def close(self) -> None:
        """Takes note that the lane has ended: it is no rival any more."""
        self.leave()
        self.rivals.gates.pop(self, None)

    def _find_target(self, error: ProviderError) -> Target | None:
        """Returns that against which a failure is held; None for what says nothing of the service's health."""
        if isinstance(error, CircuitOpen | LoginRequired):
            return None
        if isinstance(error, TimedOut) and error.clock == "deadline":  # the caller's own
            return None
        if isinstance(error, AuthError | QuotaError | RateLimited):
            return None if self.key is None else Target(self.service, self.key)
        return Target(self.service) if error.retryable else None
