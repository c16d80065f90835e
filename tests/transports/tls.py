"""TLS for loopback servers."""

import ssl
from pathlib import Path

from attrs import frozen

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
