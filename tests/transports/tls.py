"""TLS for loopback servers."""

import ssl
from pathlib import Path

import trio
from attrs import frozen

from tests.servers.http import HI

HOSTS = ("localhost", "service.invalid")
"""What the certificate is for."""


@frozen
class Certificate:
    """Files in PEM."""

    path: Path
    key: Path

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A server's context that agrees to these protocols by ALPN."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path, self.key)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def secure_url(url: str, host: str = "localhost") -> str:
    """The `https` address of a server that listens at `url`."""
    return url.replace("http://127.0.0.1", f"https://{host}")


async def say_hi(certificate: Certificate, stream: trio.SocketStream) -> None:
    """A server's side of one connection with one request."""
    secure = trio.SSLStream(stream, certificate.context(), server_side=True)
    await secure.receive_some()
    await secure.send_all(HI)
