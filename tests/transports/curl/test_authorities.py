import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from fanout.abc import Request
from fanout.errors import ConnectError
from fanout.transports.curl import CurlTransport
from fanout.transports.curl.authorities import Hashed, find_file, find_hashed
from tests.servers.http import serve
from tests.transports.test_contract import Ears
from tests.transports.tls import Certificate, say_hi, secure_url


@pytest.fixture
def linked(certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as update-ca-certificates makes it, of one authority, which the environment names."""
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(certificate.path)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / f"{name}.0").symlink_to(certificate.path)
    (directory / "README").write_text("no authority")
    shutil.copy(certificate.path, directory / "ca-certificates.crt")
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca-certificates.crt"))
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    return directory


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A certificate that no service here has."""
    path = tmp_path / "stranger.pem"
    how = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=stranger -keyout {tmp_path}/key -out {path}"
    subprocess.run(["openssl", *how.split()], capture_output=True, check=True)
    return path


async def ask(transport: CurlTransport, url: str) -> bytes:
    """The body of a reply over a connection of its own."""
    ears = Ears()
    await transport.exchange(Request("POST", secure_url(url)), ears, 5)
    return ears.body


async def test_a_connection_reads_of_the_directory_what_it_needs_and_not_the_file(
    linked: Path, certificate: Certificate
) -> None:
    async with serve(partial(say_hi, certificate)) as url, CurlTransport(reuse=False) as transport:
        assert await ask(transport, url) == b"hi"
        (linked / "ca-certificates.crt").unlink()  # without it no connection would be made if it were read for each
        assert await ask(transport, url) == b"hi"


def test_any_authority_of_the_directory_stands_for_the_file(linked: Path, certificate: Certificate) -> None:
    assert find_hashed() == Hashed(str(linked), certificate.path.read_bytes())


@pytest.fixture
def of_a_stranger(linked: Path, stranger: Path) -> None:
    """The directory has another authority instead."""
    (link,) = linked.glob("*.0")
    link.unlink()
    (linked / "00000000.0").symlink_to(stranger)


@pytest.mark.usefixtures("of_a_stranger")
async def test_who_is_not_in_the_directory_is_not_trusted(certificate: Certificate) -> None:
    assert find_hashed() is not None
    async with serve(partial(say_hi, certificate)) as url, CurlTransport() as transport:
        with pytest.raises(ConnectError, match="certificate"):
            await ask(transport, url)


@pytest.mark.usefixtures("linked")
async def test_beside_the_callers_file_no_directory_is_trusted(stranger: Path, certificate: Certificate) -> None:
    async with serve(partial(say_hi, certificate)) as url, CurlTransport(ca_file=str(stranger)) as transport:
        with pytest.raises(ConnectError, match="certificate"):
            await ask(transport, url)


def test_a_file_with_more_in_it_than_is_linked_is_read(linked: Path, certificate: Certificate) -> None:
    assert find_hashed() is not None
    with (linked / "ca-certificates.crt").open("ab") as file:
        file.write(certificate.path.read_bytes())
    assert find_hashed() is None


@pytest.mark.parametrize("change", ["elsewhere", "nowhere", "no links", "a dead link", "no file"])
def test_a_directory_that_is_not_that_of_the_file_is_not_used(
    linked: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    (link,) = linked.glob("*.0")
    match change:
        case "elsewhere":
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        case "nowhere":
            monkeypatch.setenv("SSL_CERT_DIR", str(linked / "nowhere"))
        case "no links":
            link.unlink()
        case "a dead link":
            link.unlink()
            link.symlink_to(linked / "nowhere")
        case _:
            (linked / "ca-certificates.crt").unlink()
    assert find_hashed() is None


def test_the_file_is_the_callers_or_that_of_the_environment(linked: Path) -> None:
    assert find_file("mine.pem") == "mine.pem"
    assert find_file(None) == str(linked / "ca-certificates.crt")


def test_without_a_file_of_the_systems_it_is_certifis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: type("Paths", (), {"cafile": None, "capath": None}))
    assert Path(find_file(None)).name == "cacert.pem"
    assert find_hashed() is None
