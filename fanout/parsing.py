"""Turns a failure to parse a service's answer into a ProtocolError."""

from collections.abc import Iterator
from contextlib import contextmanager

from fanout.errors import ProtocolError, ProviderError

PARSE_ERRORS = (LookupError, TypeError, ValueError)
"""The errors that a provider's code may raise for an answer of another shape; anything else is a bug."""

_ANSWER = "the answer does not make sense"


def translate(error: Exception, what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> ProviderError:
    """Returns the ProviderError for one of PARSE_ERRORS."""
    return kind(f"{what}: {type(error).__name__}: {str(error)[:200]}")


@contextmanager
def parsing(what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> Iterator[None]:
    """Turns PARSE_ERRORS within the block into a ProviderError."""
    try:
        yield
    except PARSE_ERRORS as error:
        raise translate(error, what, kind) from error
