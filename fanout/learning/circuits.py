"""Circuits: a service that fails again and again is not asked for a while, and then by one request first.

A circuit opens after FAILURES failures in a row, or when more than half of the last RECENT answers were failures. It
stays open for SHORTEST seconds; then one request at a time is a probe. An answer with content closes it, a failed probe
opens it again: for SHORTEST once more, and then twice as long each time. A lane that is cut off says nothing: whoever
lost a race has neither failed nor answered.

Where all services of a plan are open, the one that may be asked soonest is asked all the same: to refuse what nobody
else can answer helps nobody.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from attrs import define, field

from fanout.learning.latencies import Key

FAILURES = 5
"""Failures in a row that open a circuit, and the least number of them where they are more than half of all."""

RECENT = 20
"""Answers of which more than half may have failed."""

SHORTEST = 30.0
"""Seconds for which a circuit is open at first."""

LONGEST = 300.0
"""Seconds for which a circuit is open at most, unless the service itself asks for longer."""

LONGEST_ASKED = 3600.0
"""Seconds for which a circuit is open at most, whatever a service asks for."""

MOST = 512
"""Circuits that are remembered; the one that was used least lately is forgotten first."""


class Target(NamedTuple):
    """That of which a circuit is: a service, or one key's account there, for what is refused to the key alone."""

    service: Key
    key: str | None = None


@define
class Circuit:
    """One circuit. Times are on the caller's clock."""

    outcomes: deque[bool] = field(factory=lambda: deque(maxlen=RECENT))
    """True for an answer, False for a failure, the newest last."""
    open_until: float | None = None
    failed_probes: int = 0
    probe: object | None = None
    """The lane that probes now."""

    @property
    def failures(self) -> int:
        """The failures in a row until now."""
        row = 0
        for good in reversed(self.outcomes):
            if good:
                break
            row += 1
        return row

    def state(self, now: float) -> str:
        """Returns closed, open, or half-open, which lets one probe through."""
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def admits(self, now: float) -> bool:
        """True if a request may be sent now."""
        return self.open_until is None or (now >= self.open_until and self.probe is None)

    def succeed(self) -> None:
        """Takes note of an answer with content, which closes the circuit."""
        if self.open_until is not None:
            self.outcomes.clear()
        self.outcomes.append(True)
        self.open_until, self.failed_probes, self.probe = None, 0, None

    def fail(self, now: float, retry_after: float | None) -> None:
        """Takes note of a failure, which may open the circuit, or open it again once a probe was due.

        A lane that was asked before that, because all others were open too, leaves it as it is.
        """
        self.outcomes.append(False)
        if self.open_until is None:
            failed = self.outcomes.count(False)
            if self.failures >= FAILURES or (failed >= FAILURES and 2 * failed > len(self.outcomes)):
                self._open(now, retry_after)
        elif now >= self.open_until:
            self.failed_probes += 1
            self._open(now, retry_after)

    def _open(self, now: float, retry_after: float | None) -> None:
        usual = min(LONGEST, SHORTEST * 2.0 ** max(0, min(self.failed_probes, 10) - 1))
        self.open_until = now + (usual if retry_after is None else min(LONGEST_ASKED, max(0.0, retry_after)))


@define(eq=False)
class Circuits:
    """The circuits of all services that were asked."""

    _circuits: dict[Target, Circuit] = field(factory=dict)
    _touched: set[Target] = field(factory=set)

    def find(self, target: Target) -> Circuit | None:
        """Returns the circuit, if there is one."""
        return self._circuits.get(target)

    def touch(self, target: Target) -> Circuit:
        """Returns the circuit to note something in; there is one from then on."""
        circuit = self._circuits.pop(target, None) or Circuit()
        self._circuits[target] = circuit
        self._touched.add(target)
        if len(self._circuits) > MOST:
            self._touched.discard(oldest := next(iter(self._circuits)))
            del self._circuits[oldest]
        return circuit

    def note_success(self, target: Target) -> None:
        """Takes note of an answer with content; of one more by a healthy service nothing has to be kept."""
        circuit = self._circuits.get(target)
        if circuit is None or circuit.open_until is not None or False in circuit.outcomes:
            circuit = self.touch(target)
        circuit.succeed()

    @property
    def fresh(self) -> Mapping[Target, Circuit]:
        """The circuits in which this process has noted something."""
        return {target: self._circuits[target] for target in self._touched}

    def add_fresh(self, other: "Circuits") -> None:
        """Takes the circuits in which `other` has noted something, in place of those that are known here."""
        self._circuits |= other.fresh

    def states(self, now: float) -> Iterator[tuple[Target, str, float]]:
        """Yields the circuits that are not closed, their states, and the seconds until they let a request through."""
        for target, circuit in self._circuits.items():
            if circuit.open_until is not None:
                yield target, circuit.state(now), max(0.0, circuit.open_until - now)

    def to_json(self, now: float, wall: float) -> list[dict[str, Any]]:
        """Returns plain data; `wall` is the time of day, in seconds, at `now`: other processes have other clocks."""
        return [
            {
                **target.service._asdict(),
                "key": target.key,
                "outcomes": "".join("+-"[not good] for good in circuit.outcomes),
                "open_until": None if circuit.open_until is None else round(circuit.open_until - now + wall, 3),
                "failed_probes": circuit.failed_probes,
            }
            for target, circuit in self._circuits.items()
            if circuit.open_until is not None or circuit.failures
        ]

    @classmethod
    def from_json(cls, data: Any, now: float, wall: float) -> "Circuits":
        """Returns the circuits that `to_json` gave; what is not of that form is left out, as is what is long over."""
        made = cls()
        for row in data if isinstance(data, list) else ():
            try:
                target, circuit = _read(row, now, wall)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                continue
            if len(made._circuits) < MOST:
                made._circuits[target] = circuit
        return made


def _read(row: Mapping[str, Any], now: float, wall: float) -> tuple[Target, Circuit]:
    provider, base_url, model, key = row["provider"], row["base_url"], row["model"], row["key"]
    if not all(isinstance(text, str) for text in (provider, base_url, model or "", key or "")):
        raise TypeError
    circuit = Circuit(failed_probes=max(0, int(row["failed_probes"])))
    circuit.outcomes.extend(mark == "+" for mark in row["outcomes"][-RECENT:])
    if (until := row["open_until"]) is not None:
        left = float(until) - wall
        if not -LONGEST_ASKED < left <= LONGEST_ASKED:  # of yesterday, or of a clock that was wrong
            raise ValueError
        circuit.open_until = now + left
    return Target(Key(provider, base_url, model), key), circuit
