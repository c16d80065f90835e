"""The list of models: the lanes and groups of fanout.toml, in a form that OpenAI's and Anthropic's clients read."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanout.catalog.config import Config
from fanout.gateway.names import streams

CREATED = 1767225600
"""The Unix time that every model shows: nobody knows when a name was given."""

EPOCH = "2026-01-01T00:00:00Z"

LOCAL = "local"
"""The embedded model, which needs no configuration."""


def rows(config: Config) -> list[dict[str, Any]]:
    """Returns a row for each name; lanes and expressions of one's own are models too, and cannot be listed."""
    lanes = {name: _about("lane", "first_token", ()) for name in (LOCAL, *config.lanes)}
    groups = {name: _about(group.policy, streams(group), group.lanes) for name, group in config.groups.items()}
    chosen = {name: about for name, about in groups.items() if config.groups[name].policy != "all"}
    return [_row(name, about) for name, about in {**lanes, **chosen}.items()]


def listing(config: Config) -> dict[str, Any]:
    """Returns the whole list."""
    found = rows(config)
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"],
        "last_id": found[-1]["id"],
        "has_more": False,
    }


def _about(kind: str, streams_at: str, lanes: Sequence[str]) -> dict[str, Any]:
    return {"kind": kind, "streams": streams_at, "lanes": [lane.partition("?")[0] for lane in lanes]}


def _row(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": "fanout",
        "type": "model",
        "display_name": name,
        "created_at": EPOCH,
        "fanout": about,
    }
