"""The turns of an agent: the result of a tool call goes to the lane that made the call, with what only it may have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from fanout.abc import Policy
from fanout.answers import Answer
from fanout.catalog import LaneSpec
from fanout.gateway.affinity import Turn
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.dialects.sealed import HASHED, hash_of
from fanout.gateway.names import lanes_of
from fanout.policies.fallback import Fallback
from fanout.prompt import Message

Find = Callable[[str], Turn | None]
"""Tells who made the tool call of an id."""


def restore(asked: Asked, plan: Policy, find: Find) -> Asked:
    """Returns the request with what is opaque in the assistant's messages: as remembered, or as it was sent back.

    What was sent back names its service by a hash: that of a lane in the plan, or it is of no use.
    """
    makers = [lane.provider.maker for lane in lanes_of(plan)]
    messages = tuple(_restore(message, makers, find) for message in asked.prompt.messages)
    return evolve(asked, prompt=evolve(asked.prompt, messages=messages))


def _restore(message: Message, makers: Sequence[Mapping[str, Any]], find: Find) -> Message:
    turn = next((turn for use in message.tool_uses if (turn := find(use.id)) is not None), None)
    if turn is not None and turn.opaque is not None:
        # The places of opaque parts count characters of the reasoning: both come from the same answer.
        return evolve(message, reasoning=turn.reasoning, opaque=turn.opaque)
    opaque = message.opaque
    if opaque is None or not opaque["service"].startswith(HASHED):
        return message
    service = next((maker["service"] for maker in makers if _made(maker, opaque)), None)
    return evolve(message, opaque=None if service is None else {**opaque, "service": service})


def _made(maker: Mapping[str, Any], opaque: Mapping[str, Any]) -> bool:
    return all(maker[name] == opaque[name] for name in ("wire", "model")) and (
        hash_of(maker["service"]) == opaque["service"]
    )


def stay(plan: Policy, asked: Asked, find: Find) -> Policy:
    """Returns the plan in which the lane that made the call is asked first, and the others only if it fails.

    Where nobody knows who made it, or the lane is not in the plan, the plan stays as it is.
    """
    turn = find(asked.answers_call) if asked.answers_call else None
    if turn is None:
        return plan
    lanes = list(lanes_of(plan))
    own = next((lane for lane in lanes if lane.name == turn.lane.partition("#")[0]), None)
    if own is None or len(lanes) == 1:
        return plan
    others: list[LaneSpec] = [lane for lane in lanes if lane is not own]
    return Fallback(own, *others, on="first_token" if asked.stream else "finish")


def turn_of(answer: Answer) -> tuple[list[str], Turn]:
    """Returns the ids of an answer's calls, and what is remembered with them."""
    return [call.id for call in answer.tool_calls], Turn(answer.lane, answer.reasoning, answer.opaque)
