"""Tells an observer what happened, so that its mistakes are its own."""

import logging
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

_log = logging.getLogger("fanout")


def tell(hook: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Calls an observer's method. What it raises is logged, and goes no further."""
    try:
        hook(*args, **kwargs)
    except Exception:  # noqa: BLE001  # whoever looks on must not change what happens
        _log.exception("an observer failed in %s", getattr(hook, "__name__", hook))
