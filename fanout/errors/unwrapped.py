"""An exception that a nursery has wrapped alone into a group comes out as itself, at the boundary to the caller."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unwrapping() -> Iterator[None]:
    """Unwraps, around a nursery whose body is the caller's, an exception that left it alone: it comes out as itself.

    Its own cause and context are kept, so that the traceback is as if there were no nursery.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        alone = group.exceptions[0]
    else:
        return
    cause, context, suppress = alone.__cause__, alone.__context__, alone.__suppress_context__
    try:
        raise alone
    finally:
        # In this order: to set a cause suppresses the context.
        alone.__cause__, alone.__context__, alone.__suppress_context__ = cause, context, suppress
