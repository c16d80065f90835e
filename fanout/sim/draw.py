"""Draws a world from a seed. Pure: the same seed gives the same world, in any process."""

from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from random import Random
from typing import Any, TypeVar

from attrs import define, evolve, field

from fanout.settings.timeouts import Timeouts
from fanout.sim.notation import POLICIES, Shape
from fanout.sim.wires import ODD, REFUSALS, WIRES, Piece
from fanout.sim.world import Act, Call, Ending, Leaf, Node, Opinion, Read, Reply, User, World

T = TypeVar("T")
_SHARES = {"answer": 72, "status": 16, "odd": 6, "refuse": 6}

GRID = 0.25
"""Seconds between the moments of a tied world."""


def draw_world(seed: int, shape: Shape | None = None) -> World:
    """Draws the world of `seed`. Each plan has the `shape`, if one is given; what it leaves open is drawn."""
    random = Random(seed)  # noqa: S311  # worlds need no secrecy
    drawing = Drawing(random, tied=random.random() < 0.2, shape=shape)
    calls = tuple(drawing.call(number) for number in range(1 if random.random() < 0.75 else random.randint(2, 3)))
    return World(seed, calls, drawing.tied)


@define
class _Host:
    """Somebody who answers, maybe in several calls, but in each to one lane."""

    host: str
    wire: str
    keys: int
    asked_by: int = -1


@define
class Drawing:
    """The drawing of one world. No two moments of one that is not `tied` are the same."""

    random: Random
    tied: bool
    shape: Shape | None
    _nodes: Callable[[], int] = field(factory=lambda: count().__next__)
    _services: list["_Host"] = field(factory=list)

    def seconds(self, usual: float) -> float:
        """A time of about so many seconds; some are much longer, as latencies are."""
        drawn = usual * self.random.lognormvariate(0, 0.6)
        if self.random.random() < 0.1:
            drawn *= self.random.uniform(3, 15)
        return max(GRID, round(drawn / GRID) * GRID) if self.tied else drawn

    def maybe(self, share: float, make: Callable[[], T], usual: T) -> T:
        """Returns what `make` draws in a `share` of all cases, else `usual`."""
        return make() if self.random.random() < share else usual

    def call(self, number: int) -> Call:
        """A call, whose lanes may be services that an earlier call asked too."""
        labels: dict[str, int] = {}
        plan = self._node(number, labels, self.shape)
        deadline = self.maybe(0.2, lambda: self.seconds(4), inf)
        return Call(
            number,
            self.maybe(0.7, lambda: self.seconds(1), 0.0) if number else 0.0,
            plan,
            self._user(plan),
            retries=self.maybe(0.3, lambda: self.random.randint(0, 3), None),
            on_lose=self.maybe(0.2, lambda: "keep", "cancel"),
            deadline=deadline,
            timeouts=self._timeouts(0.15),
        )

    def _node(self, call: int, labels: dict[str, int], shape: Shape | None, depth: int = 0) -> Node:
        random = self.random
        policy = shape.policy if shape else random.choice(POLICIES)
        number = self._nodes()
        lanes = self._lanes_of(call, labels, shape.lanes) if shape and shape.lanes else []
        for _ in range(0 if lanes else random.choice((1, 2, 2, 2, 3, 3, 4))):
            deeper = depth < 2 and random.random() < (0.2, 0.1)[depth]
            lanes.append(self._node(call, labels, None, depth + 1) if deeper else self._leaf(call, labels))
        given = self._given(policy, len(lanes))
        return Node(
            number,
            policy,
            tuple(lanes),
            given | (shape.given(len(lanes)) if shape and shape.argument else {}),
            self.maybe(0.12, lambda: self.seconds(4), inf),
            self.maybe(0.15, lambda: random.choice(("cancel", "keep")), None),
            None if policy == "all" else self.maybe(0.35, lambda: self._opinions(lanes), None),
        )

    def _lanes_of(self, call: int, labels: dict[str, int], lanes: Sequence[Shape | str]) -> list[Node | Leaf]:
        return [
            self._node(call, labels, lane, depth=2) if isinstance(lane, Shape) else self._leaf(call, labels)
            for lane in lanes
        ]

    def _given(self, policy: str, lanes: int) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if policy == "quorum":
            return {"k": self.random.randint(1, lanes)}
        if policy == "hedge":
            given["after"] = self.maybe(0.9, lambda: self.seconds(0.8), 0.0)
        if policy != "all":
            on = self.random.choice(("finish", "finish", "first_token", "first_thought"))
            given |= {"on": on} if on != "finish" else {}
            given |= {"reasoning": True} if self.random.random() < 0.1 else {}
        return given

    def _opinions(self, lanes: Sequence[Node | Leaf]) -> dict[str, Opinion]:
        names = [leaf.name for lane in lanes for leaf in ([lane] if isinstance(lane, Leaf) else lane.leaves())]
        return {name: self._opinion() for name in names}

    def _opinion(self) -> Opinion:
        says = self.random.choices(("yes", "no", "value", "refused", "bug"), (12, 5, 2, 2, 1))[0]
        return Opinion(says, self.maybe(0.5, lambda: self.seconds(0.8), None))  # type: ignore[arg-type]  # a literal

    def _leaf(self, call: int, labels: dict[str, int]) -> Leaf:
        random = self.random
        free = [service for service in self._services if service.asked_by != call]
        if free and random.random() < 0.4:
            service = random.choice(free)
        else:
            wire = random.choice(tuple(WIRES))
            keys = self.maybe(0.15, lambda: 3, 1) if wire != "ollama" else 1
            service = _Host(f"h{len(self._services)}.test", wire, keys)
            self._services.append(service)
        service.asked_by = call
        limited = random.random() < 0.12
        label = f"limited{random.randint(0, 1)}" if limited else f"l{sum(labels.values())}"
        number = labels[label] = labels.get(label, 0) + 1
        return Leaf(
            label if number == 1 else f"{label}#{number}",
            label,
            service.host,
            service.wire,
            self._replies(service.wire),
            self._timeouts(0.4),
            self.maybe(0.25, lambda: random.choice((0, 1, 2, 4, 8)), None),
            1 + int(label[-1]) if limited else None,
            service.keys,
        )

    def _timeouts(self, share: float) -> Timeouts:
        usual = {"first": 2.0, "idle": 1.5, "total": 6.0}
        given = {name: self.seconds(each) for name, each in usual.items() if self.random.random() < share}
        if self.random.random() < share / 8:
            given["min_tps"] = self.random.uniform(0.2, 4)
        return Timeouts(**given)

    def _replies(self, wire: str) -> tuple[Reply, ...]:
        """The replies of a service to each request; some are down, and fail them all."""
        if self.random.random() < 0.07:
            return tuple(self.reply(wire, ("status", "refuse")) for _ in range(3))
        return tuple(self.reply(wire) for _ in range(self.random.choice((1, 1, 2, 3))))

    def reply(self, wire: str, kinds: Sequence[str] = ("answer", "status", "odd", "refuse")) -> Reply:
        """The reply to one request, of one of these kinds."""
        random = self.random
        wait = self.seconds(0.3)
        kind = random.choices(kinds, [_SHARES[kind] for kind in kinds])[0]
        if kind == "refuse":
            return Reply(wait, ending="refuse", whole=False)
        ending: Ending = random.choices(("close", "hang", "reset"), (80, 14, 6))[0]
        if kind == "status":
            status = random.choice(tuple(REFUSALS))
            headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
            after = self.maybe(0.5, lambda: random.choice(("0", "1", "2.5", "300", "soon")), "")
            if after and status in (429, 503):
                headers += (("retry-after", after),)
            return Reply(wait, status, headers, self._cut(REFUSALS[status]), self.seconds(0.1), ending, whole=False)
        headers = (("content-type", WIRES[wire][2]),)
        if kind == "odd":
            return Reply(wait, 200, headers, self._cut(random.choice(ODD)), self.seconds(0.1), ending, whole=False)
        return self._answer(wire, wait, headers, ending)

    def _answer(self, wire: str, wait: float, headers: tuple[tuple[str, str], ...], ending: Ending) -> Reply:
        random = self.random
        pieces: list[Piece] = []
        for number in range(random.choice((0, 1, 1, 2, 3, 5, 8, 13))):
            kind = random.choices(("text", "thought", "tool", "ping", "refusal"), (70, 12, 5, 12, 1))[0]
            pieces.append((kind, f"w{number}{random.choice(('', ' ', 'é', '🎈', chr(10)))}"))
        whole = random.random() < 0.85
        pieces += [("finish", ""), ("done", "")] if whole else self.maybe(0.4, lambda: [("broken", "no")], [])
        layout = WIRES[wire][0]
        frames = list(layout(pieces))
        text = "".join(words for kind, words in pieces if kind == "text" or (kind == "refusal" and wire != "openai"))
        reads: list[Read] = []
        for frame in frames:
            reads += self._cut(frame, usual=0.15)
        if reads and random.random() < 0.3:
            reads = self._join(reads)
        if reads and random.random() < 0.1:
            stalled = random.randrange(len(reads))
            reads[stalled] = evolve(reads[stalled], wait=self.seconds(3))
        return Reply(wait, 200, headers, tuple(reads), self.seconds(0.1), ending, text, whole)

    def _cut(self, data: bytes, usual: float = 0.1) -> tuple[Read, ...]:
        """One read mostly, else some; where the cuts fall, the network decides."""
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.choice((0, 0, 0, 0, 1, 2))))
        pairs = zip((0, *cuts), (*cuts, len(data)), strict=True)
        return tuple(Read(self.seconds(usual), data[a:b]) for a, b in pairs)

    def _join(self, reads: Sequence[Read]) -> list[Read]:
        joined = [reads[0]]
        for read in reads[1:]:
            if self.random.random() < 0.6:
                joined[-1] = evolve(joined[-1], data=joined[-1].data + read.data)
            else:
                joined.append(read)
        return joined

    def _user(self, plan: Node) -> User:
        random = self.random
        way = random.choices(("open", "take", "ask", "gather", "race", "stream"), (70, 8, 8, 4, 5, 5))[0]
        if way in ("race", "stream") and plan.policy == "all":
            way = "ask"
        acts: tuple[Act, ...] = ()
        if random.random() < 0.45:
            acts = tuple(self._act(way, plan) for _ in range(random.choice((1, 1, 2))))
        pace = self.maybe(0.25, lambda: self.seconds(0.2), 0.0) if way == "open" else 0.0
        return User(way, pace, acts)  # type: ignore[arg-type]  # a literal

    def _act(self, way: str, plan: Node) -> Act:
        what = (
            self.random.choice(("leave", "raise", "cut", "cancel", "cancel", "stop", "stop"))
            if way == "open"
            else "cut"
        )
        lane = self.random.choice(plan.leaves()).name if what == "stop" else ""
        inside = what in ("leave", "raise") or (what != "cut" and self.random.random() < 0.5)
        ends = inside and self.random.random() < 0.4
        at = self.random.randint(1, 2 if ends else 12) if inside else self.seconds(1.5)
        pause = 0.0 if self.tied else self.seconds(0.3 if ends else 0.02)
        return Act(what, at, lane, pause, ends)  # type: ignore[arg-type]  # a literal
