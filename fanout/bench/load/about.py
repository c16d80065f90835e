"""Everything a run tells about itself to whoever reads its files, with nothing in it that is secret.

System prompts and options that go to a service as they are (body.NAME) are left out, and of addresses the user, the
password and the query: runs are shown to others, and keys stand in all of these.
"""

from collections.abc import Sequence
from time import strftime
from typing import Any
from urllib.parse import urlsplit

from fanout.bench.load.design.schedule import Schedule
from fanout.bench.load.environment import environment
from fanout.bench.load.setup import Setup
from fanout.bench.load.wish import RunWish

HIDDEN = "…"
"""The mark in place of a secret."""


def describe_run(wish: RunWish, setup: Setup, schedules: Sequence[Schedule], command: str) -> dict[str, Any]:
    """Tells how a run was asked for; `command` is how to do it again."""
    return {
        "command": command,
        "start": strftime("%Y-%m-%dT%H:%M:%S%z"),
        "lanes": [
            {
                "name": lane.name,
                "provider": lane.provider.name,
                "model": lane.provider.model,
                "base_url": hide_secrets(lane.provider.base_url) or None,
            }
            for lane in setup.lanes
        ],
        "load": [step.label for step in schedules],
        "arrival": wish.arrival if wish.rate else None,
        "requests": setup.limits.requests,
        "duration": setup.limits.seconds,
        "until_ci": setup.limits.precision,
        "prompts": setup.workload.source,
        "fingerprint": setup.workload.fingerprint,
        "max_tokens": setup.max_tokens,
        "ignore_eos": wish.ignore_eos,
        "warmup": setup.warmup,
        "timeout": setup.timeout,
        "objectives": wish.slo,
        "order": setup.order,
        "cache": wish.cache,
        "fresh_connections": wish.fresh_connections,
        "baseline": wish.baseline,
        "seed": setup.seed,
        **environment(),
    }


def hide_secrets(address: str) -> str:
    """Returns the address without its user, password and query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    place = f"{HIDDEN}@{host}" if user or at else host
    query = HIDDEN if parts.query else ""
    return parts._replace(netloc=place, query=query, fragment="").geturl()


def hide_secret_option(key: str, value: str) -> str:
    """Returns the value of a lane's option as everybody may see it."""
    if key.startswith("body."):
        return HIDDEN
    return hide_secrets(value) if key in ("base_url", "proxy") else value
