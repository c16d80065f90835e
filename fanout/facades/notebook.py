"""A display in a notebook that follows a fan-out while it streams."""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Unpack

from fanout.answers import Run
from fanout.api import Asked, CallSettings
from fanout.errors import UsageError
from fanout.facades.aio import Fanout, open_fanout
from fanout.plan import Plan

EVERY = 0.1
"""Seconds between two updates."""


async def show(prompt: Asked, plan: Plan | Sequence[Plan], **settings: Unpack[CallSettings]) -> Run:
    """Like `ask`, in a notebook: shows the answers side by side while they stream, and returns the Run.

    Raises UsageError, also where IPython is not installed.
    """
    try:
        display: Any = import_module("IPython.display").display
    except ImportError:
        raise UsageError("fanout.aio.show is for notebooks, and IPython is not installed here: use ask") from None
    async with open_fanout(prompt, plan, **settings) as events:
        handle = display(events.run, display_id=True)
        drawing = asyncio.create_task(_follow(events, handle))
        try:
            async for _ in events:
                pass
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
        if handle is not None:
            handle.update(events.run)
        return events.run


async def _follow(events: Fanout, handle: Any) -> None:
    """Draws anew, again and again; outside of a notebook there is no handle, and nothing to follow."""
    while handle is not None:
        await asyncio.sleep(EVERY)
        handle.update(events.run)
