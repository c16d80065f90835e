"""Tells an observer what happened, so that its mistakes are its own."""

import logging
from collections.abc import Callable
from typing import TypeVarTuple

Args = TypeVarTuple("Args")

_log = logging.getLogger("fanout")


def tell(hook: Callable[[*Args], None], *args: *Args) -> None:
    """Calls an observer's method. What it raises is logged, and goes no further."""
    try:
        hook(*args)
    except Exception:  # noqa: BLE001  # whoever looks on must not change what happens
        _log.exception("an observer failed in %s", getattr(hook, "__name__", hook))
