"""The proxy of one lane: an address, and credentials that nothing prints."""

from typing import Self
from urllib.parse import unquote, urlsplit

from attrs import frozen

from fanout.credentials.secret import Secret
from fanout.errors import UsageError

SCHEMES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The protocols that a proxy may be spoken to in, with their ports where a URL names none."""

FORM = "http://, https://, socks5:// or socks5h://HOST:PORT, or none"
"""The form of a proxy, for messages."""


@frozen
class Proxy:
    """A proxy that a request goes through, or `NO_PROXY`: none, whatever the environment says.

    `http` and `https` are asked for a tunnel (CONNECT), or to forward a request that is not encrypted. `socks5` and
    `socks5h` are RFC 1928; with the second it is the proxy that looks up the service's name.
    """

    scheme: str
    host: str = ""
    port: int = 0
    credentials: tuple[Secret, Secret] | None = None
    """User and password; None for a proxy that asks for neither."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `http://user:password@host:3128`, or `none`; credentials are percent-encoded where URLs demand it.

        Raises UsageError, whose message repeats nothing of the text: what is misspelt may be the password.
        """
        if text.lower() == "none":
            return cls("none")
        if " " in text or not text.isprintable():
            raise _unusable("has a character that no URL can have")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:
            raise _unusable("has no valid host and port") from None
        scheme = "socks5h" if parts.scheme == "socks" else parts.scheme  # as desktops write what they mean
        if scheme not in SCHEMES:
            raise _unusable("begins with none of these")
        if not host or port == 0:
            raise _unusable("has no valid host and port")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _unusable("goes on after host and port")
        user, password = (unquote(value or "") for value in (parts.username, parts.password))
        if not (user + password).isprintable():
            raise _unusable("has credentials with a character that cannot be sent")
        credentials = (Secret(user), Secret(password)) if user or password else None
        return cls(scheme, host, port or SCHEMES[scheme], credentials)

    @property
    def direct(self) -> bool:
        """True for NO_PROXY."""
        return not self.host

    @property
    def address(self) -> str:
        """Host and port, as messages name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Scheme, host and port, without the credentials."""
        return f"{self.scheme}://{self.address}"


NO_PROXY = Proxy("none")


def as_proxy(value: Proxy | Secret | str | None) -> Proxy | None:
    """Returns the proxy that `value` is or spells; raises UsageError as `Proxy.parse` does."""
    if isinstance(value, Secret):
        value = value.reveal()
    return Proxy.parse(value) if isinstance(value, str) else value


def is_proxy(text: str) -> bool:
    """Returns True for a text that spells a proxy, or none."""
    try:
        Proxy.parse(text)
    except UsageError:
        return False
    return True


def _unusable(reason: str) -> UsageError:
    schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    return UsageError(f"a proxy is an address such as http://host:3128 ({schemes}), or none; this one {reason}")
