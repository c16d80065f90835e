"""Paths as the user writes them, and fanout's own directories among the user's."""

import os
from collections.abc import Callable
from pathlib import Path

from fanout.errors import UsageError


def expand_home(text: str) -> Path:
    """The path, with the home directory for a `~` or `~name` at its beginning. Raises UsageError if there is none."""
    # Path.expanduser takes ./~name for ~name.
    path = os.path.expanduser(text)  # noqa: PTH111
    if path.startswith("~"):
        raise UsageError(f"{text}: there is no such home directory; write the whole path, or ./{text}")
    return Path(path)


def app_directory(find: Callable[[str], Path]) -> Path:
    """Fanout's own directory, in the place that a platformdirs function gives, such as `user_data_path`.

    Raises UsageError where no home directory is known.
    """
    try:
        return find("fanout")
    except RuntimeError:
        raise UsageError("no home directory is known; set HOME to one") from None
