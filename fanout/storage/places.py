"""Where files are: paths as the user writes them, and the directories that systems give to programs."""

import os
from collections.abc import Callable
from pathlib import Path

from fanout.errors import UsageError


def expanded(text: str) -> Path:
    """The path, with the home directory for a `~` or `~name` at its beginning. Raises UsageError if there is none."""
    # Path's own would take ./~name for ~name.
    path = os.path.expanduser(text)  # noqa: PTH111
    if path.startswith("~"):
        raise UsageError(f"{text}: there is no such home directory; write the whole path, or ./{text}")
    return Path(path)


def users(directory: Callable[[str], Path]) -> Path:
    """Our directory among the user's, of the kind that this function of platformdirs finds.

    Raises UsageError where nobody's home is known.
    """
    try:
        return directory("fanout")
    except RuntimeError:
        raise UsageError("no home directory is known; set HOME to one") from None
