"""Credentials from a login: cookies, a token and the browser they belong to, bound to one origin."""

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from fanout.credentials.secret import Secret

VERSION = 1
"""Of the form in which credentials are stored."""


@frozen
class Credentials:
    """One account's access to one service. They are sent to `base_url` and nowhere else.

    `cookies` and `secrets` (a token, by its name) are never shown; `fields` is what else the service wants to see
    again, such as a device's number. `headers` are the browser's own (`user-agent`, `sec-ch-ua…`), lower case: sent
    together or not at all. Times are in UTC; `source` says how they were got: browser, import, environment.
    """

    provider: str
    base_url: str
    cookies: Mapping[str, Secret] = field(factory=dict, repr=False)
    secrets: Mapping[str, Secret] = field(factory=dict, repr=False)
    fields: Mapping[str, str] = field(factory=dict, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    obtained: datetime | None = None
    expires: datetime | None = None
    source: str = ""
    version: int = VERSION

    @property
    def account(self) -> str:
        """A name for the account that tells nothing of it: the same as long as cookies and secrets are."""
        from hashlib import sha256  # noqa: PLC0415  # few lanes have a login

        values = [f"{name}={value.reveal()}" for name, value in sorted({**self.cookies, **self.secrets}.items())]
        return sha256("\n".join(values).encode()).hexdigest()[:16]

    @property
    def cookie(self) -> Secret | None:
        """The value of the Cookie header, or None where there are no cookies."""
        if not self.cookies:
            return None
        return Secret("; ".join(f"{name}={value.reveal()}" for name, value in self.cookies.items()))


def command(verb: str, provider: str, base_url: str, home: str) -> str:
    """The line to type into a shell for `verb` (login, auth import): with the base URL, where that is not `home`.

    Without it the verb would be about the provider's own address, which is `home`. A lane's base URL may come from a
    file that somebody else wrote: it is quoted.
    """
    from shlex import quote  # noqa: PLC0415  # few lanes lack a login

    words = f"fanout {verb} {provider}"
    address = base_url.rstrip("/")
    return words if address == home.rstrip("/") else f"{words} --base-url {quote(address)}"
