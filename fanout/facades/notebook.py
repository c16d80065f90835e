"""A display in a notebook that follows a fan-out while it streams."""

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Unpack

from fanout.answers import Run
from fanout.api import Asked
from fanout.errors import UsageError
from fanout.facades.aio import Fanout, open_fanout
from fanout.plan import CallSettings, Plan

EVERY = 0.1
"""Seconds between two updates."""


async def show(prompt: Asked, plan: Plan | Sequence[Plan], **settings: Unpack[CallSettings]) -> Run:
    """Like `ask`, in a notebook: shows the answers side by side while they stream, and returns the Run.

    In IPython on a terminal, which cannot draw anew, it shows them at the end. Raises UsageError, also where IPython is
    not installed.
    """
    try:
        display: Any = import_module("IPython.display").display
        live = hasattr(import_module("IPython").get_ipython(), "kernel")
    except ImportError:
        raise UsageError("fanout.aio.show is for notebooks, and IPython is not installed here: use ask") from None
    async with open_fanout(prompt, plan, **settings) as events:
        draw = display(events.run, display_id=True).update if live else None
        drawing = asyncio.create_task(_follow(events, draw))
        try:
            async for _ in events:
                pass
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
        (draw or display)(events.run)
        return events.run


async def _follow(events: Fanout, draw: Callable[[Run], object] | None) -> None:
    """Draws anew, again and again, where that can be done."""
    while draw is not None:
        await asyncio.sleep(EVERY)
        draw(events.run)
