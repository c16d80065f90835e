"""The turns of an agent: the result of a tool call goes to the lane that made the call, with what only it may have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from fanout.abc import Policy
from fanout.answers import Answer
from fanout.catalog import LaneSpec
from fanout.events import ANSWERING, Reasoning
from fanout.gateway.affinity import Turn
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.sealed import HASHED, hash_of
from fanout.gateway.names import lanes_of
from fanout.policies.fallback import Fallback
from fanout.prompt import Message, ToolUse

Find = Callable[[str], Turn | None]
"""Tells who made the tool call of an id."""


def restore(asked: Asked, plan: Policy, find: Find) -> Asked:
    """Returns the request with what is opaque in the assistant's messages: as it was sent back, or as remembered.

    What was sent back names its service by a hash: that of a lane in the plan, or it is of no use.
    """
    makers = [lane.provider.maker for lane in lanes_of(plan)]
    messages = tuple(_restore(message, makers, find) for message in asked.prompt.messages)
    return evolve(asked, prompt=evolve(asked.prompt, messages=messages))


def _restore(message: Message, makers: Sequence[Mapping[str, Any]], find: Find) -> Message:
    opaque = message.opaque
    if opaque is not None and opaque["service"].startswith(HASHED):
        service = next((maker["service"] for maker in makers if _made(maker, opaque)), None)
        if service is not None:
            return evolve(message, opaque={**opaque, "service": service})
        message = evolve(message, opaque=None)
    turn = next((turn for use in message.tool_uses if (turn := _turn_of(use, find)) is not None), None)
    if turn is not None and turn.opaque is not None:
        # The places of opaque parts count characters of the reasoning: both come from the same answer.
        return evolve(message, reasoning=turn.reasoning, opaque=turn.opaque)
    return message


def _turn_of(use: ToolUse, find: Find) -> Turn | None:
    """The turn that made this very call: what is remembered with its id may be another's."""
    turn = find(use.id)
    return turn if turn is not None and turn.made(use) else None


def _made(maker: Mapping[str, Any], opaque: Mapping[str, Any]) -> bool:
    return all(maker[name] == opaque[name] for name in ("wire", "model")) and (
        hash_of(maker["service"]) == opaque["service"]
    )


def stay(plan: Policy, asked: Asked, find: Find) -> Policy:
    """Returns the plan in which the lane that made the call is asked first, and the others only if it fails.

    Where nobody knows who made it, or the lane is not in the plan, the plan stays as it is.
    """
    uses = (use for message in reversed(asked.prompt.messages) for use in message.tool_uses)
    answered = next((use for use in uses if use.id == asked.answers_call), None)
    turn = None if answered is None else _turn_of(answered, find)
    if turn is None:
        return plan
    lanes = list(lanes_of(plan))
    own = next((lane for lane in lanes if lane.name == turn.lane.partition("#")[0]), None)
    if own is None or len(lanes) == 1:
        return plan
    return _begin_with(own, plan)


def _begin_with(own: LaneSpec, plan: Policy) -> Policy:
    """The plan as a fallback that begins with one lane of it: what wins, how long it may take, what becomes of losers.

    A plan within it that has the lane becomes such a fallback too, and comes first; the others stay as they are.
    """
    first = next(lane for lane in plan.lanes if lane is own or own in _lanes_in(lane))
    others = [lane for lane in plan.lanes if lane is not first]
    kinds = plan.heeds or frozenset()
    return Fallback(
        _begin_with(own, first) if isinstance(first, Policy) else first,
        *others,
        on="first_token" if kinds & ANSWERING else "finish",
        accept=plan.accept,
        reasoning=Reasoning in kinds,
        deadline=plan.deadline,
        on_lose=plan.on_lose,
    )


def _lanes_in(lane: Any) -> list[LaneSpec]:
    return list(lanes_of(lane)) if isinstance(lane, Policy) else []


def turn_of(answer: Answer) -> tuple[list[str], Turn]:
    """Returns the ids of an answer's calls, and what is remembered with them."""
    return [call.id for call in answer.tool_calls], Turn(
        answer.lane, answer.reasoning, answer.opaque, answer.tool_calls
    )
