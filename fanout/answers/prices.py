"""The cost of an answer, by the price table of the optional package genai-prices."""

from functools import cache, lru_cache
from importlib.util import find_spec

from attrs import evolve

from fanout.answers import Answer
from fanout.events import Status

_NAMES = {"xai": "x-ai", "gemini": "google", "moonshot": "moonshotai", "responses": "openai"}
"""Providers that the table knows by another name."""


@cache
def is_installed() -> bool:
    """True if there is a table. To import it costs more than all else that a race imports: it waits for a price."""
    return find_spec("genai_prices") is not None


def cost(answer: Answer) -> float | None:
    """The cost of the answer in US dollars, or None where nobody knows: no table, no price, no token count.

    At another address than the provider's own, whoever answers there makes the price.
    """
    if answer.provider == "local":
        return 0.0
    if answer.elsewhere:
        return None
    usage = answer.usage
    if usage is None or usage.output is None or not answer.model or not is_installed():
        return None
    return _price(answer.provider, answer.model, usage.input or 0, usage.output, usage.cached or 0)


def bound_cost(answer: Answer, low: float | None, most_tokens: int | None) -> float | None:
    """Returns the most that an answer may cost which costs `low` at least: for `most_tokens`, if it was cut off."""
    usage = answer.usage
    if not low or usage is None or answer.status not in (Status.CANCELLED, Status.TIMED_OUT):
        return low
    if most_tokens is None:
        return None
    output = max(most_tokens, usage.output or 0)
    return cost(evolve(answer, usage=evolve(usage, output=output)))


@lru_cache(8192)  # the table is searched anew each time, which takes longer than all else at the end of an answer
def _price(provider: str, model: str, given: int, output: int, cached: int) -> float | None:
    from genai_prices import Usage, calc_price  # noqa: PLC0415  # see `installed`

    tokens = Usage(input_tokens=given, output_tokens=output, cache_read_tokens=cached)
    try:
        return float(calc_price(tokens, model, provider_id=_NAMES.get(provider, provider)).total_price)
    except (LookupError, ValueError):
        return None
