"""TLS for loopback servers."""

import ssl
import subprocess
from pathlib import Path

import trio
from attrs import frozen

from tests.servers.http import HI

HOSTS = ("localhost", "service.invalid")
"""The host that the certificate is for."""


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


def make_certificate(folder: Path) -> Certificate:
    """Makes one for this machine and for HOSTS, which is its own authority, with the `openssl` command."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    how = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName={names},IP:127.0.0.1"
    command = ["openssl", *how.split(), "-keyout", str(made.key), "-out", str(made.path)]
    subprocess.run(command, capture_output=True, check=True)
    return made


def secure_url(url: str, host: str = "localhost") -> str:
    """The `https` address of a server that listens at `url`."""
    return url.replace("http://127.0.0.1", f"https://{host}")


async def say_hi(certificate: Certificate, stream: trio.SocketStream) -> None:
    """A server's side of one connection with one request."""
    secure = trio.SSLStream(stream, certificate.context(), server_side=True)
    await secure.receive_some()
    await secure.send_all(HI)
