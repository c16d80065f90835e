"""fanout best: a judge says whose answer is the best."""

from typing import Any

import click

from fanout.cli.options import Choices, add_choices, add_judge


@click.command()
@add_choices
@add_judge
@click.option("--swap", is_flag=True, help="Ask the judge in both orders, since some judges prefer a place.")
def best(judge: str, criteria: str | None, enough: int | None, grace: float | None, swap: bool, **values: Any) -> int:
    """Put one prompt to several lanes; a judge says which answer is the best, and that is the answer.

    fanout best -m openai/gpt-5-mini,groq/x,local --judge openai/gpt-5 "Why is the sky blue?"
    """
    from fanout import Best
    from fanout.cli.screen.show import show

    def plan(lanes: list[str]) -> Best:
        return Best(*lanes, judge=judge, criteria=criteria, enough=enough, grace=grace, swap=swap)

    return show(Choices(**values), plan, also=[judge])
