"""fanout ask: a plan of the configuration, by its name."""

from typing import Any

import click
from attrs import evolve

from fanout.abc import Policy
from fanout.cli.names import complete_own
from fanout.cli.options import Choices, add_choices


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
    found = catalog.resolve(plan, load())
    policy = found if isinstance(found, Policy) else Race(found)
    who: Who = "all" if isinstance(policy, All) else "quorum" if isinstance(policy, Quorum) else "winner"

    def plan_of(specs: list[str]) -> Policy:
        return policy if specs == [plan] else Race(*specs)

    return show(evolve(choices, lanes=(plan,)), plan_of, who)
