"""The lengths of services' answers: how long one that was cut off might have become."""

from typing import Any

from attrs import define, field

from fanout.learning.latencies import STEP, Key

MOST = 256
"""Services that are remembered; the one that was used least lately is forgotten first."""


@define
class Lengths:
    """The running mean of the output tokens of each service's whole answers."""

    _means: dict[Key, tuple[float, int]] = field(factory=dict)
    _touched: set[Key] = field(factory=set)

    def saw(self, key: Key, tokens: int) -> None:
        """Takes a whole answer."""
        mean, count = self._means.pop(key, (0.0, 0))
        self._means[key] = (mean + max(STEP, 1 / (count + 1)) * (tokens - mean), count + 1)
        self._touched.add(key)
        if len(self._means) > MOST:
            self._touched.discard(oldest := next(iter(self._means)))
            del self._means[oldest]

    def expected(self, key: Key) -> int | None:
        """Returns the tokens that an answer of this service usually has; None if there was none yet."""
        found = self._means.get(key)
        return None if found is None else round(found[0])

    def add_fresh(self, other: "Lengths") -> None:
        """Takes the means that `other` has changed, in place of those that are known here."""
        self._means |= {key: other._means[key] for key in other._touched}  # noqa: SLF001  # of the same class

    def to_json(self) -> list[dict[str, Any]]:
        """Returns plain data, which `from_json` takes."""
        return [{**key._asdict(), "tokens": round(mean, 1), "n": n} for key, (mean, n) in self._means.items()]

    @classmethod
    def from_json(cls, data: Any) -> "Lengths":
        """Returns the lengths that `to_json` gave; what is not of that form is left out."""
        made = cls()
        for row in data if isinstance(data, list) else ():
            try:
                key, mean, count = Key(row["provider"], row["base_url"], row["model"]), row["tokens"], row["n"]
                if all(isinstance(text, str) for text in (key.provider, key.base_url, key.model or "")) and (
                    0 <= mean < 1e7 and 1 <= int(count) < 1e15 and len(made._means) < MOST
                ):
                    made._means[key] = (float(mean), int(count))
            except (LookupError, TypeError, ValueError, OverflowError):
                continue
        return made
