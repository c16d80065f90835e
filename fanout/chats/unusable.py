"""A stand-in for a provider whose stored login cannot be used: it asks nobody, and says why."""

from attrs import frozen

from fanout.abc import Head, Provider, Reader, Request
from fanout.errors import LoginRequired
from fanout.prompt import Prompt


@frozen
class Unusable(Provider):
    """A service that cannot be asked for this reason; `command` is what the user types to log in anew."""

    takes_login = False

    name: str
    model: str | None
    base_url: str
    reason: str
    command: str

    def request(self, prompt: Prompt) -> Request:
        """Raises LoginRequired."""
        raise self._error()

    def models_request(self) -> Request | None:
        """Raises LoginRequired."""
        raise self._error()

    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Raises LoginRequired: no answer can come to what was not asked."""
        raise self._error()

    def _error(self) -> LoginRequired:
        return LoginRequired(self.reason, command=self.command)
