"""A world: the calls, their plans, what each service says to each request, and what the user does. Plain data."""

from collections.abc import Iterator
from itertools import count
from math import inf
from typing import Any, Literal

from attrs import evolve, field, frozen

from fanout.abc import Head
from fanout.errors import ConnectError, ResetError
from fanout.settings.timeouts import Timeouts
from fanout.transports.memory import HANG, Step

Ending = Literal["close", "hang", "reset", "refuse"]


@frozen
class Read:
    """Bytes that arrive in one read, `wait` seconds after what came before."""

    wait: float
    data: bytes = field(repr=lambda data: f"{len(data)}B")


@frozen
class Reply:
    """The course of one request: a head after `wait` seconds, reads, and the ending `last` seconds after them.

    `refuse` is a connection that fails before anything comes. `text` is all that an answer says, `whole` says that
    nothing of it is missing.
    """

    wait: float
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    reads: tuple[Read, ...] = ()
    last: float = 0.0
    ending: Ending = "close"
    text: str = field(default="", repr=False)
    whole: bool = True

    def steps(self) -> list[Step]:
        """Returns the script that a MemoryTransport plays."""
        if self.ending == "refuse":
            return [self.wait, ConnectError("refused")]
        steps: list[Step] = [self.wait, Head(self.status, dict(self.headers))]
        for read in self.reads:
            steps += [read.wait, read.data]
        return [*steps, self.last, *_ENDINGS[self.ending]]


_ENDINGS: dict[str, tuple[Step, ...]] = {
    "close": (),
    "hang": (HANG,),
    "reset": (ResetError("the connection was lost"),),
}


@frozen
class Leaf:
    """One lane: its unique `name`, that of its `limiter`, its service, and the replies to its requests, in order.

    The last reply is given again to all further requests. `keys` is the number of its keys.
    """

    name: str
    label: str
    host: str
    wire: str
    replies: tuple[Reply, ...]
    timeouts: Timeouts = field(factory=Timeouts)
    retries: int | None = None
    concurrency: int | None = None
    keys: int = 1


@frozen
class Opinion:
    """The verdict of an `accept` on the answer of one lane: after `wait` seconds if it is async.

    It `says` yes or no, or raises: a value error, Refused, or a bug of the caller's.
    """

    says: Literal["yes", "no", "value", "refused", "bug"] = "yes"
    wait: float | None = None


@frozen
class Node:
    """A policy over lanes. `number` names it; `opinions` are those of its `accept` by the lane's name, none: no accept.

    `given` are the settings of the policy's own kind. The `judge`, if there is one, is asked `questions` times at most.
    """

    number: int
    policy: str
    lanes: tuple["Node | Leaf", ...]
    given: dict[str, Any] = field(factory=dict)
    deadline: float = inf
    on_lose: Literal["cancel", "keep"] | None = None
    opinions: dict[str, Opinion] | None = None
    judge: "Node | Leaf | None" = None

    @property
    def questions(self) -> int:
        """The number of questions that may be put to the judge."""
        return 0 if self.judge is None else 1 + bool(self.given.get("swap") or self.given.get("analysis"))

    def leaves(self) -> list[Leaf]:
        """The lanes below, in the order of the plan: a judge, once for each question, after those that it judges."""
        number = count(1)
        return [
            evolve(leaf, name="judge" if (n := next(number)) == 1 else f"judge#{n}") if leaf.label == "judge" else leaf
            for leaf in _below(self)
        ]

    def __str__(self) -> str:
        lanes = ", ".join(lane.name if isinstance(lane, Leaf) else str(lane) for lane in self.lanes)
        own = [f"{name}={value}" for name, value in self.given.items()]
        own += [f"deadline={self.deadline:.3f}"] if self.deadline < inf else []
        own += [f"on_lose={self.on_lose}"] if self.on_lose else []
        own += [f"judge={self.judge.host if isinstance(self.judge, Leaf) else self.judge}"] if self.judge else []
        own += ["accept"] if self.opinions is not None else []
        return f"{self.policy}({'; '.join([lanes, *own])})"


def _below(node: Node) -> Iterator[Leaf]:
    for lane in (*node.lanes, *([node.judge] if node.judge else []) * node.questions):
        if isinstance(lane, Leaf):
            yield lane
        else:
            yield from _below(lane)


@frozen
class Act:
    """Something that the user does: `at` so many seconds after the call began, or `pause` after so many events.

    Events are counted where it is an int; only Ends, where `ends`.

    `leave` leaves the block, `raise` raises in it, `cut` cancels the whole call from outside, `cancel` ends all lanes,
    `stop` the one named `lane`.
    """

    what: Literal["leave", "raise", "cut", "cancel", "stop"]
    at: float | int
    lane: str = ""
    pause: float = 0.0
    ends: bool = False


@frozen
class User:
    """Somebody who makes a call in one `way`, takes `pace` seconds for each event, and acts."""

    way: Literal["open", "take", "ask", "gather", "race", "stream"] = "open"
    pace: float = 0.0
    acts: tuple[Act, ...] = ()


@frozen
class Call:
    """One call, `at` seconds after the world began."""

    number: int
    at: float
    plan: Node
    user: User
    retries: int | None = None
    on_lose: Literal["cancel", "keep"] = "cancel"
    deadline: float = inf
    timeouts: Timeouts = field(factory=Timeouts)


@frozen
class World:
    """All that happens to the calls. In a `tied` one many moments are the same: only its laws can be checked."""

    seed: int
    calls: tuple[Call, ...]
    tied: bool = False
