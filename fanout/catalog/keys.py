"""Keys, by the variables that hold them: of the environment, else stored by `fanout keys set`, else of a `.env` file.

    keys/                0700, in the state directory
        keys.json        0600: {"GROQ_API_KEY": "…"}; null: in the system's keyring, under the same name

The `.env` of the current directory may be somebody else's, as its fanout.toml may. Nothing but keys is taken from it,
and where a key may go is decided by the variable's name (fanout.catalog.trust), wherever its value comes from.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from attrs import field, frozen

from fanout.errors import UsageError
from fanout.storage.folder import open_folder
from fanout.storage.places import app_directory

DOTENV = ".env"

NAME = "keys.json"

SERVICE = "fanout"
"""The service under which the system's keyring has our keys."""

LONGEST = 1 << 16
"""Bytes of a .env file that are read."""

LONGEST_LINE = 4096
"""Characters that the line of a key may have in a .env file."""

_TOO_LONG = "\0 too long"
"""Stands for the value of a variable whose line is too long."""

_NAME = re.compile(r"\w+")
_COMMENT = re.compile(r"\s#")
_SENDABLE = re.compile(r"[!-~]+")


@frozen
class Found:
    """The keys that a variable holds, and the place that they come from."""

    variable: str
    place: str
    keys: tuple[str, ...] = field(repr=False)


def find_keys(names: Sequence[str]) -> Found | None:
    """Returns the keys of the first of these variables that is set, in the first place that has one.

    Each may be NAME, NAME_2 and so on, and each a comma list. Raises UsageError where stored keys cannot be used, and
    for a line of .env that is too long.
    """
    for place, read in (("environment", lambda: os.environ), ("stored", load), (DOTENV, _read_dotenv)):
        values: Mapping[str, str] = read() if names else {}
        for name in names:
            if keys := tuple(_split(values, name)):
                return Found(name, place, keys)
    return None


def _split(values: Mapping[str, str], name: str) -> Iterator[str]:
    texts = [values.get(name, "")]
    numbered = (f"{name}_{number}" for number in count(2))
    while more := values.get(next(numbered)):
        texts.append(more)
    if _TOO_LONG in texts:
        raise UsageError(
            f"{DOTENV}: the line of {name} has more than {LONGEST_LINE} characters, which is no key; several keys may "
            f"stand in {name}, {name}_2 and so on"
        )
    return (key.strip() for text in texts for key in text.split(",") if key.strip())


def directory() -> Path:
    """Returns the directory of stored keys. Raises UsageError."""
    return app_directory("state") / "keys"


def load() -> dict[str, str]:
    """Returns the stored keys by their variables. Raises UsageError where they cannot be used."""
    try:
        path = directory()
    except UsageError:  # without a home nothing is stored
        return {}
    return {name: _reveal(name) if value is None else value for name, value in _read(path).items()}


def save(variable: str, keys: str, *, keyring: bool = False) -> Path:
    """Stores keys, in a file that only its owner can read or in the system's `keyring`; returns the file.

    Raises UsageError.
    """
    if not keys:
        raise UsageError("no key was given: type it, or pipe it into standard input")
    if not all(_SENDABLE.fullmatch(key.strip()) for key in keys.split(",")):
        raise UsageError("this is no key: a key has letters, digits and signs, and neither spaces nor line ends")
    if keyring:
        _call_keyring("set_password", variable, keys)
    _change(variable, None if keyring else keys)
    return directory() / NAME


def delete(variable: str) -> bool:
    """Deletes the keys stored for a variable; False if there are none. Raises UsageError."""
    stored = _read(directory())
    if variable not in stored:
        return False
    if stored[variable] is None:
        _call_keyring("delete_password", variable)
    _change(variable, "")
    return True


def _change(variable: str, value: str | None) -> None:
    with open_folder(directory(), create=True) as folder, folder.lock():
        stored = {**_structure(folder.read(NAME), folder.path), variable: value}
        left = {name: kept for name, kept in stored.items() if kept != ""}
        folder.replace(NAME, json.dumps(left, indent=1).encode())


def _read(path: Path) -> dict[str, str | None]:
    with open_folder(path) as folder:
        return _structure(folder.read(NAME), path)


def _structure(data: bytes | None, path: Path) -> dict[str, str | None]:
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(kept is None or isinstance(kept, str) for kept in value.values()):
        raise UsageError(f"{path / NAME} is damaged; remove it, and store the keys again with `fanout keys set`")
    return value


def _reveal(variable: str) -> str:
    return _call_keyring("get_password", variable) or ""


def _call_keyring(function: str, variable: str, *more: str) -> Any:
    """Calls the system's keyring. Raises UsageError where there is none, or it refuses."""
    try:
        library: Any = import_module("keyring")  # optional, and slow to import
        errors: Any = import_module("keyring.errors")
    except ImportError:
        raise UsageError("the system's keyring needs a package: pip install keyring") from None
    try:
        return getattr(library, function)(SERVICE, variable, *more)
    except errors.KeyringError as error:
        raise UsageError(f"the system's keyring refused {variable}: {error or type(error).__name__}") from None


def _read_dotenv() -> Mapping[str, str]:
    """Reads `.env` in the current directory; one that is not there or no file, such as an environment, is empty."""
    data = b""
    with suppress(OSError):
        # Without O_NONBLOCK, opening a FIFO waits for its other end.
        descriptor = os.open(DOTENV, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                data = file.read(LONGEST)
    return _parse_dotenv(data)


@lru_cache(maxsize=1)  # a list of providers asks for the same file's keys once for each
def _parse_dotenv(data: bytes) -> Mapping[str, str]:
    lines = data.decode("utf-8-sig", "replace").splitlines()
    return dict(filter(None, map(_parse_line, lines)))


def _parse_line(line: str) -> tuple[str, str] | None:
    """Returns the variable and value of a line, in linear time: the file may be made to keep its reader busy."""
    before, equals, after = line.partition("=")
    names = before[:LONGEST_LINE].split()
    name = names[-1] if names else ""
    if not equals or names not in ([name], ["export", name]) or not _NAME.fullmatch(name):
        return None
    if len(line) > LONGEST_LINE:
        return name, _TOO_LONG
    value = after.strip()
    if value[:1] not in ('"', "'"):
        return name, "" if value.startswith("#") else _COMMENT.split(value, 1)[0].rstrip()
    inner, closed, rest = value[1:].partition(value[0])
    commented = rest[:1].isspace() and rest.lstrip().startswith("#")
    return (name, inner) if closed and (commented or not rest) else None
