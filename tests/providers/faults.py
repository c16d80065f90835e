"""Faults: a service's reply in the place of a whole answer, and what becomes of it in the lane."""

from attrs import frozen

from fanout.errors import ProviderError
from tests.servers.website import Answer


@frozen
class Fault:
    """A reply, the error of the lane, the text that is kept, and a pattern that the error's words match."""

    reply: Answer
    kind: type[ProviderError]
    text: str = ""
    words: str | None = None
