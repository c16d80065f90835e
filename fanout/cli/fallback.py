"""fanout fallback: the next lane when the one before has failed."""

from typing import Any

import click

from fanout.cli.options import ON, Choices, add_choices


@click.command()
@add_choices
@ON
def fallback(on: Any, **values: Any) -> int:
    """Put one prompt to a lane, and to the next only if the first fails.

    fanout fallback -m openai/gpt-5-mini,local "Why is the sky blue?"
    """
    from fanout import Fallback
    from fanout.cli.screen.show import show

    return show(Choices(**values), lambda lanes: Fallback(*lanes, on=on))
