"""The certificate authorities to trust, in the form that costs least for each connection.

libcurl reads a file of authorities anew for every connection: with the usual 140 that takes 2 ms of CPU, and 0.8 MB
for as long as the connection lives. It would keep what it has read if it knew of no directory (`cache_criteria_met` in
its lib/vtls/openssl.c), but curl_cffi's has one built in. From a directory in which each authority has a file named by
the hash of its subject, only those are read that the service's certificate asks for.
"""

import os
import re
import ssl
from pathlib import Path
from typing import NamedTuple

from fanout.transports.outgoing import find_bundle

_BUNDLE = "ca-certificates.crt"
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


class Hashed(NamedTuple):
    """A directory of authorities by hash, and any one of them, in PEM."""

    directory: str
    one: bytes


def find_file(ca_file: str | None) -> str:
    """Finds the file of the authorities to trust: the caller's, the system's, or certifi's."""
    found = ca_file or find_bundle()[0] or ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE if that is set
    if not found:
        import certifi  # noqa: PLC0415  # 2 ms, and most systems have their own

        found = certifi.where()
    return found


def find_directory() -> str | None:
    """Finds the directory of authorities that the environment names, if it does."""
    return os.environ.get("SSL_CERT_DIR") or find_bundle()[1]


def find_hashed() -> Hashed | None:
    """Finds a directory of the same authorities as the system's file; SSL_CERT_FILE and SSL_CERT_DIR say which.

    They are the same if update-ca-certificates has made both, as on Debian, Ubuntu and Alpine: into the directory's
    file `ca-certificates.crt` it puts what it has linked there by hash. If there are more in it, somebody else has
    added them, and it is not.
    """
    paths = ssl.get_default_verify_paths()
    if any(find_bundle()):
        return None
    if not paths.cafile or not paths.capath:
        return None
    bundle = Path(paths.capath, _BUNDLE)
    try:
        if not bundle.samefile(paths.cafile):
            return None
        with os.scandir(paths.capath) as entries:
            linked = [entry.path for entry in entries if _HASHED.fullmatch(entry.name) and entry.is_file()]
        if not linked or bundle.read_bytes().count(b"-----BEGIN ") > len(linked):
            return None
        return Hashed(paths.capath, Path(linked[0]).read_bytes())
    except OSError:  # libcurl tells of a file that is not there or cannot be read
        return None
