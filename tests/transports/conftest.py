import os
import subprocess

import pytest

from tests.transports.tls import Certificate, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine and for the names that only a proxy knows; it is its own authority."""
    try:
        return make_certificate(tmp_path_factory.mktemp("tls"))
    except (OSError, subprocess.CalledProcessError):
        return (pytest.fail if os.environ.get("CI") else pytest.skip)("no openssl command")


@pytest.fixture(autouse=True)
def no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
