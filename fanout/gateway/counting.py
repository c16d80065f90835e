"""The tokens of a prompt, before it is asked: by a lane's own count where its service has one, else estimated."""

from typing import Any

import orjson
from attrs import evolve

from fanout.abc import Policy, Provider, Request
from fanout.connections import Connections
from fanout.errors import ProviderError
from fanout.gateway.dialects.asked import Asked
from fanout.gateway.names import lanes_of, wire_of
from fanout.prompt import Prompt
from fanout.providers.reader import count_of
from fanout.transports.fetch import fetch_soon

COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")
"""The fields of a request that tokens are counted of."""

PICTURE = 1600
"""Tokens of a picture or file, about."""

PATIENCE = 5.0
"""Seconds that a service has for its count."""


def request_for(provider: Provider, prompt: Prompt) -> Request | None:
    """Returns the request that has a service count, or None if it has no such count. Raises ProviderError."""
    if wire_of(provider) != "messages":
        return None
    request = provider.request(prompt)
    body: dict[str, Any] = orjson.loads(request.body)
    kept = {name: value for name, value in body.items() if name in COUNTED}
    headers = {**request.headers, "accept": "application/json"}
    return evolve(request, url=f"{request.url}/count_tokens", headers=headers, body=orjson.dumps(kept))


async def count(asked: Asked, plan: Policy, connections: Connections) -> int:
    """Returns how many tokens the prompt has for the first lane of a plan: its own count, else an estimate.

    The prompt goes the lane's own way, by its proxy if it has one.
    """
    lane = next(lanes_of(plan))
    try:
        request = request_for(lane.provider, asked.prompt.with_options(lane.options))
        if request is not None:
            reply = await fetch_soon(connections.by_proxy_of(lane), request, PATIENCE)
            counted = count_of(orjson.loads(reply.body).get("input_tokens")) if reply.head.status == 200 else None
            if counted is not None:
                return counted
    except (ProviderError, orjson.JSONDecodeError, AttributeError):
        pass  # its own count is better than ours, and not worth a failure
    return estimate(asked.prompt)


def estimate(prompt: Prompt) -> int:
    """Returns about how many tokens a prompt has: one for each four characters."""
    texts = [part for message in prompt.messages for part in (message.text, message.reasoning)]
    texts += [use.name + use.arguments for message in prompt.messages for use in message.tool_uses]
    characters = sum(map(len, texts)) + len(orjson.dumps(list(prompt.options.tools), default=dict))
    pictures = sum(len(message.media) for message in prompt.messages)
    return max(1, characters // 4 + 4 * len(prompt.messages) + PICTURE * pictures)
