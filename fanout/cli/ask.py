"""fanout ask: a plan of the configuration, by its name."""

import re
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from fanout.abc import Policy
from fanout.cli.names import complete_own
from fanout.cli.options import Choices, add_choices, known_names

if TYPE_CHECKING:
    from fanout.catalog.config import Config


@click.command()
@click.argument("plan", metavar="NAME", shell_complete=complete_own)
@add_choices
def ask(plan: str, **values: Any) -> int:
    """Put one prompt to a group or a lane that fanout.toml names.

    fanout ask quick "Why is the sky blue?"
    """
    from fanout import All, Quorum, Race, catalog
    from fanout.catalog.config import load
    from fanout.cli.screen.show import show
    from fanout.formats.summary import Who

    choices = Choices(**values)
    if choices.lanes:
        raise click.UsageError("ask takes one name and no -m; fanout race -m takes several")
    config = load()
    if plan not in known_names() and not re.search("[/:?=]", plan):
        raise click.UsageError(_explain_missing(plan, config))
    found = catalog.resolve(plan, config)
    policy = found if isinstance(found, Policy) else Race(found)
    who: Who = "all" if isinstance(policy, All) else "quorum" if isinstance(policy, Quorum) else "winner"

    def plan_of(specs: list[str]) -> Policy:
        return policy if specs == [plan] else Race(*specs)

    return show(evolve(choices, lanes=(plan,)), plan_of, who)


for _param in ask.params:
    if isinstance(_param, click.Option) and _param.name == "lanes":
        _param.hidden = True  # it is refused, with a word of what takes it


def _explain_missing(name: str, config: "Config") -> str:
    """The sentence that there is no such lane or group, with those that there are and the files that they stand in."""
    from fanout.catalog.config import find_files
    from fanout.settings import explain_unknown

    files = " and ".join(map(str, find_files()))
    if not files:
        return f"there is no group or lane {name!r}: there is no fanout.toml, neither here nor among your settings"
    named = (("groups", config.groups), ("lanes", config.lanes))
    there = "; ".join(f"{kind} {', '.join(names)}" for kind, names in named if names) or "neither groups nor lanes"
    return explain_unknown("group or lane", name, [*config.groups, *config.lanes], f"{files} has {there}")
