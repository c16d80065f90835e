"""`fanout.toml`: lanes and groups by name, and defaults for all lanes; the project's file goes before the user's."""

import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, field, fields_dict, frozen
from platformdirs import user_config_path

from fanout.errors import UsageError

FILE = "fanout.toml"


@frozen
class LaneTable:
    """`[lanes.NAME]`: a lane spec and what it is asked with. Times are seconds."""

    spec: str
    base_url: str | None = None
    key_env: str | None = None
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


@frozen
class Config:
    """What one or both files say."""

    lanes: dict[str, LaneTable] = field(factory=dict)
    groups: dict[str, GroupTable] = field(factory=dict)
    defaults: DefaultsTable = DefaultsTable()

    def over(self, base: "Config") -> "Config":
        """What is said here, and `base` where nothing is."""
        given = {
            name: value for name in fields_dict(DefaultsTable) if (value := getattr(self.defaults, name)) is not None
        }
        lanes, groups = {**base.lanes, **self.lanes}, {**base.groups, **self.groups}
        return Config(lanes, groups, evolve(base.defaults, **given))


def load(project: Path | None = None, user: Path | None = None) -> Config:
    """The configuration of the directory `project` (default: the current one), over that of the user's directory.

    Raises UsageError that names the file, the place in it, and the nearest right key.
    """
    directories = (project or Path.cwd(), user or user_config_path("fanout"))
    ours, theirs = (_read(directory / FILE) for directory in directories)
    return ours.over(theirs)


def _read(path: Path) -> Config:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return _structured(table, path)


def _structured(table: dict[str, Any], path: Path) -> Config:
    # Imported here: most runs have no such file, and cattrs costs more than half an `import trio`.
    from cattrs import BaseValidationError, Converter, transform_error  # noqa: PLC0415

    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, partial(_exactly, (str,), "a text in quotes", str))
    converter.register_structure_hook(bool, partial(_exactly, (bool,), "true or false", bool))
    converter.register_structure_hook(int, partial(_exactly, (int,), "a whole number", int))
    converter.register_structure_hook(float, partial(_exactly, (int, float), "a number", float))
    converter.register_structure_hook_func(lambda kind: kind == list[str], _texts)
    try:
        return converter.structure(table, Config)
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
