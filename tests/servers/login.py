"""A loopback site that people log in to, with pages like those of such sites, and an identity provider beside it."""

import os
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree, which
from tempfile import mkdtemp
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import trio
from attrs import define, field

from tests.servers.http import Received, read_request, serve

_PRESENT = find_spec("nodriver") and any(
    map(which, ("google-chrome", "chromium", "chromium-browser", "chrome", "google-chrome-stable"))
)
NEEDS_BROWSER = (
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not _PRESENT and not os.environ.get("CI"), reason="no Chromium, or nodriver is not installed"),
)
"""Marks tests with a real browser: whoever has none skips them."""

BROWSER = str(Path(__file__).with_name("chromium"))
"""The browser for tests, which reaches no other host."""

TOKEN = "canary-token"
SESSION = "canary-session"
COOKIE = f"hf-chat={SESSION}; Path=/; HttpOnly; SameSite=Lax; Max-Age=1209600"

# What a login of Hailuo leaves behind, and the cookie that only a server can see.
_STORE = f"""
    await fetch("/session");
    localStorage.UNIQUE_USER_ID = "11111111-2222-3333-4444-555555555555";
    localStorage.USER_HARD_WARE_INFO = "123456789";
    localStorage._token = "{TOKEN}";
    location.reload();
"""
_LATE = f"<script>setTimeout(async () => {{{_STORE}}}, 300)</script>"
# A bot wall that reloads itself a few times.
_WALL = """<title>Just a moment...</title><script>
    const turn = Number(new URLSearchParams(location.search).get("turn"));
    setTimeout(() => location.replace(turn < 8 ? `/wall?turn=${turn + 1}` : "/passed"), 40);
</script>"""
_TRAPS = """<script>
    const tell = () => { const r = new XMLHttpRequest(); r.open("GET", "/touched", false); r.send(); };
    for (const name of ["localStorage", "fetch"]) Object.defineProperty(window, name, {get: tell});
    Object.defineProperty(Navigator.prototype, "userAgentData", {get: tell});
    document.querySelector = tell;
</script>"""
_BUTTON = '<a href="%s" style="position: absolute; left: 0; top: 0; width: 200px; height: 200px">Authorise</a>'


@define(eq=False)
class LoginSite:
    """The running site: its address, that of its identity provider, and what both were asked."""

    url: str = ""
    provider: str = ""
    requests: list[Received] = field(factory=list)
    provider_requests: list[Received] = field(factory=list)
    authorising: trio.Event = field(factory=trio.Event)
    """The person is on the identity provider's page."""

    def answer(self, request: Received) -> bytes:
        """The site."""
        self.requests.append(request)
        path, query = _parsed(request)
        logged_in = SESSION in request.headers.get("cookie", "")
        match path:
            case "/session":
                return _reply(b"", {"set-cookie": COOKIE})
            case "/" | "/2025/":
                return _page('<form action="/logout"></form>' if logged_in else _LATE)
            case "/wall":
                return _page(_WALL)
            case "/passed":
                return _page("<title>Chat</title>", {"set-cookie": "cf_clearance=canary-clearance; Path=/; HttpOnly"})
            case "/login":
                back = urlencode({"redirect_uri": f"{self.url}/login/callback", "state": "s1"})
                return _redirect(f"{self.provider}/authorize?{back}", "hfChat-codeVerifier=x; Path=/; HttpOnly")
            case "/login/callback" if query == {"code": "c1", "state": "s1"}:
                return _redirect("/home", COOKIE)
            case "/home" | "/never" | "/never/":
                return _page("")
            case "/api/v2/user":
                person = b'{"json": {"username": "somebody"}}' if logged_in else b'{"json": null}'
                return _reply(person, {"content-type": "application/json"})
        return _reply(b"", status="404 Not Found")

    def authorise(self, request: Received) -> bytes:
        """The identity provider: its page tells when a script of somebody else's touches it."""
        self.provider_requests.append(request)
        path, query = _parsed(request)
        if path == "/authorize":
            self.authorising.set()
            back = urlencode({"code": "c1", "state": query["state"]})
            return _page(_TRAPS + _BUTTON % f"{query['redirect_uri']}?{back}".replace("&", "&amp;"))
        return _reply(b"", status="404 Not Found")

    def touched(self) -> bool:
        """True if a script has touched the identity provider's page."""
        return any(request.target != "/favicon.ico" for request in self.provider_requests[1:])


@asynccontextmanager
async def open_login_site() -> AsyncGenerator[LoginSite]:
    """Serves both until the block ends. `/slow` never answers."""
    site = LoginSite()

    async def handle(stream: trio.SocketStream) -> None:
        while (request := await read_request(stream)) is not None:
            if request.target == "/slow":
                await stream.receive_some()  # until the browser hangs up
                break
            await stream.send_all(site.answer(request))

    async def handle_provider(stream: trio.SocketStream) -> None:
        while (request := await read_request(stream)) is not None:
            await stream.send_all(site.authorise(request))

    async with serve(handle) as site.url, serve(handle_provider) as site.provider:
        yield site


@contextmanager
def own_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files with a short path: the browser makes a socket in it."""
    path = Path(mkdtemp(prefix="fb-"))
    monkeypatch.setattr("tempfile.tempdir", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    try:
        yield path
    finally:
        rmtree(path)


def processes(directory: Path) -> list[str]:
    """The numbers and command lines of the processes that work in a directory."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(directory) in line]


def descriptors() -> int:
    """The number of descriptors of this process."""
    return len(list(Path("/dev/fd").iterdir()))


def left(directory: Path) -> tuple[list[str], list[str], int]:
    """Lists what could be left behind: files in a directory, processes that work there, descriptors of this process."""
    return [path.name for path in directory.iterdir()], processes(directory), descriptors()


def _parsed(request: Received) -> tuple[str, dict[str, str]]:
    parts = urlsplit(request.target)
    return parts.path, dict(parse_qsl(parts.query))


def _page(body: str, headers: dict[str, str] | None = None) -> bytes:
    return _reply(f"<!doctype html>{body}".encode(), {"content-type": "text/html", **(headers or {})})


def _redirect(to: str, cookie: str) -> bytes:
    return _reply(b"", {"location": to, "set-cookie": cookie}, "302 Found")


def _reply(body: bytes, headers: dict[str, str] | None = None, status: str = "200 OK") -> bytes:
    lines = {**(headers or {}), "content-length": str(len(body))}
    head = "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in lines.items())])
    return f"{head}\r\n\r\n".encode() + body
