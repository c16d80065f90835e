"""The calls of fanout for asyncio: the names, arguments and results are those of `fanout` itself.

Trio runs in a thread of its own, which the first call starts; connections are kept until the process ends.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanout.facades.aio import (
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
    from fanout.facades.notebook import show

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
    "show",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fanout.aio' has no attribute {name!r}")
    home = "fanout.facades.notebook" if name == "show" else "fanout.facades.aio"
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
