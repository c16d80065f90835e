"""One prompt to many LLM providers at once, on Trio: the first good answer, or all of them.

The public names are below, loaded when they are first used. They are for Trio; `fanout.aio` has the same calls for
asyncio, `fanout.sync` for programs without a loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanout import aio, sync
    from fanout.answers import Answer, Run, Wasted
    from fanout.api import Fanout, ask, check_keys, fetch_file, gather, list_models, open_fanout, open_transport, race
    from fanout.errors import AllLanesFailed, FanoutError, ProviderError, UsageError
    from fanout.events import Delta, End, Event, Reasoning, Status, Tagged, ToolCall, Usage
    from fanout.policies.all import All
    from fanout.policies.fallback import Fallback
    from fanout.policies.hedge import Hedge
    from fanout.policies.quorum import Quorum
    from fanout.policies.race import Race
    from fanout.prompt import Media, Message, Options, Prompt
    from fanout.prompt.history import History
    from fanout.settings.timeouts import Timeouts

__version__ = "0.1.0"

_HOMES = {
    "fanout": ("aio", "sync"),
    "fanout.answers": ("Answer", "Run", "Wasted"),
    "fanout.api": (
        "Fanout",
        "ask",
        "check_keys",
        "fetch_file",
        "gather",
        "list_models",
        "open_fanout",
        "open_transport",
        "race",
    ),
    "fanout.errors": ("AllLanesFailed", "FanoutError", "ProviderError", "UsageError"),
    "fanout.events": ("Delta", "End", "Event", "Reasoning", "Status", "Tagged", "ToolCall", "Usage"),
    "fanout.prompt.history": ("History",),
    "fanout.policies.all": ("All",),
    "fanout.policies.fallback": ("Fallback",),
    "fanout.policies.hedge": ("Hedge",),
    "fanout.policies.quorum": ("Quorum",),
    "fanout.policies.race": ("Race",),
    "fanout.prompt": ("Media", "Message", "Options", "Prompt"),
    "fanout.settings.timeouts": ("Timeouts",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "All",
    "AllLanesFailed",
    "Answer",
    "Delta",
    "End",
    "Event",
    "Fallback",
    "Fanout",
    "FanoutError",
    "Hedge",
    "History",
    "Media",
    "Message",
    "Options",
    "Prompt",
    "ProviderError",
    "Quorum",
    "Race",
    "Reasoning",
    "Run",
    "Status",
    "Tagged",
    "Timeouts",
    "ToolCall",
    "Usage",
    "UsageError",
    "Wasted",
    "aio",
    "ask",
    "check_keys",
    "fetch_file",
    "gather",
    "list_models",
    "open_fanout",
    "open_transport",
    "race",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fanout' has no attribute {name!r}")
    home = _HOME_OF[name]
    value = import_module(f"fanout.{name}") if home == "fanout" else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
