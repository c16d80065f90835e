"""TLS before the load server: nginx, as many services have it, with HTTP/1.1 on one port and HTTP/2 on another.

It keeps nothing back (`proxy_buffering off`), listens on 127.0.0.1 only, shares the load server's core, and ends with
the block that opened it or with this process. Its certificate is made for the occasion, and clients find it where they
look for authorities by default, among all the usual ones: so each pays for reading those as it does elsewhere.
"""

import argparse
import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which

import certifi
from attrs import frozen

from benchmarks.load import CannotMeasure, Server, cores
from benchmarks.machine import comma_list, say
from benchmarks.ways import H2, PLAIN, TLS, WAYS

PATIENCE = 10.0
"""Seconds that it may take until it listens; for a port that is taken it tries for 2.5 seconds itself."""

TRIES = 5
"""Pairs of ports: one that was free may be taken until the front binds it."""

PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
"""Directories of programs; Debian has nginx where only root looks."""

CONFIG = """
daemon off;
master_process off;
pid pid;
error_log stderr crit;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    upstream load_server {{ server {upstream}; keepalive 4096; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{tls} ssl backlog=4096;
        listen 127.0.0.1:{h2} ssl http2 backlog=4096;
        http2_max_concurrent_streams 4096;
        location / {{
            proxy_pass http://load_server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

_FILES = 10_000
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


@frozen
class Front:
    """The load server by way; and for its clients, where there is TLS, a directory of authorities to trust."""

    servers: Mapping[str, Server]
    trust: Path | None


@contextmanager
def open_front(server: Server, ways: Collection[str]) -> Iterator[Front]:
    """Opens a front that lives until the block is left, if any of these ways needs one. Raises CannotMeasure."""
    if set(ways) <= {PLAIN}:
        yield Front({PLAIN: server}, None)
        return
    nginx, openssl = find_programs()
    with tempfile.TemporaryDirectory(prefix="fanout-front-") as name, ExitStack() as at_exit:
        directory = Path(name)
        trust = _make_certificate(openssl, directory)
        for _ in range(TRIES):
            tls, h2 = _find_ports(2)
            upstream = server.url.removeprefix("http://")
            (directory / "conf").write_text(CONFIG.format(files=_FILES, upstream=upstream, tls=tls, h2=h2), "utf-8")
            process = _start(nginx, directory)
            at_exit.callback(_end, process)
            if _listens(process, directory):
                break
        else:
            raise CannotMeasure(f"nginx does not start:\n{(directory / 'said').read_text('utf-8')}")
        secure = {way: Server(f"https://127.0.0.1:{port}") for way, port in ((TLS, tls), (H2, h2))}
        yield Front({PLAIN: server, **secure}, trust)


def find_programs() -> tuple[str, str]:
    """Finds nginx and openssl. Raises CannotMeasure."""
    nginx, openssl = (which(name, path=PLACES) for name in ("nginx", "openssl"))
    if nginx is None or openssl is None:
        raise CannotMeasure("there is no front with TLS: install nginx and openssl")
    return nginx, openssl


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says which ways are measured."""
    parser.add_argument("--ways", type=comma_list(), default=list(WAYS), metavar="WAY,…", help=f"of {', '.join(WAYS)}")


def find_ways(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """Returns the ways that were asked for and can be measured, and says which cannot.

    Ends the program if one is unknown, or if the committed results would be overwritten with less.
    """
    if unknown := [way for way in options.ways if way not in WAYS]:
        parser.error(f"there is no way {', '.join(unknown)}; there are {', '.join(WAYS)}")
    try:
        if options.ways != [PLAIN]:
            find_programs()
    except CannotMeasure as error:
        if options.json == parser.get_default("json") or PLAIN not in options.ways:
            parser.error(f"{error}; or give a file of your own with --json, and --ways {PLAIN}")
        say(f"TLS is left out: {error}")
        return [PLAIN]
    return [way for way in WAYS if way in options.ways]


def _make_certificate(openssl: str, directory: Path) -> Path:
    """Makes a key and a certificate; returns a directory of authorities as update-ca-certificates makes it."""
    key, certificate, trust = directory / "key.pem", directory / "cert.pem", directory / "certs"
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    _run([openssl, "req", *kind.split(), *names.split(), "-keyout", str(key), "-out", str(certificate)])
    trust.mkdir()
    all_of_them = certificate.read_text("ascii") + Path(certifi.where()).read_text("utf-8")
    for number, each in enumerate(re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----\n", all_of_them, re.DOTALL)):
        (trust / f"{number}.pem").write_text(each, "ascii")
    _run([openssl, "rehash", str(trust)])
    (trust / "ca-certificates.crt").write_text(all_of_them, "utf-8")
    return trust


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasure(f"{' '.join(command[:2])} fails:\n{done.stderr}")


def _find_ports(count: int) -> list[int]:
    """Finds ports of 127.0.0.1 that are free, all at once, since one after the other might be the same."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start(nginx: str, directory: Path) -> subprocess.Popen[bytes]:
    command = [nginx, "-e", "stderr", "-p", f"{directory}/", "-c", "conf"]
    parent = os.getpid()
    death = ctypes.CDLL(None).prctl

    def settle() -> None:
        death(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it could be watched
            os._exit(2)
        os.sched_setaffinity(0, cores()[1])

    with (directory / "said").open("wb") as said:
        return subprocess.Popen(  # `settle` makes only system calls, so threads do not mind
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=settle,  # noqa: PLW1509
        )


def _listens(process: subprocess.Popen[bytes], directory: Path) -> bool:
    """Waits until it listens; returns False if it has ended instead, or takes too long."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        pid = directory / "pid"  # written when its sockets are bound
        if pid.exists() and pid.read_text("ascii").strip() == str(process.pid):
            return True
        time.sleep(0.01)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
