"""Sources of a login: files that browsers and their extensions write, pasted text, other browsers."""

import json
import os
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import evolve, field, frozen

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.login.services import SERVICES, Site, normalise

ENVIRONMENT = "environment"
"""The source of credentials that come from a variable."""

MILLISECONDS = 100_000_000_000
"""A time beyond this, as seconds the year 5138, is in milliseconds: some exports write these."""

_SENDABLE = re.compile(r"[!-:<-~]+")  # printable ASCII, without the space and without what separates cookies
_NAMED = re.compile("[^=]+=[^=]")  # a value alone may end with the equals signs of base64


@frozen
class Cookie:
    """One cookie of a source. Without a domain it is the site's own, as in a Cookie header."""

    name: str
    value: Secret
    domain: str = ""
    host_only: bool = False
    expires: datetime | None = None

    def goes_to(self, host: str) -> bool:
        """Tells if a browser sends it to this host."""
        domain = self.domain.lower().removeprefix(".")
        return not domain or host == domain or (not self.host_only and host.endswith(f".{domain}"))


@frozen
class Found:
    """The contents of a source: the cookies of any sites, the rest of the one in question."""

    cookies: Sequence[Cookie] = ()
    secrets: Mapping[str, Secret] = field(factory=dict)
    fields: Mapping[str, str] = field(factory=dict, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    notes: Sequence[str] = ()


def credentials(
    site: Site, base_url: str, found: Found, source: str, obtained: datetime | None = None
) -> tuple[Credentials, list[str]]:
    """Makes credentials of what was found; returns them with what had to be left out, a sentence each.

    `obtained` (UTC) is now, or None if nobody knows.

    Raises UsageError if something is missing without which there is no login.
    """
    now = obtained or datetime.now(UTC)
    host = urlsplit(base_url).hostname or ""
    cookies, notes = _pick_cookies(site, [cookie for cookie in found.cookies if cookie.goes_to(host)], now)
    secrets = {name: value for name, value in found.secrets.items() if _SENDABLE.fullmatch(value.reveal())}
    notes = [*found.notes, *notes, *(f"{name} has an unusable value" for name in found.secrets if name not in secrets)]
    missing = [name for name in site.required_names(base_url) if name not in cookies and name not in secrets]
    if missing:
        said = "".join(f"; {note}" for note in notes)
        raise UsageError(f"there is no {' and no '.join(missing)} for {host}{said}")
    ends = [*(cookie.expires for cookie in cookies.values()), *map(_token_ends, secrets.values())]
    made = Credentials(
        provider=site.name,
        base_url=normalise(base_url),
        cookies={name: cookie.value for name, cookie in cookies.items()},
        secrets=secrets,
        fields=found.fields,
        headers=found.headers,
        obtained=obtained,
        expires=min((end for end in ends if end), default=None),
        source=source,
    )
    return made, notes


def _pick_cookies(site: Site, cookies: Iterable[Cookie], now: datetime) -> tuple[dict[str, Cookie], list[str]]:
    """The cookies that the site names, the last of each; and why others of these names are not among them."""
    kept: dict[str, Cookie] = {}
    notes = []
    for cookie in cookies:
        if cookie.name not in site.cookies:
            continue
        if cookie.expires and cookie.expires <= now:
            notes.append(f"the cookie {cookie.name} expired on {cookie.expires:%Y-%m-%d}")
        elif not _SENDABLE.fullmatch(cookie.value.reveal()):
            notes.append(f"the cookie {cookie.name} has an unusable value")
        else:
            kept[cookie.name] = cookie
    return kept, notes


def _token_ends(token: Secret) -> datetime | None:
    """Reads the end of a token, if it is a JWT that names it (RFC 7519, `exp`); nobody has checked its signature."""
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        payload = token.reveal().split(".")[1]
        return _time(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    return None


def parse(text: str, site: Site, base_url: str) -> Found:
    """Reads a text: a HAR, a JSON export, a Netscape cookies.txt, a Cookie header, or the site's token alone.

    Raises UsageError that says what is wrong with it, and repeats nothing of it.
    """
    text = text.removeprefix("\ufeff").strip("\r\n ")
    if text.startswith(("{", "[")):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError("this begins like JSON and is none") from None
        if isinstance(value, dict) and "log" in value:
            return har(value, site, base_url)
        return _take(_json_cookies(value), site)
    if re.search(r"^([^\t\n]*\t){6}|^# (Netscape )?HTTP Cookie File", text, re.MULTILINE):
        return _take(_netscape_cookies(text), site)
    return token(text, site) if site.secrets and not site.cookies else cookie_text(text, site)


@frozen
class Unreadable:
    """An entry of a source that is no cookie: where it stands, what it lacks, and all that may be its name."""

    place: str
    lacks: str
    words: Sequence[str] = field(repr=False)


def _take(entries: Iterable[Cookie | Unreadable], site: Site) -> Found:
    """Takes the cookies of a source. Raises UsageError for an entry without sense that may be one the site needs.

    A jar holds those of all sites, of which others may be damaged as they will.
    """
    cookies: list[Cookie] = []
    notes: list[str] = []
    for entry in entries:
        if isinstance(entry, Cookie):
            cookies.append(entry)
        elif set(entry.words) & set(site.cookies):
            raise UsageError(f"{entry.place} {entry.lacks}")
        else:
            notes.append(f"{entry.place} was left out: it {entry.lacks}")
    return Found(cookies, notes=notes)


def token(text: str, site: Site) -> Found:
    """A token alone, perhaps in quotes as a browser's tools show it."""
    return Found(secrets={site.secrets[0]: Secret(text.strip().strip("\"'").removeprefix("Bearer ").strip())})


def cookie_text(text: str, site: Site) -> Found:
    """A Cookie header: `name=value; name=value`. A value alone is taken for the one cookie that the site needs."""
    cookies = [Cookie(name, Secret(value)) for name, value in _pairs(text)]
    word = text.strip().strip("\"'")
    if site.needs and _SENDABLE.fullmatch(word) and not _NAMED.match(word):
        return Found((Cookie(site.needs[0], Secret(word)),))
    return Found(tuple(cookies))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^\s*cookie:", "", text.strip().strip("\"'"), flags=re.IGNORECASE)
    for piece in re.split(r"[;\n]", text):
        name, equals, value = piece.strip().partition("=")
        if equals:
            yield name.strip(), value.strip()


def _netscape_cookies(text: str) -> Iterator[Cookie | Unreadable]:
    """Domain, whether subdomains too, path, whether only over TLS, end, name and value, with tabs between them.

    Where the value is empty, an editor may have taken the last tab away.
    """
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.removeprefix("#HttpOnly_")
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split("\t")
        parts += [""] * (len(parts) == 6)
        if len(parts) != 7 or not re.fullmatch(r"-?\d+(\.\d+)?", parts[4]):
            place = f"line {number} of the cookies.txt"
            yield Unreadable(place, "has not its seven fields with tabs between them", line.split())
            continue
        domain, subdomains, _path, _secure, end, name, value = parts
        yield Cookie(name, Secret(value), domain, subdomains.upper() == "FALSE", _time(float(end)))


def _json_cookies(value: Any) -> Iterator[Cookie | Unreadable]:
    """The list that browser extensions export, perhaps in an object under `cookies`; or plain names and values."""
    if isinstance(value, dict) and isinstance(value.get("cookies"), list):
        value = value["cookies"]
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        yield from (Cookie(name, Secret(text)) for name, text in value.items())
        return
    if not isinstance(value, list):
        raise UsageError("this JSON is neither a HAR nor a list of cookies")
    for number, row in enumerate(value, 1):
        match row:
            case {"name": str(name), "value": str(text), "domain": str(domain)}:
                end = next((row[key] for key in ("expirationDate", "expires", "expiry") if row.get(key)), None)
                yield Cookie(name, Secret(text), domain, row.get("hostOnly") is True, _time(end))
            case _:
                named = row.get("name") if isinstance(row, dict) else None
                words = [named] if isinstance(named, str) else []
                yield Unreadable(f"entry {number} of the JSON", "is not a cookie with name, value and domain", words)


def _time(value: Any) -> datetime | None:
    """A time in UTC from seconds, milliseconds or ISO text; None where a cookie ends with its session."""
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > MILLISECONDS else value, UTC)
    return None


def har(value: Any, site: Site, base_url: str) -> Found:
    """Reads a recording of the browser's requests; a later request to the site counts more than an earlier one.

    Requests to the very host count more than those to hosts below it. Raises UsageError if it holds no such request.
    """
    host = urlsplit(base_url).hostname or ""
    try:
        requests = _requests_of(value["log"]["entries"])
        hosts = [urlsplit(request["url"]).hostname or "" for request in requests]
        below = [request for request, to in zip(requests, hosts, strict=True) if to.endswith(f".{host}")]
        exact = [request for request, to in zip(requests, hosts, strict=True) if to == host]
        found = _requests(site, [*below, *exact])
    except (LookupError, TypeError, AttributeError, ValueError):
        raise UsageError("this HAR is damaged: its requests are not where they should be") from None
    if not below and not exact:
        raise UsageError(f"the HAR holds no request to {host}")
    if not found.cookies and not found.secrets:
        why = "the HAR was saved without cookies and tokens: export it again, with sensitive data"
        return evolve(found, notes=(why,))
    return found


def _requests_of(entries: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Returns the requests of a HAR's entries, of which others may be damaged. Raises LookupError if all are."""
    requests = [request for entry in entries if (request := _request_of(entry))]
    if entries and not requests:
        raise LookupError("no entry has a request")
    return requests


def _request_of(entry: Any) -> Mapping[str, Any] | None:
    """Returns the request of an entry; None for an entry without one, which may be of another site."""
    request = entry.get("request") if isinstance(entry, dict) else None
    return request if isinstance(request, dict) and isinstance(request.get("url"), str) else None


def _requests(site: Site, requests: Iterable[Mapping[str, Any]]) -> Found:
    cookies: list[Cookie] = []
    secrets: dict[str, Secret] = {}
    fields: dict[str, str] = {}
    headers: dict[str, str] = {}
    for request in requests:
        said = {str(row["name"]).lower(): str(row["value"]) for row in request["headers"]}
        ends = {str(row["name"]): _time(row.get("expires")) for row in request.get("cookies", ())}
        # The header has the values as they were sent; some browsers list them decoded.
        pairs = list(_pairs(said.get("cookie", ""))) or [
            (str(row["name"]), str(row["value"])) for row in request.get("cookies", ())
        ]
        cookies += [Cookie(name, Secret(text), expires=ends.get(name)) for name, text in pairs]
        secrets |= {name: Secret(said[name]) for name in site.secrets if said.get(name)}
        fields |= {name: text for name, text in parse_qsl(urlsplit(request["url"]).query) if name in site.fields}
        if "user-agent" in said:
            headers = {n: text for n, text in said.items() if is_browser_header(n) and text.isprintable()}
    return Found(cookies, secrets, fields, headers)


def is_browser_header(name: str) -> bool:
    """True for a request header (lower case) that says which browser sends it: these are kept together."""
    return name == "user-agent" or name.startswith("sec-ch-ua")


def from_browser(browser: str, profile: str | None = None) -> Found:
    """The cookies of another browser on this machine, `firefox` or `chrome`. Its jar is copied before it is read.

    Raises UsageError if the extra that reads them is not installed, or it cannot read them.
    """
    try:
        yt_dlp: Any = import_module("yt_dlp")
    except ImportError:
        raise UsageError(
            "to read another browser's cookies, pip install 'fanout-llm[cookies]'; or export them to a file: --file"
        ) from None
    notes = _Notes()
    try:
        jar = yt_dlp.YoutubeDL({"cookiesfrombrowser": (browser, profile, None, None), "logger": notes}).cookiejar
    except yt_dlp.utils.YoutubeDLError as error:
        said = str(error).removeprefix("ERROR: ")
        raise UsageError(f"the cookies of {browser} cannot be read: {said}") from None
    cookies = [
        Cookie(c.name, Secret(c.value or ""), c.domain, not c.domain.startswith("."), _time(c.expires)) for c in jar
    ]
    return Found(cookies, notes=notes.warnings)


class _Notes:
    """Takes what yt-dlp has to say, which would go to the terminal."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str, **_: object) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def debug(self, message: str, **_: object) -> None:
        """Ignores what it is doing; its errors it raises too."""

    error = info = debug


def from_environment(provider: str, base_url: str) -> Credentials | None:
    """Reads the service's variable, for the base URL that it belongs to; None if it is not set, or for another.

    Raises UsageError if the variable holds something else.
    """
    site = SERVICES.get(provider)
    text = os.environ.get(site.variable, "") if site else ""
    if not site or not text.strip():
        return None
    home = os.environ.get(site.base_url_variable) or site.base_url
    if normalise(base_url) != normalise(home):
        return None
    try:
        return credentials(site, base_url, parse(text, site, base_url), ENVIRONMENT)[0]
    except UsageError as error:
        raise UsageError(f"{site.variable}: {error}") from None
