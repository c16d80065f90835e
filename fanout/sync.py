"""The calls of fanout for programs without a loop: plain functions and `with` blocks, else as in `fanout` itself.

Trio runs in a thread of its own, which the first call starts; connections are kept until the process ends.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanout.facades.sync import (
        Fanout,
        Stream,
        ask,
        check_keys,
        fetch_file,
        gather,
        list_models,
        open_fanout,
        open_transport,
        race,
        stream,
    )

__all__ = [
    "Fanout",
    "Stream",
    "ask",
    "check_keys",
    "fetch_file",
    "gather",
    "list_models",
    "open_fanout",
    "open_transport",
    "race",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fanout.sync' has no attribute {name!r}")
    value = getattr(import_module("fanout.facades.sync"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
