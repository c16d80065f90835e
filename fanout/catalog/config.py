"""`fanout.toml`: lanes and groups by name, and defaults for all lanes; the project's file goes before the user's."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.metadata import entry_points
from math import inf, isfinite
from pathlib import Path
from typing import Any

from attrs import evolve, field, fields_dict, frozen
from platformdirs import user_config_path

from fanout.addresses import check_proxy
from fanout.catalog.entries import entries
from fanout.errors import UsageError
from fanout.storage.places import app_directory

FILE = "fanout.toml"

TRUST = "FANOUT_TRUST_PROJECT"
"""The variable whose 1 says that the file in the current directory is the user's own."""

Range = tuple[Callable[[Any], bool], str]
_CLOCK: Range = (lambda seconds: seconds > 0, "a time above 0")
_FINITE: Range = (isfinite, "a number")
_WHOLE: Range = (lambda number: -(2**63) <= number < 2**63, "a whole number of at most 64 bits")

RANGES: dict[str, Range] = {
    **dict.fromkeys(("connect", "first", "idle", "total", "deadline"), _CLOCK),
    **dict.fromkeys(("temperature", "top_p"), _FINITE),
    **dict.fromkeys(("max_tokens", "seed", "reasoning_tokens", "k"), _WHOLE),
    "after": (lambda seconds: seconds >= 0, "a time from 0 on"),
    "min_tps": (lambda rate: 0 <= rate < inf, "a rate from 0 on"),
    "retries": (lambda number: number >= 0, "a whole number from 0 on"),
    "concurrency": (lambda number: number >= 1, "a whole number from 1 on"),
}
"""What a number may be, wherever it stands, and how to say it; not-a-number lies in no range."""

_SEPARATOR = re.compile("[/:]")


def _check_ranges(table: Any) -> None:
    for key, (within, words) in RANGES.items():
        value = getattr(table, key, None)
        if value is not None and not within(value):
            raise UsageError(f"{key} takes {words}, not {value!r}")


@frozen
class LaneTable:
    """`[lanes.NAME]`: a lane spec and what it is asked with. Times are seconds.

    `proxy` and `insecure` are of the user's own file only.
    """

    spec: str
    base_url: str | None = None
    key_env: str | None = None
    proxy: str | None = field(default=None, repr=False)
    insecure: bool | None = None
    web_search: bool | None = None
    concurrency: int | None = None
    retries: int | None = None
    connect: float | None = None
    first: float | None = None
    idle: float | None = None
    total: float | None = None
    min_tps: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = field(factory=list)
    seed: int | None = None
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    body: dict[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """Raises UsageError for a value out of its range."""
        _check_ranges(self)
        if self.proxy is not None:
            try:
                check_proxy(self.proxy)
            except ValueError as error:
                raise UsageError(str(error)) from None


@frozen
class GroupTable:
    """`[groups.NAME]`: a policy and its lanes, usable wherever a lane is."""

    policy: str
    lanes: list[str]
    on: str | None = None
    after: float | None = None
    k: int | None = None
    deadline: float | None = None
    on_lose: str | None = None

    def __attrs_post_init__(self) -> None:
        """Raises UsageError for a value out of its range."""
        _check_ranges(self)


@frozen
class DefaultsTable:
    """`[defaults]`: what holds for every lane that does not say otherwise."""

    connect: float | None = None
    first: float | None = None
    idle: float | None = None
    total: float | None = None
    min_tps: float | None = None
    retries: int | None = None
    transport: str | None = None
    unofficial: list[str] | None = None

    def __attrs_post_init__(self) -> None:
        """Raises UsageError for a value out of its range."""
        _check_ranges(self)


@frozen
class Tables:
    """What one file says."""

    lanes: dict[str, LaneTable] = field(factory=dict)
    groups: dict[str, GroupTable] = field(factory=dict)
    defaults: DefaultsTable = DefaultsTable()


@frozen
class Config(Tables):
    """What one or both files say.

    `untrusted` has the `lanes.NAME` and `groups.NAME` of a file that is not known to be the user's, and that file: it
    may not send keys to addresses of its own choice.
    """

    untrusted: Mapping[str, Path] = field(factory=dict, eq=False)


def distrust(what: str) -> UsageError:
    """Returns the error that a project's file does `what` it may not, with what the user can do about it."""
    return UsageError(
        f"{what}. A file in the current directory may be somebody else's: put the lane into the {FILE} of your "
        f"configuration directory, or set {TRUST}=1 where you trust this file"
    )


def load(project: Path | None = None, user: Path | None = None) -> Config:
    """The configuration of the directory `project` (default: the current one), over that of the user's directory.

    The project's is not trusted with keys, unless FANOUT_TRUST_PROJECT is 1. Raises UsageError that names the file, the
    place in it, and the nearest right key.
    """
    file = (project or Path.cwd()) / FILE
    own = _users_file(user)
    theirs = _read(own) if own else Tables()
    if own and file.resolve() == own.resolve():
        return Config(theirs.lanes, theirs.groups, theirs.defaults)
    ours = _read(file)
    _check_names(ours, file)
    said = {name: value for name in fields_dict(DefaultsTable) if (value := getattr(ours.defaults, name)) is not None}
    names = [*(f"lanes.{name}" for name in ours.lanes), *(f"groups.{name}" for name in ours.groups)]
    return Config(
        {**theirs.lanes, **ours.lanes},
        {**theirs.groups, **ours.groups},
        evolve(theirs.defaults, **said),
        {} if os.environ.get(TRUST) == "1" else dict.fromkeys(names, file),
    )


def _users_file(directory: Path | None) -> Path | None:
    try:
        return (directory or app_directory(user_config_path)) / FILE
    except UsageError:  # without a home there is no file, and nothing is wrong with that
        return None


def _check_names(tables: Tables, file: Path) -> None:
    """Nobody gets another lane than the provider that they wrote, because of the directory that they are in."""
    plug_ins = entry_points(group="fanout.providers").names if tables.lanes or tables.groups else set()
    for kind, names in (("lanes", tables.lanes), ("groups", tables.groups)):
        for name in names:
            if _SEPARATOR.search(name) or name in entries() or name in plug_ins:
                raise UsageError(
                    f"{file}: {kind}: {name!r} is a provider's name, or looks like one; give it another name"
                )


def _read(path: Path) -> Tables:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # a daemon's home may be /dev/null
        return Tables()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return _structured(table, path)


def _structured(table: dict[str, Any], path: Path) -> Tables:
    # Imported here: most runs have no such file, and cattrs costs more than half an `import trio`.
    from cattrs import BaseValidationError, Converter, transform_error  # noqa: PLC0415

    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, partial(_exactly, (str,), "a text in quotes", str))
    converter.register_structure_hook(bool, partial(_exactly, (bool,), "true or false", bool))
    converter.register_structure_hook(int, partial(_exactly, (int,), "a whole number", int))
    converter.register_structure_hook(float, partial(_exactly, (int, float), "a number", float))
    converter.register_structure_hook_func(lambda kind: kind == list[str], _texts)
    try:
        return converter.structure(table, Tables)
    except BaseValidationError as error:
        found = (line.rpartition(" @ $") for line in transform_error(error, "$", _say))
        lines = [f"{path}: {where.removeprefix('.') or 'top level'}: {what}" for what, _, where in found]
        raise UsageError("\n".join(lines)) from None


def _say(error: BaseException, kind: type | None) -> str:
    if (unknown := getattr(error, "extra_fields", None)) is not None:
        known = list(fields_dict(getattr(error, "cl")))  # noqa: B009  # cattrs' ForbiddenExtraKeysError
        return "; ".join(_unknown(key, known) for key in sorted(unknown))
    if isinstance(error, KeyError):
        return "this is missing"
    if isinstance(error, UsageError):
        return str(error)
    return f"this should be {getattr(kind, '__name__', kind)}"


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"there is no key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}")


def _exactly(kinds: tuple[type, ...], words: str, make: Callable[[Any], Any], value: Any, _: Any) -> Any:
    """TOML has types: nothing is converted that would hide a mistake, such as "5" or true for a number."""
    if type(value) not in kinds:
        raise UsageError(f"this should be {words}, not {value!r}")
    return make(value)


def _texts(value: Any, _: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"this should be a list of texts in quotes, not {value!r}")
    return value
