"""fanout consensus: the answer that most lanes give."""

from typing import Any

import click

from fanout.cli.options import JUDGE, Choices, add_choices


@click.command()
@add_choices
@click.option("--key", metavar="FIELD", help="The field of the answers' JSON that is voted on; usually all of it.")
@click.option(
    "--stop",
    type=click.Choice(["caught", "likely"]),
    default="caught",
    show_default=True,
    help="Stop when no other answer can catch up, or when that is unlikely.",
)
@click.option("--agree", type=click.IntRange(1), metavar="K", help="The first answer that K lanes give.")
@click.option("--wave", type=click.IntRange(1), metavar="N", help="Start N lanes; others only if those cannot decide.")
@JUDGE
def consensus(key: str | None, stop: Any, agree: int | None, wave: int | None, judge: str | None, **values: Any) -> int:
    """Put one prompt to several lanes; the answer that most of them give wins.

    With --judge, a tie goes to a judge.

    fanout consensus -m openai/gpt-5-mini,groq/x,local "Is 7 prime? Yes or no."
    """
    from fanout import Consensus
    from fanout.cli.screen.show import show

    def plan(lanes: list[str]) -> Consensus:
        return Consensus(*lanes, key=key, stop=stop, agree=agree, wave=wave, or_judge=judge)

    return show(Choices(**values), plan, also=[judge] if judge else [])
