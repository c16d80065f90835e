"""fanout fuse: a judge writes one answer from those of the lanes."""

from typing import Any

import click

from fanout.cli.options import Choices, add_choices, add_judge


@click.command()
@add_choices
@add_judge
@click.option("--analysis", is_flag=True, help="Ask the judge first where the answers differ; --json shows it.")
def fuse(
    judge: str, criteria: str | None, enough: int | None, grace: float | None, analysis: bool, **values: Any
) -> int:
    """Put one prompt to several lanes; a judge writes the answer from theirs.

    fanout fuse -m openai/gpt-5-mini,groq/x,local --judge openai/gpt-5 "Why is the sky blue?"
    """
    from fanout import Fuse
    from fanout.cli.screen.show import show

    def plan(lanes: list[str]) -> Fuse:
        return Fuse(*lanes, judge=judge, criteria=criteria, enough=enough, grace=grace, analysis=analysis)

    return show(Choices(**values), plan, also=[judge])
