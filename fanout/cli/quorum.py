"""fanout quorum: the first k answers are enough."""

from typing import Any

import click

from fanout.cli.options import Choices, add_choices


@click.command()
@add_choices
@click.option("-k", "--k", type=click.IntRange(1), default=2, show_default=True, help="How many answers are enough.")
def quorum(k: int, **values: Any) -> int:
    """Put one prompt to several lanes; the first K answers are shown, and the other lanes are stopped.

    fanout quorum -k 2 -m openai/gpt-5-mini,groq/x,local "Is 7 prime?"
    """
    from fanout import Quorum
    from fanout.cli.screen.show import show

    return show(Choices(**values), lambda lanes: Quorum(*lanes, k=k), who="quorum")
