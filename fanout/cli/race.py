"""fanout race: the first good lane wins."""

from typing import Any

import click

from fanout.cli.options import ON, Choices, add_choices


@click.command()
@add_choices
@ON
def race(on: Any, **values: Any) -> int:
    """Put one prompt to several lanes; the first good answer wins, and the others are stopped.

    fanout race -m groq/llama-3.3-70b-versatile,local "Why is the sky blue?"
    """
    from fanout import Race
    from fanout.cli.screen.show import show

    return show(Choices(**values), lambda lanes: Race(*lanes, on=on))
