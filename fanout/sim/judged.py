"""Draws plans with a vote or a judge into a world that has been drawn. Pure, from the world's own seed.

What lanes of such plans do is bound by the laws alone, as the model knows neither a vote nor a judge. So these worlds
are played beside those that they are made of, and not in their place.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from random import Random
from typing import Any

from attrs import define, evolve, field

from fanout.sim.wires import WIRES
from fanout.sim.world import Act, Call, Ending, Leaf, Node, Read, Reply, World

KINDS = ("consensus", "best", "fuse")
SHARE = 0.25
"""The share of worlds that are played once more, with votes and judges in their plans."""

_WORDS = ('{"best": "A", "why": "so"}', 'Well: {"best":"b"}', "B", "C.", '{"best": "A"} {"best": "B"}', '{"best"', "")


_GIVEN: Mapping[str, dict[str, Any]] = {"quorum": {"k": 1}, "hedge": {"after": 0.7}}


def add_judges(world: World, share: float = SHARE) -> World:
    """Returns the world with some plans made votes, or plans with a judge; or as it is."""
    random = Random(f"judged {world.seed}")  # noqa: S311  # worlds need no secrecy
    if random.random() >= share:
        return world
    drawing = _Drawing(random, {leaf.label for call in world.calls for leaf in call.plan.leaves()})
    return evolve(world, calls=tuple(map(drawing.call, world.calls)))


def has_judges(node: Node) -> bool:
    """True if there is a vote or a judge somewhere in the plan."""
    below = (lane for lane in (*node.lanes, node.judge) if isinstance(lane, Node))
    return node.policy in KINDS or any(map(has_judges, below))


@define
class _Drawing:
    random: Random
    labels: set[str]
    hosts: Iterator[int] = field(factory=count)
    nodes: Iterator[int] = field(factory=lambda: count(1000))

    def call(self, call: Call) -> Call:
        plan = self._node(call.plan, surely=True)
        acts = tuple(self._act(act, plan) for act in call.user.acts)
        return evolve(call, plan=plan, user=evolve(call.user, acts=acts))

    def _act(self, act: Act, plan: Node) -> Act:
        """The act, which may strike a judge."""
        if act.what == "stop" and self.random.random() < 0.4:
            return evolve(act, lane=self.random.choice(plan.leaves()).name)
        return act

    def _node(self, node: Node, *, surely: bool = False) -> Node:
        random = self.random
        lanes = tuple(self._node(lane) if isinstance(lane, Node) else lane for lane in node.lanes)
        node = evolve(node, lanes=lanes)
        if random.random() >= (0.7 if surely else 0.4):
            return node
        policy = random.choice(KINDS)
        given: dict[str, Any] = {}
        judge = None
        if policy == "consensus":
            given["parts"] = random.choice((1, 2, 2, 3))
            given["stop"] = random.choice(("caught", "caught", "likely"))
            given |= {"agree": random.randint(1, len(lanes))} if random.random() < 0.25 else {}
            given |= {"wave": random.randint(1, len(lanes))} if random.random() < 0.4 else {}
            judge = self._judge() if random.random() < 0.4 else None
        else:
            judge = self._judge()
            given |= {"enough": random.randint(1, len(lanes))} if random.random() < 0.5 else {}
            given |= {"grace": round(random.expovariate(2), 3)} if random.random() < 0.5 else {}
            given |= {"swap" if policy == "best" else "analysis": True} if random.random() < 0.3 else {}
        opinions = None if policy == "consensus" else node.opinions
        return evolve(node, policy=policy, given=given, judge=judge, opinions=opinions)

    def _judge(self, depth: int = 0) -> Node | Leaf:
        random = self.random
        if depth > 1 or random.random() < 0.7:
            return self._leaf()
        lanes = tuple(self._judge(depth + 1) for _ in range(random.choice((1, 2, 2, 3))))
        policy = random.choice(("race", "fallback", "quorum", "best", "hedge"))
        given = _GIVEN.get(policy, {})
        judge = self._leaf() if policy == "best" else None
        return Node(next(self.nodes), policy, lanes, given, judge=judge)

    def _leaf(self) -> Leaf:
        random = self.random
        wire = random.choice(tuple(WIRES))
        replies = tuple(self._reply(wire) for _ in range(random.choice((1, 1, 2))))
        return Leaf("judge", "judge", f"judge{next(self.hosts)}.test", wire, replies, retries=random.choice((None, 0)))

    def _reply(self, wire: str) -> Reply:
        random = self.random
        wait = random.lognormvariate(-1, 0.6)
        if random.random() < 0.1:
            return Reply(wait, ending="refuse", whole=False)
        words = random.choice(_WORDS)
        layout, _, media = WIRES[wire]
        pieces = [("text", words[:3]), ("text", words[3:])] if random.random() < 0.5 else [("text", words)]
        whole = random.random() < 0.85
        frames = layout([*pieces, ("finish", ""), ("done", "")] if whole else pieces)
        reads = tuple(Read(random.lognormvariate(-2, 0.6), frame) for frame in frames)
        ending: Ending = "close" if random.random() < 0.8 else "hang"
        return Reply(wait, 200, (("content-type", media),), reads, 0.05, ending, words, whole)
