"""The last run that gave an answer, kept so that `-c` can go on from it, where only its owner can read it.

    runs/                0700, in the state directory
        last.json        0600: the lanes as they were written, what names among them meant, the conversation of each

It holds what was asked and answered, and no key: a lane names the variable with its key.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from fanout import History
from fanout.errors import UsageError
from fanout.storage.folder import open_folder
from fanout.storage.places import app_directory

NAME = "last.json"

Meanings = Mapping[str, Sequence[str]]
"""The services that names of fanout.toml stood for: see fanout.catalog.meaning."""

NO_MEANINGS: Meanings = {}


@frozen
class Last:
    """A run: its lanes' specs and what was said in them; `meanings` are those of its names."""

    lanes: tuple[str, ...]
    conversation: History
    meanings: Meanings = field(factory=dict)


def directory() -> Path:
    """The directory in which the last run is kept. Raises UsageError."""
    return app_directory("state") / "runs"


def save(lanes: Sequence[str], conversation: History, meanings: Meanings = NO_MEANINGS) -> None:
    """Keeps a run in place of the one before. Raises UsageError."""
    value = {"lanes": list(lanes), "meanings": dict(meanings), "conversation": conversation.to_json()}
    data = json.dumps(value)
    with open_folder(directory(), create=True) as folder, folder.lock():
        folder.replace(NAME, data.encode())


def load() -> Last:
    """The run that is kept. Raises UsageError if there is none, or it cannot be read."""
    with open_folder(directory()) as folder:
        data = folder.read(NAME)
    if data is None:
        raise UsageError("there is no earlier run to continue; ask without -c first")
    try:
        return _last(data)
    except (UsageError, ValueError, RecursionError) as error:
        raise UsageError(f"{directory() / NAME}: {error}; ask without -c to begin anew") from None


def _last(data: bytes) -> Last:
    value = json.loads(data)
    lanes = value.get("lanes") if isinstance(value, dict) else None
    if not isinstance(lanes, list) or not lanes or not all(isinstance(lane, str) for lane in lanes):
        raise UsageError("this is no saved run")
    meanings = value.get("meanings", {})
    if not isinstance(meanings, dict):
        raise UsageError("this is no saved run")
    return Last(tuple(lanes), History.from_json(value.get("conversation")), meanings)
