"""One prompt to many LLM providers at once, on Trio: the first good answer, or all of them.

The public names are below, loaded when they are first used. They are for Trio; `fanout.aio` has the same calls for
asyncio, `fanout.sync` for programs without a loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanout import aio, sync
    from fanout.answers import Answer, Run, Spent, Wasted
    from fanout.answers.verdicts import Verdict
    from fanout.api import (
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
    from fanout.errors import (
        AllLanesFailed,
        AuthError,
        CircuitOpen,
        ConfigurationError,
        ConnectError,
        FanoutError,
        InternalError,
        InvalidRequest,
        LocalModelError,
        LoginRequired,
        Misconfigured,
        NotAStream,
        NotFound,
        Overloaded,
        ProtocolError,
        ProviderError,
        QuotaError,
        RateLimited,
        RedirectRefused,
        Refused,
        ResetError,
        ServerError,
        TimedOut,
        TooLarge,
        Truncated,
        UsageError,
    )
    from fanout.events import (
        Conversation,
        Delta,
        End,
        Event,
        File,
        LoginNeeded,
        Reasoning,
        Refusal,
        Replace,
        Source,
        Sources,
        Started,
        Status,
        Tagged,
        Title,
        ToolCall,
        Usage,
    )
    from fanout.policies.all import All
    from fanout.policies.best import Best
    from fanout.policies.consensus import Consensus
    from fanout.policies.fallback import Fallback
    from fanout.policies.fastest import Fastest
    from fanout.policies.fuse import Fuse
    from fanout.policies.hedge import Hedge
    from fanout.policies.quorum import Quorum
    from fanout.policies.race import Race
    from fanout.prompt import Media, Message, Options, Prompt, ToolUse
    from fanout.prompt.history import History
    from fanout.settings.timeouts import Timeouts

__version__ = "0.1.0"

_HOMES = {
    "fanout": ("aio", "sync"),
    "fanout.answers": ("Answer", "Run", "Spent", "Wasted"),
    "fanout.answers.verdicts": ("Verdict",),
    "fanout.api": (
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
    ),
    "fanout.errors": (
        "AllLanesFailed",
        "AuthError",
        "CircuitOpen",
        "ConfigurationError",
        "ConnectError",
        "FanoutError",
        "InternalError",
        "InvalidRequest",
        "LocalModelError",
        "LoginRequired",
        "Misconfigured",
        "NotAStream",
        "NotFound",
        "Overloaded",
        "ProtocolError",
        "ProviderError",
        "QuotaError",
        "RateLimited",
        "RedirectRefused",
        "Refused",
        "ResetError",
        "ServerError",
        "TimedOut",
        "TooLarge",
        "Truncated",
        "UsageError",
    ),
    "fanout.events": (
        "Conversation",
        "Delta",
        "End",
        "Event",
        "File",
        "LoginNeeded",
        "Reasoning",
        "Refusal",
        "Replace",
        "Source",
        "Sources",
        "Started",
        "Status",
        "Tagged",
        "Title",
        "ToolCall",
        "Usage",
    ),
    "fanout.policies.all": ("All",),
    "fanout.policies.best": ("Best",),
    "fanout.policies.consensus": ("Consensus",),
    "fanout.policies.fallback": ("Fallback",),
    "fanout.policies.fastest": ("Fastest",),
    "fanout.policies.fuse": ("Fuse",),
    "fanout.policies.hedge": ("Hedge",),
    "fanout.policies.quorum": ("Quorum",),
    "fanout.policies.race": ("Race",),
    "fanout.prompt": (
        "Media",
        "Message",
        "Options",
        "Prompt",
        "ToolUse",
    ),
    "fanout.prompt.history": ("History",),
    "fanout.settings.timeouts": ("Timeouts",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "All",
    "AllLanesFailed",
    "Answer",
    "AuthError",
    "Best",
    "CircuitOpen",
    "ConfigurationError",
    "ConnectError",
    "Consensus",
    "Conversation",
    "Delta",
    "End",
    "Event",
    "Fallback",
    "Fanout",
    "FanoutError",
    "Fastest",
    "File",
    "Fuse",
    "Hedge",
    "History",
    "InternalError",
    "InvalidRequest",
    "LocalModelError",
    "LoginNeeded",
    "LoginRequired",
    "Media",
    "Message",
    "Misconfigured",
    "NotAStream",
    "NotFound",
    "Options",
    "Overloaded",
    "Prompt",
    "ProtocolError",
    "ProviderError",
    "Quorum",
    "QuotaError",
    "Race",
    "RateLimited",
    "Reasoning",
    "RedirectRefused",
    "Refusal",
    "Refused",
    "Replace",
    "ResetError",
    "Run",
    "ServerError",
    "Source",
    "Sources",
    "Spent",
    "Started",
    "Status",
    "Stream",
    "Tagged",
    "TimedOut",
    "Timeouts",
    "Title",
    "TooLarge",
    "ToolCall",
    "ToolUse",
    "Truncated",
    "Usage",
    "UsageError",
    "Verdict",
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
    "stream",
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
