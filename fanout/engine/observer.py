"""Tells an observer what happened, so that its mistakes are its own."""

import logging
from typing import Any, Literal

from fanout.abc import Observer

Hook = Literal["lane_started", "lane_ended", "run_ended"]

_log = logging.getLogger("fanout")


def tell(observer: Observer, hook: Hook, *args: Any) -> None:
    """Calls a method of an observer. What it raises is logged, and goes no further; so is a method that is missing."""
    try:
        getattr(observer, hook)(*args)
    except Exception:  # noqa: BLE001  # whoever looks on must not change what happens
        _log.exception("an observer failed in %s", hook)
