"""`fanout.toml`: lanes and groups by name, and defaults for all lanes; the project's file goes before the user's."""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import NOTHING, define, evolve, field, fields_dict, frozen

from fanout.addresses.proxy import FORM, is_proxy
from fanout.catalog.entries import entries
from fanout.errors import ConfigurationError, UsageError
from fanout.prompt import Options
from fanout.settings import (
    CLOCK,
    COUNT,
    DELAY,
    FROM_ONE,
    PACE,
    RATE,
    ROTATION,
    SWITCH,
    TEXT,
    TEXTS,
    WHOLE,
    Form,
    Setting,
    aliases_of,
    check_names,
    check_settings,
    setting,
    settings_of,
)
from fanout.settings.timeouts import Timeouts
from fanout.storage.places import app_directory

FILE = "fanout.toml"

LONGEST = 1 << 18
"""Bytes that a file may have."""

DEEPEST = 32
"""Parts that a dotted key may have: the parser's time grows with their square."""

MOST = 20
"""Mistakes that are told one by one; the others are counted."""

TRUST = "FANOUT_TRUST_PROJECT"
"""The variable whose 1 says that the file in the current directory is the user's own."""

DEFAULTS = "defaults.lanes"
"""The name of the lanes under [defaults] in Config.untrusted."""

_SEPARATOR = re.compile("[/:]")

# Each repetition takes all it can and gives nothing back: both are linear in what anybody wrote.
_QUOTED = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:"{3,5})?|"(?:[^"\\\n]|\\.)*+"?'
    r"|'''(?:[^']|'(?!''))*+(?:'{3,5})?|'[^'\n]*+'?|#[^\n]*+",
    re.DOTALL,
)
_DEEP = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{DEEPEST}}}")


LANE: Mapping[str, Setting] = {
    "base_url": Setting(TEXT, "The service's address."),
    "key_env": Setting(TEXT, "The variable that holds the key; empty: no key.", empty=True),
    "proxy": Setting(
        Form(FORM, str, (str,), "a text in quotes", is_proxy),
        "The proxy of this lane's requests.",
        users=True,
        hidden=True,
    ),
    "insecure": Setting(SWITCH, "Whether a key or login may go over plain http to a public network.", users=True),
    "web_search": Setting(SWITCH, "Whether the service searches the web, where it can."),
    "retries": Setting(COUNT, "How often it is tried again."),
    "concurrency": Setting(FROM_ONE, "How many lanes of this name may run at once."),
    "server_concurrency": Setting(FROM_ONE, "How many lanes of its server may run at once, whatever their names."),
    "keys": Setting(ROTATION, "Of several keys: the first that is taken, or each in its turn."),
}
"""The settings of a lane beside its clocks and the options of its prompt."""

LANE_SETTINGS: Mapping[str, Setting] = {**LANE, **settings_of(Timeouts), **settings_of(Options)}
"""All settings of a lane."""

ALIASES = aliases_of(Timeouts)
"""Other names of these, in specs and on the command line."""


@frozen(init=False)
class LaneTable:
    """`[lanes.NAME]`: a lane spec and what it is asked with, by the names of LANE_SETTINGS. Times are seconds."""

    spec: str
    given: Mapping[str, Any] = field(repr=False)

    def __init__(self, spec: str, **given: Any) -> None:
        """Raises UsageError for a name that a lane does not know, and for a value out of its range."""
        check_names("setting", given, LANE_SETTINGS, ALIASES)
        said = {name: value for name, value in given.items() if value is not None}
        for name, value in said.items():
            LANE_SETTINGS[name].check(name, value)
        self.__attrs_init__(spec, said)


@frozen
class GroupTable:
    """`[groups.NAME]`: a policy and its lanes, usable wherever a lane is."""

    policy: str = setting(
        TEXT,
        default=NOTHING,
        help="race, hedge, fallback, fastest, quorum, consensus, best, fuse, all, or a plug-in's.",
    )
    lanes: list[str] = setting(TEXTS, default=NOTHING, help="Lane specs, and names of lanes and groups.")
    on: str | None = setting(TEXT, help="What wins: finish, first_token, or first_thought.")
    reasoning: bool | None = setting(SWITCH, help="Of a race or hedge: whether a thought counts as a first word.")
    after: float | str | None = setting(
        PACE, help="Of a hedge: the silence before the next lane; 0.8, or as p95 learnt."
    )
    fallback: float | None = setting(
        DELAY, help="Of a hedge by percentile: the silence while little is known; usually 1."
    )
    budget: float | None = setting(RATE, help="Of a hedge by percentile: the hedges a request at most; usually 0.05.")
    explore: float | None = setting(RATE, help="Of fastest: how often another lane goes first; usually 0.05.")
    k: int | None = setting(WHOLE, help="Of a quorum: the number of answers that are enough.")
    judge: str | None = setting(TEXT, help="Of best and fuse: who judges, a lane or group; of consensus: a tie.")
    criteria: str | None = setting(TEXT, help="Of a judge: what makes an answer good, in words.")
    enough: int | None = setting(FROM_ONE, help="Of best and fuse: the answers that are enough; usually all but one.")
    grace: float | None = setting(DELAY, help="Of best and fuse: how long the others still have then; usually 20 %.")
    max_candidate_chars: int | None = setting(FROM_ONE, help="Of best and fuse: how much a judge sees of an answer.")
    swap: bool | None = setting(SWITCH, help="Of best: whether the judge is asked in both orders.")
    analysis: bool | None = setting(SWITCH, help="Of fuse: whether the judge says first where the answers differ.")
    agree: int | None = setting(FROM_ONE, help="Of consensus: the number of lanes that must agree.")
    key: str | None = setting(TEXT, help="Of consensus: the field of the JSON that is voted on.")
    stop: str | None = setting(TEXT, help="Of consensus: caught, when nobody can catch the leader; or likely.")
    wave: int | None = setting(FROM_ONE, help="Of consensus: the lanes that start at once; usually all.")
    deadline: float | None = setting(CLOCK, help="Longest time for all its lanes together.")
    on_lose: str | None = setting(TEXT, help="cancel losers at once, or keep them running.")
    schema: str | None = setting(TEXT, help="What answers must be: a file beside this one, or 'name: str, age: int'.")
    repair: str | None = setting(TEXT, help="prose: the first whole JSON value in an answer's text is taken.")
    early: bool | None = setting(SWITCH, help="Whether an answer is refused as soon as nothing can mend its beginning.")
    reask: int | None = setting(COUNT, help="1: with no lane left, the nearest is asked once more with its mistakes.")
    strict_tools: bool | None = setting(SWITCH, help="Whether tool calls must fit the schemas of their tools.")
    place: Path | None = field(default=None, eq=False)
    """The directory of the file, from which that of the schema is seen."""

    def __attrs_post_init__(self) -> None:
        """Raises UsageError for a value out of its range."""
        check_settings(self)

    @property
    def members(self) -> list[str]:
        """The lanes, and the judge if there is one."""
        return [*self.lanes, *([self.judge] if self.judge else [])]


@frozen
class DefaultsTable(Timeouts):
    """`[defaults]`: what holds for every lane that does not say otherwise."""

    retries: int | None = setting(COUNT, help="How often a lane is tried again.")
    transport: str | None = setting(TEXT, help="What carries the requests: curl, or httpx.")
    unofficial: list[str] | None = setting(TEXTS, help="The web chats that are switched on.")
    lanes: list[str] | None = setting(TEXTS, help="The command's lanes without -m: specs, names of lanes and groups.")

    def __attrs_post_init__(self) -> None:
        """Raises UsageError for a value out of its range."""
        check_settings(self)

    @property
    def timeouts(self) -> Timeouts:
        """The clocks among them."""
        return Timeouts(**{name: getattr(self, name) for name in settings_of(Timeouts)})


@frozen
class Tables:
    """The tables of one file.

    `broken` are its `lanes.NAME` and `groups.NAME` that have a mistake, each with the sentences that say it: they fail
    alone, when they are asked for.
    """

    lanes: dict[str, LaneTable] = field(factory=dict)
    groups: dict[str, GroupTable] = field(factory=dict)
    defaults: DefaultsTable = DefaultsTable()
    broken: Mapping[str, str] = field(factory=dict, eq=False)


@frozen
class Config(Tables):
    """The tables of one or both files.

    `untrusted` has the `lanes.NAME`, `groups.NAME` and DEFAULTS of a file that is not known to be the user's, and that
    file: it may not send keys to addresses of its own choice. `contested` are those among them that have another
    meaning in the user's file, each with a sentence that says so: neither is used.
    """

    untrusted: Mapping[str, Path] = field(factory=dict, eq=False)
    contested: Mapping[str, str] = field(factory=dict, eq=False)

    def check_uncontested(self, kind: str, name: str) -> None:
        """Raises UsageError where a project's file would give another meaning to a name of the user's."""
        if sentence := self.contested.get(f"{kind}.{name}"):
            raise distrust(sentence)

    def check_unbroken(self, kind: str, name: str) -> None:
        """Raises ConfigurationError where the table of this name has a mistake."""
        if sentences := self.broken.get(f"{kind}.{name}"):
            file = sentences.partition(f": {kind}[")[0]
            mistakes = "; ".join(line.removeprefix(f"{file}: ") for line in sentences.splitlines())
            raise ConfigurationError(f"{mistakes} ({file})")  # what is wrong first, as lines are cut off at their end


def distrust(what: str) -> UsageError:
    """Returns the error that a project's file does `what` it may not, with what the user can do about it."""
    return UsageError(
        f"{what}. A file in the current directory may be somebody else's: put the lane into the {FILE} of your "
        f"configuration directory, or set {TRUST}=1 where you trust this file"
    )


def load(project: Path | None = None, user: Path | None = None) -> Config:
    """The configuration of the directory `project` (default: the current one), over that of the user's directory.

    The project's is not trusted with keys, unless FANOUT_TRUST_PROJECT is 1. A mistake in the table of a lane or group
    is in `broken`; for any other raises UsageError. Both name the file, the place in it, and the nearest right key.
    """
    file = (project or Path()).absolute() / FILE
    own = _users_file(user)
    theirs = _read(own) if own else Tables()
    if own and _is_same(file, own):
        return Config(theirs.lanes, theirs.groups, theirs.defaults, theirs.broken)
    ours = _read(file)
    _check_names(ours, file)
    trusted = os.environ.get(TRUST) == "1"
    said = {name: value for name in fields_dict(DefaultsTable) if (value := getattr(ours.defaults, name)) is not None}
    names = [*(f"lanes.{name}" for name in ours.lanes), *(f"groups.{name}" for name in ours.groups)]
    if ours.defaults.lanes:
        names.append(DEFAULTS)
    return Config(
        {**theirs.lanes, **ours.lanes},
        {**theirs.groups, **ours.groups},
        evolve(theirs.defaults, **said),
        {**theirs.broken, **ours.broken},
        {} if trusted else dict.fromkeys(names, file),
        {} if trusted or not own else _find_contested(ours, file, theirs, own),
    )


def find_files() -> list[Path]:
    """The files that `load` reads, of those that are there: the project's, then the user's."""
    files = [Path().absolute() / FILE, _users_file(None)]
    return [file for file in files if file and file.is_file()]


def read(file: Path) -> Config:
    """The configuration of this file alone, which its user has named. Raises UsageError for any mistake in it."""
    tables = _read(file)
    _check_names(tables, file)
    if tables.broken:
        raise UsageError(_join("\n".join(tables.broken.values()).split("\n")))
    return Config(tables.lanes, tables.groups, tables.defaults)


def _is_same(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:  # one is not there, or is a link to itself
        return False


def _users_file(directory: Path | None) -> Path | None:
    try:
        return (directory or app_directory("config")) / FILE
    except UsageError:  # without a home there is no file, and nothing is wrong with that
        return None


def _plug_in_names() -> set[str]:
    """The names of the providers that other packages bring."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # takes longer than to read the file

    return set(entry_points(group="fanout.providers").names)


def _check_names(tables: Tables, file: Path) -> None:
    """Nobody gets another lane than the provider that they wrote, because of the directory that they are in."""
    plug_ins = _plug_in_names() if tables.lanes or tables.groups else set()
    for kind, names in (("lanes", tables.lanes), ("groups", tables.groups)):
        for name in names:
            if _SEPARATOR.search(name) or name in entries() or name in plug_ins:
                raise UsageError(
                    f"{file}: {kind}: {name!r} is a provider's name, or looks like one; give it another name"
                )


def _find_contested(tables: Tables, file: Path, theirs: Tables, own: Path) -> dict[str, str]:
    """Finds the names of a project's file that the user's file gives a meaning; each with a sentence that says so.

    Also those that only stand in a lane or group of the user's: there they are a mistake, and stay one.
    """
    used = (re.match(r"(?:[\w.-]+=)?([^?]*)", text) for text in _used_names(theirs))
    broken = (name.partition(".")[2] for name in theirs.broken)
    known = {*theirs.lanes, *theirs.groups, *broken, *(match[1] for match in used if match)}
    names = [*(("lanes", name) for name in tables.lanes), *(("groups", name) for name in tables.groups)]
    return {
        f"{kind}.{name}": f"{file}: {kind}: {name!r} has a meaning in your own {own}, which this would change"
        for kind, name in names
        if name in known
    }


def _used_names(tables: Tables) -> list[str]:
    named = (text for group in tables.groups.values() for text in group.members)
    return [*(lane.spec for lane in tables.lanes.values()), *named]


def _read(path: Path) -> Tables:
    try:
        text = _read_text(path)
        _check_depth(text)
        return _Reading(path).read(tomllib.loads(text))
    except (FileNotFoundError, NotADirectoryError):  # a daemon's home may be /dev/null
        return Tables()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except RecursionError:
        raise UsageError(f"{path}: its tables or arrays are too deep") from None
    except (ValueError, OverflowError) as error:  # not UTF-8, no TOML, integers of thousands of digits
        raise UsageError(f"{path}: {error}") from None


def _read_text(path: Path) -> str:
    """Reads a regular file of a bounded size: another's directory may hold anything. Raises OSError, ValueError."""
    # Without O_NONBLOCK, opening a FIFO waits for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("this is not a file")
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"this has more than {LONGEST} bytes")
    return data.decode("utf-8-sig")  # editors of some systems begin a file with this mark


def _check_depth(text: str) -> None:
    """Raises ValueError for a dotted key of very many parts."""
    bare = _QUOTED.sub(lambda quoted: "q" + "\n" * quoted[0].count("\n"), text)
    if deep := _DEEP.search(bare):
        line = bare.count("\n", 0, deep.start()) + 1
        raise ValueError(f"line {line}: a key may have {DEEPEST} parts with dots between")


def _join(mistakes: Sequence[str]) -> str:
    more = len(mistakes) - MOST
    return "\n".join([*mistakes[:MOST], *([f"and {more} more mistakes"] if more > 0 else [])])


def _show(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep array
        return "this"


Made = TypeVar("Made")


@define
class _Reading:
    """The reading of one file, which goes on to the end to name all that is wrong in it."""

    path: Path
    mistakes: list[str] = field(factory=list)
    unknown: int = 0
    broken: dict[str, str] = field(factory=dict)

    def read(self, table: dict[str, Any]) -> Tables:
        """Returns what the file says. Raises UsageError with every mistake, and its place, that is of no one table."""
        self._check_keys("", table, fields_dict(Tables))
        tables = Tables(
            self._read_all("lanes", table, LaneTable, {"spec": Setting(TEXT), **LANE_SETTINGS}),
            self._read_all("groups", table, GroupTable, settings_of(GroupTable)),
            self._read_one("defaults", table.get("defaults", {}), DefaultsTable, settings_of(DefaultsTable))
            or DefaultsTable(),
            self.broken,
        )
        if self.mistakes:
            raise UsageError(_join(self.mistakes))
        return tables

    def _read_all(
        self, name: str, table: dict[str, Any], kind: Callable[..., Made], settings: Mapping[str, Setting]
    ) -> dict[str, Made]:
        rows = table.get(name, {})
        if not isinstance(rows, dict):
            self._add(name, f"this should be tables, as [{name}.NAME]")
            return {}
        needed = ("spec",) if kind is LaneTable else ("policy", "lanes")
        read: dict[str, Made] = {}
        for key, row in rows.items():
            before = len(self.mistakes)
            made = self._read_one(f"{name}[{_show(key)}]", row, kind, settings, needed)
            if made is not None:
                read[key] = made
            else:
                self.broken[f"{name}.{key}"] = _join(self.mistakes[before:])
                del self.mistakes[before:]
        return read

    def _read_one(
        self,
        place: str,
        table: Any,
        kind: Callable[..., Made],
        settings: Mapping[str, Setting],
        needed: Sequence[str] = (),
    ) -> Made | None:
        if not isinstance(table, dict):
            self._add(place, "this should be a table")
            return None
        before = len(self.mistakes)
        self._check_keys(place, table, settings)
        for key in needed:
            if key not in table:
                self._add(f"{place}.{key}", "this is missing")
        values = {key: self._value(f"{place}.{key}", settings[key], table[key]) for key in settings if key in table}
        if len(self.mistakes) == before:
            try:
                return kind(**values, **({"place": self.path.parent} if kind is GroupTable else {}))
            except UsageError as error:
                self._add(place, str(error))
        return None

    def _value(self, place: str, setting: Setting, value: Any) -> Any:
        try:
            return setting.form.from_toml(value)
        except ValueError as error:
            self._add(place, f"{error}{'' if setting.hidden else f', not {_show(value)}'}")
        except (OverflowError, RecursionError):
            self._add(place, "this is too large or too deep")

    def _check_keys(self, place: str, table: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        for key in sorted(set(table) - set(known)):
            from difflib import get_close_matches  # noqa: PLC0415  # mistakes can wait

            self.unknown += 1
            if ALIASES.get(key) in known:
                near = [ALIASES[key]]
            else:  # a millisecond each, and a file may have thousands
                near = get_close_matches(key, list(known), n=1) if self.unknown <= 5 * MOST else []
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            self._add(place, f"there is no key {_show(key)}; {hint}")

    def _add(self, place: str, what: str) -> None:
        self.mistakes.append(f"{self.path}: {place or 'top level'}: {what}")
