"""Takes our keys out of a service's words: some repeat the key that they do not accept."""

from collections.abc import Iterable

from fanout.errors import ProviderError
from fanout.secret import Secret

SHORTEST = 8
"""Characters that a secret has at least to be looked for: to blank a short word would maim any text."""


def scrub(error: ProviderError, values: Iterable[object]) -> None:
    """Takes the Secrets among `values` out of what a service said, also one that the end of an excerpt cuts off.

    An error that repeats one also loses its traceback and its causes, whose frames hold the same text.
    """
    message, request_id = error.message, error.request_id
    for value in values:
        if isinstance(value, Secret):
            word = value.reveal().rpartition(" ")[2]  # without the scheme, as in "Bearer …"
            if len(word) >= SHORTEST:
                message = _blanked(message, word)
                request_id = request_id and _blanked(request_id, word)
    if (message, request_id) != (error.message, error.request_id):
        error.message, error.request_id = message, request_id
        error.args = (message, *error.args[1:])
        error.__cause__ = error.__context__ = error.__traceback__ = None


def _blanked(text: str, word: str) -> str:
    return "…".join(_without_beginning(part, word) for part in text.replace(word, "***").split("…"))


def _without_beginning(text: str, word: str) -> str:
    """The text without a beginning of the word at its end, if that has as many characters as a secret has at least."""
    starts = range(max(0, len(text) - len(word)), len(text) - SHORTEST + 1)
    start = next((at for at in starts if word.startswith(text[at:])), None)
    return text if start is None else f"{text[:start]}***"
