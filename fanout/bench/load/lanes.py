"""The lanes of a load: their names, what they are asked for, and what their requests cost."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count

from attrs import evolve

from fanout.answers import Answer
from fanout.answers.prices import cost
from fanout.bench.records.tape import drop_incredible
from fanout.catalog import LaneSpec
from fanout.catalog.trust import is_elsewhere
from fanout.errors import UsageError
from fanout.events import Usage
from fanout.providers.openai import OpenAI


def prepare_lanes(specs: Sequence[LaneSpec], *, twice: bool = False) -> tuple[LaneSpec, ...]:
    """Gives each lane a name of its own, no retries and one key. With `twice` the first one comes again at the end.

    Raises UsageError if there is none.
    """
    if not specs:
        raise UsageError("there is no lane to measure; name some with -m")
    lanes = [*specs, evolve(specs[0], name=f"{specs[0].name}-again")] if twice else list(specs)
    names: set[str] = set()
    prepared = []
    for lane in lanes:
        name = next(n for n in _number_names(lane.name) if n not in names)
        names.add(name)
        prepared.append(evolve(lane, name=name, retries=0, spares=()))
    return tuple(prepared)


def ask_full_length(lanes: Sequence[LaneSpec]) -> tuple[LaneSpec, ...]:
    """Asks the lanes' services not to end an answer before its most tokens, as vLLM and its like can be asked.

    Raises UsageError for lanes whose wire has no such option.
    """
    others = [lane.name for lane in lanes if not isinstance(lane.provider, OpenAI)]
    if others:
        raise UsageError(
            f"--ignore-eos: {', '.join(others)}: only servers of OpenAI's chat completions, such as vLLM, SGLang "
            "and llama.cpp, can be asked for it; bound the answers with --max-tokens alone"
        )
    return tuple(
        evolve(lane, options=evolve(lane.options, body={"ignore_eos": True, **lane.options.body})) for lane in lanes
    )


def _number_names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}#{number}" for number in count(2))


def price(lane: LaneSpec, given: int, output: int) -> float | None:
    """The price of a request with so many tokens in this lane, in US dollars; None if it is not known."""
    usage = Usage(input=given, output=output)
    answer = Answer(lane.name, provider=lane.provider.name, model=lane.provider.model, usage=usage)
    return costs(lane, answer)["cost"]


def costs(lane: LaneSpec, answer: Answer) -> dict[str, float | None]:
    """The record's fields `cost` and `prompt_cost`, in US dollars.

    A server at another address than the provider's own has no list prices, whichever service's language it speaks.
    """
    answer = evolve(answer, elsewhere=_is_elsewhere(lane.provider.name, lane.provider.base_url))
    if answer.usage is None:
        return {"cost": cost(answer)}
    usage = drop_incredible(answer.usage)
    whole = cost(evolve(answer, usage=usage))
    if whole is None:
        return {"cost": None}
    return {"cost": whole, "prompt_cost": cost(evolve(answer, usage=evolve(usage, output=0)))}


_is_elsewhere = cache(is_elsewhere)  # once a lane, not once a request
