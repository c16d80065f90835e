"""fanout hedge: a race that starts the next lane only when the one before is slow."""

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
    default="800ms",
    show_default=True,
    help="How long a lane has before the next; p95: as 95 of its last 100 requests took, which is learnt.",
)
def hedge(after: float | str, on: Any, **values: Any) -> int:
    """Put one prompt to a lane, and to the next when the first is slow; the first good answer wins.

    fanout hedge --after 1.5s -m openai/gpt-5-mini,local "Why is it blue?"
    """
    from fanout import Hedge
    from fanout.cli.screen.show import show

    return show(Choices(**values), lambda lanes: Hedge(*lanes, after=after, on=on))
