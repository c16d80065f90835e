"""Typed errors for what a provider's code raises, over a service's answer or by a mistake of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from fanout.errors import InternalError, ProtocolError, ProviderError, UsageError

PARSE_ERRORS = (LookupError, TypeError, ValueError)
"""The errors that a provider's code may raise for an answer of another shape; any other is a mistake of it."""

PASSING = (UsageError,)
"""The errors that no lane can answer for: they go to the caller.

A MemoryError is none of them: what is too large for one lane leaves memory enough for the others once it has failed.
"""

MISTAKE = "the code that talks to the service failed"

_ANSWER = "the answer does not make sense"

_LONGEST = 200
"""Characters of an exception's own words that are repeated."""

_log = logging.getLogger("fanout")


def translate(error: Exception, what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> ProviderError:
    """Returns the ProviderError for what a provider's code raised: `kind` for PARSE_ERRORS, else an InternalError."""
    return kind(f"{what}: {_describe(error)}") if isinstance(error, PARSE_ERRORS) else make_internal_error(error)


def make_internal_error(error: Exception) -> InternalError:
    """Returns the InternalError for a mistake of the code.

    It is logged with the place in the code, and without its words, which may repeat an answer.
    """
    _log.error("%s: %s at %s", MISTAKE, type(error).__name__, _find_place(error.__traceback__))
    return InternalError(f"{MISTAKE}: {_describe(error)}")


@contextmanager
def parsing(what: str = _ANSWER, kind: type[ProviderError] = ProtocolError) -> Iterator[None]:
    """Makes ProviderErrors of all that a provider's code raises, but for PASSING."""
    try:
        yield
    except (ProviderError, *PASSING):
        raise
    except Exception as error:
        raise translate(error, what, kind) from error


def _describe(error: Exception) -> str:
    """Returns its class and the beginning of its words.

    Only text is taken from it: `str` of an exception makes the `repr` of what it holds, which a service may have made
    as long, or as deep, as it likes.
    """
    words = ""
    with suppress(Exception):  # a class of a plug-in's may have an `args` of its own, which fails too
        words = next((word for word in error.args if isinstance(word, str)), "")
    return f"{type(error).__name__}: {words[:_LONGEST]}"


def _find_place(traceback: TracebackType | None) -> str:
    """Returns the file's name and the line where an exception was raised."""
    if traceback is None:
        return "no known place"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
