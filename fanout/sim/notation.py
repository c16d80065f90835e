"""Plans as a command line writes them: race, hedge:0.8s, quorum:2, race(a, fallback(b, c))."""

import re
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from fanout.errors import UsageError
from fanout.settings import duration, explain_unknown

POLICIES = ("race", "hedge", "fallback", "quorum", "all")

_TOKEN = re.compile(r"\s*([\w.#-]+(?::[\w.]+)?|[(),])")
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
USUAL_AFTER = "800ms"


@frozen
class Shape:
    """A plan's form: a policy with what stands after its colon, and its lanes: names, or plans again."""

    policy: str
    argument: str = ""
    lanes: tuple["Shape | str", ...] = ()

    def __str__(self) -> str:
        argument = f":{self.argument}" if self.argument else ""
        return f"{self.policy}{argument}" + (f"({', '.join(map(str, self.lanes))})" if self.lanes else "")

    def given(self, lanes: int) -> dict[str, Any]:
        """Returns the settings of the policy's own kind. Raises UsageError where a hedge's delay is a quantile."""
        if self.policy == "hedge":
            return {"after": self.after}
        return {"k": self.k(lanes)} if self.policy == "quorum" else {}

    @property
    def quantile(self) -> float | None:
        """The share in p95 and the like, at which a hedge starts; None if it says seconds."""
        match = _QUANTILE.fullmatch(self.argument) if self.policy == "hedge" else None
        return float(match[1]) / 100 if match else None

    @property
    def after(self) -> float:
        """The seconds after which a hedge starts. Raises UsageError."""
        try:
            return duration(self.argument or USUAL_AFTER)
        except ValueError as error:
            raise UsageError(f"{self}: {error}, or p95 with --lanes") from None

    def k(self, lanes: int) -> int:
        """The number of answers that a quorum wants. Raises UsageError."""
        if not self.argument:
            return lanes // 2 + 1
        if not self.argument.isdecimal() or not 1 <= int(self.argument) <= lanes:
            raise UsageError(f"{self}: a quorum takes a number of answers from 1 to {lanes}")
        return int(self.argument)


def parse_shape(text: str) -> Shape:
    """Reads a plan, or a policy without lanes. Raises UsageError."""
    tokens = list(_tokens(text))
    found, rest = _parse(text, tokens)
    if rest:
        raise UsageError(f"{text}: nothing can follow the plan, and here follows {rest[0]!r}")
    if isinstance(found, str):
        raise UsageError(f"{text}: {explain_unknown('policy', found, POLICIES, 'there are ' + ', '.join(POLICIES))}")
    return found


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise UsageError(
                f"{text}: a plan is written like race(a, fallback(b, c)), without {text[place:].strip()[0]!r}"
            )
        yield match[1]
        place = match.end()


def _parse(text: str, tokens: list[str]) -> tuple[Shape | str, list[str]]:
    if not tokens or tokens[0] in "(),":
        raise UsageError(f"{text}: here a lane or a policy is missing; a plan is written like race(a, fallback(b, c))")
    name, *rest = tokens
    policy, _, argument = name.partition(":")
    if rest[:1] != ["("]:
        return (Shape(policy, argument) if policy in POLICIES else name), rest
    if policy not in POLICIES:
        raise UsageError(f"{text}: {explain_unknown('policy', policy, POLICIES, 'there are ' + ', '.join(POLICIES))}")
    lanes: list[Shape | str] = []
    while rest and rest[0] in "(,":
        lane, rest = _parse(text, rest[1:])
        lanes.append(lane)
    if rest[:1] != [")"]:
        raise UsageError(f"{text}: a ) is missing")
    return Shape(policy, argument, tuple(lanes)), rest[1:]
