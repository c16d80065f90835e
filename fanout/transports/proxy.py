"""The proxy that a request names: where it is, and its credentials apart from that, because libraries log addresses."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from fanout.addresses import NO_PROXY, is_proxy
from fanout.errors import ConnectError
from fanout.secret import Secret
from fanout.transports.outgoing import unreachable

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The port of each kind of proxy where its address names none."""


class Proxy(NamedTuple):
    """A proxy: `credentials` are user and password, None for one that asks for neither.

    `http` and `https` proxies are asked for a tunnel (CONNECT), or to forward a request that is not encrypted. `socks5`
    and `socks5h` are RFC 1928; with the second it is the proxy that looks up the service's name.
    """

    scheme: str
    host: str
    port: int
    credentials: tuple[Secret, Secret] | None = None

    @classmethod
    def parse(cls, text: str) -> "Proxy":
        """Reads `http://user:password@host:3128`, with percent-encoding in user and password.

        Raises ValueError if that is no address of a proxy; the message repeats nothing of it.
        """
        parts = urlsplit(text) if is_proxy(text) else None
        if parts is None or not parts.hostname:
            raise ValueError("that is no address of a proxy")
        parts.hostname.encode("idna")
        user, password = (unquote(value or "") for value in (parts.username, parts.password))
        credentials = (Secret(user), Secret(password)) if user or password else None
        return cls(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], credentials)

    @property
    def address(self) -> str:
        """Host and port, as messages name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Scheme, host and port, without the credentials."""
        return f"{self.scheme}://{self.address}"


def read_proxy(text: str, host: str, source: str = "of the lane") -> Proxy | None:
    """Returns the proxy for a request to `host`, or None for a text of "none".

    Raises ConnectError if the text is no address of a proxy; `source` says whose it is.
    """
    if text == NO_PROXY:
        return None
    try:
        return Proxy.parse(text)
    except ValueError:
        failed: ConnectError = unreachable(host, "that is no address of a proxy", source, by_proxy=True)
    raise failed  # out here it has no context, whose frames hold the credentials
