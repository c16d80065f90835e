"""The one door to jiter: the value of a JSON text that has not come to its end yet."""

from functools import cache
from types import ModuleType
from typing import Any

from fanout.errors import UsageError
from fanout.schema.text import FENCE, SPACE

_MISTAKES = ("expected", "key must be a string", "trailing comma", "control character", "invalid escape")
"""The beginnings of jiter's words for what no further text can mend."""


@cache
def _load_jiter() -> ModuleType:
    try:
        import jiter  # noqa: PLC0415  # of an extra, and needed where somebody looks into a half answer
    except ImportError:
        raise UsageError("a partial value needs jiter: pip install 'fanout-llm[schema]'") from None
    return jiter


def parse(text: str) -> Any:
    """Returns the value so far of a JSON text that may be cut anywhere; None where nothing of it has come.

    A text that is not finished is there as far as it goes; a number or word that is cut is left out. Text after the
    value is not looked at. Raises ValueError for what no further text can make JSON, UsageError without jiter.
    """
    jiter = _load_jiter()
    try:
        # Anything but text in UTF-8 may be here, and nothing of that is JSON.
        return jiter.from_json(text.encode(), partial_mode="trailing-strings", allow_inf_nan=False, cache_mode="keys")
    except ValueError as error:
        if str(error).startswith(_MISTAKES):
            raise
        return None  # it has hardly begun, or is deeper than jiter goes


def partial_value(text: str) -> Any:
    """Returns the value so far of an answer's text, in a fence or not; None where there is none."""
    text = text.lstrip(SPACE)
    if opening := FENCE.match(text):
        text = text[opening.end() :].lstrip(SPACE)
    if not text or text[0] not in '{["-0123456789tfn':
        return None
    try:
        return parse(text)
    except ValueError:
        return None
