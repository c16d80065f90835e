"""A stand-in for a provider whose login or configuration cannot be used: it asks nobody, and says why."""

from copy import copy

from attrs import frozen

from fanout.abc import Head, Provider, Reader, Request
from fanout.errors import ProviderError
from fanout.prompt import Prompt


@frozen
class Unusable(Provider):
    """A service that cannot be asked, with the error that says why."""

    takes_login = False

    name: str
    model: str | None
    base_url: str
    error: ProviderError

    def request(self, prompt: Prompt) -> Request:
        """Raises the error."""
        raise self._error()

    def models_request(self) -> Request | None:
        """Raises the error."""
        raise self._error()

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Raises the error: no answer can come to what was not asked."""
        raise self._error()

    def _error(self) -> ProviderError:
        return copy(self.error)  # each lane writes its name into its own
