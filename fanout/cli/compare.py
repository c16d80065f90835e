"""fanout compare: every lane answers."""

from typing import Any

import click

from fanout.cli.options import Choices, add_choices


@click.command()
@add_choices
def compare(**values: Any) -> int:
    """Put one prompt to several lanes and show all their answers.

    fanout compare -m openai/gpt-5-mini,local "Why is the sky blue?"
    """
    from fanout import All
    from fanout.cli.screen.show import show

    return show(Choices(**values), lambda lanes: All(*lanes), who="all")
