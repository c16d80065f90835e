"""What a service says, without our keys: some repeat the key that they do not accept."""

from collections.abc import Iterable

from fanout.errors import ProviderError
from fanout.secret import Secret

SHORTEST = 8
"""Characters that a secret has at least to be looked for: to blank a short word would maim any text."""


def scrub(error: ProviderError, values: Iterable[object]) -> None:
    """Takes the Secrets among `values` out of what a service said.

    An error that repeats one also loses its traceback and its causes, whose frames hold the same text.
    """
    message, request_id = error.message, error.request_id
    for value in values:
        if isinstance(value, Secret):
            word = value.reveal().rpartition(" ")[2]  # without the scheme, as in "Bearer …"
            if len(word) >= SHORTEST:
                message = message.replace(word, "***")
                request_id = request_id and request_id.replace(word, "***")
    if (message, request_id) != (error.message, error.request_id):
        error.message, error.request_id = message, request_id
        error.args = (message, *error.args[1:])
        error.__cause__ = error.__context__ = error.__traceback__ = None
