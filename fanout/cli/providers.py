"""fanout providers: what a lane can name."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click
from attrs import asdict, frozen

from fanout.errors import UsageError

if TYPE_CHECKING:
    from fanout.catalog.entries import Entry
    from fanout.cli.names import Name

_READY = "READY"
_NO_KEY = "WITHOUT A KEY"
_CHATS = "WEB CHATS, which nobody offers as interfaces"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="With addresses and all variables, however long the lines are.")
def providers(as_json: bool, verbose: bool) -> None:
    """List what a lane can name: your own lanes and groups, plug-ins, and the providers, those with a key first.

    A key is a variable of the environment; a login is one that `fanout auth list` shows. No service is asked.
    """
    from fanout import catalog
    from fanout.catalog.config import Config, load
    from fanout.cli.names import own_names, plug_in_names

    problems: list[Exception] = []
    rows = [(row, _login(row, problems)) for row in catalog.providers()]
    try:
        config = load()
    except UsageError as error:
        problems.append(error)
        config = Config()
    others = [*own_names(config), *plug_in_names()]
    circuits = _find_circuits(problems)
    if as_json:
        named = [{"name": each.name, "kind": each.kind, "note": each.note} for each in others]
        click.echo(
            json.dumps(
                [*(_object(row, login) for row, login in rows), *named, *map(_circuit_object, circuits)], indent=2
            )
        )
    else:
        # A pipe has no width unless COLUMNS gives it one, and who reads it wants whole lines.
        bounded = not verbose and (sys.stdout.isatty() or "COLUMNS" in os.environ)
        width = shutil.get_terminal_size().columns if bounded else None
        listed = [*_list(rows, others, width, whole=verbose), *_list_circuits(circuits, width)]
        click.echo("\n".join(listed).lstrip("\n"))
        _explain(rows)
    for problem in problems:
        click.echo(f"fanout: {problem}", err=True)


def _login(row: "Entry", problems: list[Exception]) -> bool | None:
    """True if a login is kept, None where nobody logs in; a kept login that cannot be read goes to `problems`."""
    if not row.unofficial:
        return None
    from fanout.login import store
    from fanout.login.services import SERVICES

    if row.name not in SERVICES:
        return None
    try:
        return store.load(row.name, row.url_in_environment or row.base_url) is not None
    except UsageError as error:
        if str(error) not in map(str, problems):  # of a directory that is refused, each says the same
            problems.append(error)
        return False


@frozen
class _Circuit:
    """A service that is not asked for so many seconds, because it has failed again and again; `key` if it was that."""

    provider: str
    model: str | None
    base_url: str
    key: str | None
    state: str
    seconds: float

    @property
    def name(self) -> str:
        """The lane that names it."""
        return f"{self.provider}/{self.model}" if self.model else self.provider

    @property
    def note(self) -> str:
        """Says when it is asked again."""
        return f"asked again in {self.seconds:.0f} s" if self.seconds else "the next request probes it"


def _find_circuits(problems: list[Exception]) -> list[_Circuit]:
    """Returns the circuits that earlier commands have left open."""
    from fanout.learning import kept

    try:
        circuits = kept.load().circuits
    except UsageError as error:
        problems.append(error)
        return []
    return [
        _Circuit(target.service.provider, target.service.model, target.service.base_url, target.key, state, seconds)
        for target, state, seconds in circuits.states(0.0)
    ]


def _list_circuits(circuits: Sequence[_Circuit], width: int | None) -> Iterator[str]:
    from fanout.formats.summary import one_line
    from fanout.formats.wrapping import fit

    yield from ["", "FAILED LATELY, and spared while another lane can answer"] if circuits else ()
    for one in circuits:
        of_key = f" with {one.key}" if one.key else ""
        yield fit(f"  {one_line(f'{one.name}  {one.base_url}{of_key}: {one.note}')}", width)


def _circuit_object(one: _Circuit) -> dict[str, object]:
    return {"name": one.name, "kind": "circuit", **asdict(one), "note": one.note}


def _object(row: "Entry", login: bool | None) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": "provider",
        "keys": list(row.keys),
        "key_present": row.key_present,
        "login_present": login,
        "base_url": row.base_url,
        "unofficial": row.unofficial,
        "status": row.status or None,
        "evidence": row.evidence or None,
        "note": row.note,
    }


def _list(
    rows: "Sequence[tuple[Entry, bool | None]]", others: "Sequence[Name]", width: int | None, *, whole: bool
) -> Iterator[str]:
    """Yields the lines: one's own first, then what has a key; cut off at `width`, and `whole` with all there is."""
    sections: dict[str, list[tuple[str, ...]]] = {
        f"YOUR {kind.upper()}S": [(n.name, n.note) for n in others if n.kind == kind] for kind in ("lane", "group")
    }
    sections["PLUG-INS"] = [(each.name, each.note) for each in others if each.kind == "plug-in"]
    yield from _sections(sections, width)
    ordered = sorted(rows, key=lambda row: not (row[0].key_present or row[1]))
    found: dict[str, list[tuple[str, ...]]] = {_READY: [], _NO_KEY: [], _CHATS: []}
    for row, login in ordered:
        ready = row.key_present or not (row.needs_key or row.unset)
        found[_CHATS if row.unofficial else _READY if ready else _NO_KEY].append(_cells(row, login, whole=whole))
    yield from _sections(found, width)


def _sections(sections: Mapping[str, list[tuple[str, ...]]], width: int | None) -> Iterator[str]:
    """Yields sections whose columns have the same widths; empty ones are left out."""
    from fanout.formats.summary import one_line
    from fanout.formats.wrapping import fit

    lines = [line for section in sections.values() for line in section]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for title, section in sections.items():
        yield from ["", title] if section else ()
        for cells in section:
            line = "  ".join(one_line(cell).ljust(wide) for cell, wide in zip(cells, widths, strict=True))
            yield fit(f"  {line}".rstrip(), width)


def _cells(row: "Entry", login: bool | None, *, whole: bool) -> tuple[str, ...]:
    """A provider's name, whether its key or login is set, what holds it, and the rest."""
    from fanout.catalog.keys import find_keys

    present = row.key_present if row.keys else login
    mark = "-" if present is None else "yes" if present else "no"
    found = find_keys(row.keys)
    held = found.variable if found else row.keys[0] if row.keys else ""
    more = f" +{len(row.keys) - 1}" if len(row.keys) > 1 else ""
    key = " or ".join(row.keys) if whole else f"{held}{more}"
    evidence = f", evidence of {row.evidence}" if whole else f" {row.evidence}"
    note = f"{row.status}{evidence}: {row.note}" if row.unofficial else row.note
    cells = (row.name, mark, key or ("no key" if login is None else "login"), note)
    return (*cells[:3], row.base_url, note) if whole else cells


def _explain(rows: "Sequence[tuple[Entry, bool | None]]") -> None:
    off = ", ".join(row.name for row, _ in rows if row.unofficial)
    click.echo(
        "\nA lane is NAME/MODEL: -m groq/llama-3.3-70b-versatile; a lane or group of yours is\n"
        "its name. fanout models NAME lists models, fanout providers -v addresses.\n"
        f"Web chats ({off}) are off until\n"
        "FANOUT_UNOFFICIAL names them or a login is kept; your own account and the site's\nterms apply.",
        err=True,
    )
