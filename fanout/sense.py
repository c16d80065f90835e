"""What a service's answer does to code that makes sense of it, as typed errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from fanout.errors import ProtocolError, ProviderError

SENSELESS = (LookupError, TypeError, ValueError)
"""What a provider's code may raise for an answer of another shape; anything else is a bug."""

_ANSWER = "the answer does not make sense"


def typed(error: Exception, what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> ProviderError:
    """The ProviderError for one of SENSELESS."""
    return kind(f"{what}: {type(error).__name__}: {str(error)[:200]}")


@contextmanager
def sense_only(what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> Iterator[None]:
    """Turns a provider's failure to make sense of something into a typed error."""
    try:
        yield
    except SENSELESS as error:
        raise typed(error, what, kind) from error
