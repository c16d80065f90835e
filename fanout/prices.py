"""What an answer cost, by the price table of the optional package genai-prices."""

from functools import cache
from importlib.util import find_spec

from fanout.answers import Answer

_NAMES = {"xai": "x-ai", "gemini": "google", "moonshot": "moonshotai", "responses": "openai"}
"""Providers that the table knows by another name."""


@cache
def installed() -> bool:
    """Whether there is a table. To import it costs more than all else that a race imports: it waits for a price."""
    return find_spec("genai_prices") is not None


def cost(answer: Answer) -> float | None:
    """What the answer cost in US dollars, or None where nobody knows: no table, no price, no token count."""
    if answer.provider == "local":
        return 0.0
    usage = answer.usage
    if usage is None or usage.output is None or not answer.model or not installed():
        return None
    from genai_prices import Usage, calc_price  # noqa: PLC0415  # see `installed`

    tokens = Usage(input_tokens=usage.input or 0, output_tokens=usage.output, cache_read_tokens=usage.cached or 0)
    try:
        price = calc_price(tokens, answer.model, provider_id=_NAMES.get(answer.provider, answer.provider))
    except (LookupError, ValueError):
        return None
    return float(price.total_price)
