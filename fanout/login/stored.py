"""Stored logins, read when the first lane wants one: most lanes want none, and what reads them is long to import."""

from fanout.abc import Login, Provider
from fanout.credentials import Credentials


class StoredLogins(Login):
    """The logins that are stored; nobody is asked for one."""

    _logins: Login | None = None

    async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
        """Returns other stored credentials than those that were `refused`. Raises ProviderError."""
        return await self._open_logins().renew(provider, refused)

    async def keep(self, credentials: Credentials) -> None:
        """Stores credentials that a service renewed. Raises ProviderError."""
        await self._open_logins().keep(credentials)

    def _open_logins(self) -> Login:
        if self._logins is None:
            from fanout.login.logins import Logins  # noqa: PLC0415

            self._logins = Logins()
        return self._logins
