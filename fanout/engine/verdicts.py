"""The verdict on an answer: awaits the caller's `accept`, and makes the error of an answer that was not taken."""

from collections.abc import Awaitable

from fanout.abc import WAITING
from fanout.answers import Answer
from fanout.errors import ProviderError, Refused

LONGEST_REASON = 500
"""Characters of a refusal's own words that an error repeats."""


async def decide(verdict: Awaitable[bool]) -> str | None:
    """Awaits what `accept` returned. Returns None if the answer is taken, else why not, as far as it said."""
    waiting = WAITING.get()
    try:
        return None if await (verdict if waiting is None else waiting(verdict)) else ""
    except (Refused, ValueError) as error:
        return str(error)


def make_refusal(answer: Answer, reason: str | ProviderError) -> ProviderError:
    """Makes the error of an answer that was not taken."""
    if isinstance(reason, ProviderError):
        return reason
    words = "its answer was not accepted" if answer.answered else "its answer was empty"
    error = Refused(f"{words}: {reason[:LONGEST_REASON]}" if reason else words)
    error.lane, error.partial = answer.lane, answer.text
    return error
