"""A drawn plan as the real one: policies with an `accept` of drawn opinions, over lanes of real providers."""

import re
from collections.abc import Awaitable
from functools import partial
from typing import Any

import trio
from attrs import evolve

from fanout import catalog
from fanout.abc import Accept, Policy, Request
from fanout.answers import Answer
from fanout.catalog.config import Config
from fanout.credentials.secret import Secret
from fanout.errors import Refused
from fanout.policies.all import All
from fanout.policies.best import Best
from fanout.policies.consensus import Consensus
from fanout.policies.fallback import Fallback
from fanout.policies.fuse import Fuse
from fanout.policies.hedge import Hedge
from fanout.policies.quorum import Quorum
from fanout.policies.race import Race
from fanout.sim.wires import WIRES
from fanout.sim.world import Leaf, Node, Opinion

CLASSES: dict[str, Any] = {
    "race": Race,
    "hedge": Hedge,
    "fallback": Fallback,
    "quorum": Quorum,
    "all": All,
    "consensus": Consensus,
    "best": Best,
    "fuse": Fuse,
}

CANARY = "sk-secret-of-the-simulation"
"""The beginning of every key: no log, no event and no error may show it."""


class Planted(Exception):  # it is no error of ours
    """The caller's own mistake, made on purpose: it must come out of the call as it is."""


def make_plan(node: Node) -> Policy:
    """Makes the plan that a node says."""
    lanes = [_make(lane) for lane in node.lanes]
    given = {**node.given, "deadline": node.deadline, "on_lose": node.on_lose}
    if (parts := given.pop("parts", None)) is not None:
        given["key"] = partial(vote, parts)
    if node.judge is not None:
        given["or_judge" if node.policy == "consensus" else "judge"] = _make(node.judge)
    if node.opinions is not None:
        given["accept"] = make_accept(node.opinions)
    return CLASSES[node.policy](*lanes, **given)  # type: ignore[no-any-return]  # the classes differ in their settings


def _make(lane: Node | Leaf) -> Any:
    return make_lane(lane) if isinstance(lane, Leaf) else make_plan(lane)


def vote(parts: int, answer: Answer) -> int:
    """Returns the key of an answer in a vote between so many."""
    return len(answer.text) % parts


def make_lane(leaf: Leaf) -> catalog.LaneSpec:
    """Makes the lane that a leaf says, as the catalog makes it from text."""
    spec = catalog.find(f"{leaf.label}={leaf.wire}/m?base_url=https://{leaf.host}{WIRES[leaf.wire][1]}", _NO_KEYS)
    provider: Any = spec.provider
    if leaf.wire != "ollama":
        provider, *spares = (evolve(provider, key=Secret(f"{CANARY}-{n}")) for n in range(leaf.keys))
        spec = evolve(spec, provider=provider, spares=tuple(spares))
    return evolve(spec, timeouts=leaf.timeouts, retries=leaf.retries, concurrency=leaf.concurrency)


_NO_KEYS = Config()


def key_of(request: Request) -> int | None:
    """Returns the number of the key that a request carries, None if it has none."""
    found = re.search(rf"{CANARY}-(\d+)", " ".join(request.plain_headers().values()))
    return int(found[1]) if found else None


def make_accept(opinions: dict[str, Opinion]) -> Accept:
    """Makes an `accept` of these opinions; each says for itself whether it is async."""

    def accept(answer: Answer) -> bool | Awaitable[bool]:
        opinion = opinions.get(answer.lane, Opinion())
        return say(opinion) if opinion.wait is None else say_later(opinion, opinion.wait)

    return accept


def say(opinion: Opinion) -> bool:
    """Says what the opinion is, or raises it."""
    match opinion.says:
        case "value":
            raise ValueError("no good")
        case "refused":
            raise Refused("refused by drawing")
        case "bug":
            raise Planted
    return opinion.says == "yes"


async def say_later(opinion: Opinion, wait: float) -> bool:
    """Says so after `wait` seconds."""
    await trio.sleep(wait)
    return say(opinion)
