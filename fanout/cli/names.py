"""The names that can stand for a lane, for lists and for completion: own lanes and groups, plug-ins, providers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click
from attrs import frozen

from fanout.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from fanout.catalog.config import Config

Kind = Literal["lane", "group", "plug-in", "provider"]


@frozen
class Name:
    """A name, what it is of, and a few words on it; `whole` says that it is a lane by itself, without a model."""

    name: str
    kind: Kind
    note: str
    whole: bool = False


def own_names(config: "Config") -> Iterator[Name]:
    """Yields the lanes and groups of fanout.toml."""
    for name, lane in config.lanes.items():
        address = lane.given.get("base_url")
        yield Name(name, "lane", f"{lane.spec} at {address}" if address else lane.spec, whole=True)
    for name, group in config.groups.items():
        yield Name(name, "group", f"{group.policy}: {', '.join(group.lanes)}", whole=True)


def plug_in_names() -> Iterator[Name]:
    """Yields the providers that other packages bring."""
    from importlib.metadata import entry_points

    for point in entry_points(group="fanout.providers"):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield Name(point.name, "plug-in", f"the package {package}")


def provider_names() -> Iterator[Name]:
    """Yields the providers that come with fanout."""
    from fanout import catalog

    for row in catalog.providers():
        yield Name(row.name, "provider", row.note, whole=row.default_model is not None and not row.keys)


def complete_lane(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The names that begin like the last lane of a list, after its label if it has one; those without a model open."""
    before, comma, last = incomplete.rpartition(",")
    label, equals, start = last.rpartition("=") if "?" not in last else ("", "", last)
    head = f"{before}{comma}{label}{equals}"
    names = [*own_names(_config()), *plug_in_names(), *provider_names()]
    fitting = [name for name in names if name.name.startswith(start) and not (label and name.kind == "group")]
    return [_item(f"{head}{name.name}{'' if name.whole else '/'}", name) for name in fitting]


def complete_own(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The lanes and groups of fanout.toml that begin so."""
    return [_item(name.name, name) for name in own_names(_config()) if name.name.startswith(incomplete)]


def complete_listing(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The names of what has a list of models, and pull."""
    pull = Name("pull", "provider", "fetch the embedded model's weights")
    own = (name for name in own_names(_config()) if name.kind == "lane")
    names = [pull, *own, *plug_in_names(), *provider_names()]
    return [_item(name.name, name) for name in names if name.name.startswith(incomplete)]


def complete_keyed(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The providers that take a key."""
    from fanout import catalog

    rows = (row for row in catalog.providers() if row.keys and row.name.startswith(incomplete))
    return [_item(row.name, Name(row.name, "provider", row.keys[0])) for row in rows]


def complete_file(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Leaves it to the shell to complete the names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _config() -> "Config":
    from fanout.catalog.config import Config, load

    try:
        return load()
    except UsageError:  # said when a prompt is put; in the middle of typing nobody wants to know
        return Config()


def _item(value: str, name: Name) -> "CompletionItem":
    from click.shell_completion import CompletionItem

    from fanout.formats.summary import one_line

    return CompletionItem(one_line(value), help=one_line(f"{name.kind}: {name.note}" if name.note else name.kind, 60))
