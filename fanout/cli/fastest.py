"""fanout fastest: the lane that was fastest lately first."""

from math import inf
from typing import Any

import click

from fanout.cli.options import ON, Choices, add_choices, delay_or_percentile


@click.command()
@add_choices
@ON
@click.option(
    "--after",
    type=delay_or_percentile,
    metavar="SECONDS|p95",
    help="Start the next lane when the first is silent for so long; usually only when it fails.",
)
@click.option(
    "--explore",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="How often another lane goes first, so that one which gets faster is found.",
)
def fastest(after: float | str | None, explore: float, on: Any, **values: Any) -> int:
    """Put one prompt to the lane that has been the fastest lately, and to the next when it fails.

    fanout fastest -m openai/gpt-5-mini,groq/llama-3.3-70b-versatile "Why is it blue?"
    """
    from fanout import Fastest
    from fanout.cli.screen.show import show

    wait = inf if after is None else after
    return show(Choices(**values), lambda lanes: Fastest(*lanes, explore=explore, after=wait, on=on))
