"""Paths as the user writes them, and fanout's own directories among the user's."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fanout.errors import UsageError


def expand_home(text: str) -> Path:
    """The path, with the home directory for a `~` or `~name` at its beginning. Raises UsageError if there is none."""
    # Path.expanduser takes ./~name for ~name.
    path = os.path.expanduser(text)  # noqa: PTH111
    if path.startswith("~"):
        raise UsageError(f"{text}: there is no such home directory; write the whole path, or ./{text}")
    return Path(path)


def app_directory(kind: Literal["config", "data", "state", "cache"]) -> Path:
    """Fanout's own directory among the user's of this kind. Raises UsageError where no home directory is known."""
    import platformdirs  # noqa: PLC0415  # many calls need none of them

    find: Callable[..., Path] = getattr(platformdirs, f"user_{kind}_path")
    # On Windows, platformdirs would put an author above the name, and has none.
    options: dict[str, Any] = {"appauthor": False} if kind == "cache" else {}
    try:
        return find("fanout", **options)
    except RuntimeError:
        raise UsageError("no home directory is known; set HOME to one") from None
