"""Hosts and base URLs: this machine, the networks around it, and where a secret may go in clear."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from fanout.errors import UsageError

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NUMBER = re.compile(r"0x[0-9a-f]{1,32}|0[0-7]{0,32}|[1-9][0-9]{0,32}")
_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_USER = re.compile(r"[^/?#]*//[^/?#]*@")
_PLAIN_URL = r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?:[\w.-]+|\[[0-9a-fA-F:.%]*\]?)?(?::[0-9]*)?(?:/[^\s?#@]*)?"
_PORT = re.compile(r"[0-9]{1,9}")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([^:]*))?")

_PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),  # RFC 1918
    IPv4Network("169.254.0.0/16"),  # link-local, RFC 3927
    IPv6Network("fc00::/7"),  # RFC 4193
    IPv6Network("fe80::/10"),  # link-local, RFC 4291
)

OLLAMA_PORT = 11434


def is_this_machine(host: str | None) -> bool:
    """Tells whether a connection to this host stays on this machine: loopback in any spelling, or a `localhost` name.

    Names are not looked up; those below `localhost` are loopback by RFC 6761. 0.0.0.0 and :: count, because systems
    connect to themselves where they are dialled.
    """
    name = _normal(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_private(host: str | None) -> bool:
    """Tells whether a host is this machine or on a network around it, on which plain http may carry a secret.

    Private are the networks of RFC 1918 and RFC 4193, link-local addresses, `.local` names (RFC 6762), and names
    without a dot, which mean something on one's own network only. 100.64.0.0/10 is not: all the customers of an access
    provider share it (RFC 6598).
    """
    if is_this_machine(host):
        return True
    name = _normal(host)
    if (address := _address(name)) is not None:
        return any(address in network for network in _PRIVATE)
    # With a dot at its end a single word is a top-level domain, which may have an address in public.
    return _is_name(name) and (name.endswith(".local") or "." not in (host or ""))


def is_public(host: str | None) -> bool:
    """Tells whether a host is a name or an address that means the same everywhere: none of this machine or around it.

    Names are not looked up. What ends in a number is an address, and only one in its usual form is taken for public.
    """
    if is_private(host):
        return False
    if _is_name(name := _normal(host)):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    meant = getattr(address, "ipv4_mapped", None) or address
    return meant.is_global and not meant.is_multicast


def _normal(host: str | None) -> str:
    return (host or "").lower().removesuffix(".")


def _is_name(host: str) -> bool:
    return bool(_NAME.fullmatch(host)) and not _LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2])


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Returns the address that a host is written as, in all forms that inet_aton(3) takes, or None for a name."""
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            return None
        return address.ipv4_mapped or address
    words = host.split(".")
    if len(words) > 4 or not all(map(_NUMBER.fullmatch, words)):
        return None
    *bytes_before, last = map(_number, words)
    if any(byte > 255 for byte in bytes_before) or last >= 256 ** (4 - len(bytes_before)):
        return None
    return IPv4Address(sum(byte << 24 - 8 * place for place, byte in enumerate(bytes_before)) + last)


def _number(word: str) -> int:
    octal = word.startswith("0") and not word.startswith("0x")
    return int(word, 8 if octal else 0)


def show_url(url: str) -> str:
    """Returns as much of an address as messages may repeat: no user or password, and no query, which may hold a key.

    What is malformed may hold a password anywhere. So an address is repeated up to its query if it has the plain form
    of one, and else not at all.
    """
    plain = re.match(_PLAIN_URL, url)
    rest = url[plain.end() :] if plain else url
    if plain and not rest:
        return repr(url)
    if plain and rest[0] in "?#" and "@" not in rest:
        return repr(f"{plain[0]}{rest[0]}…")
    return "this one (it is not repeated, for it may hold a password)"


def check_base_url(url: str) -> None:
    """Raises UsageError unless it is an http or https address (or the embedded model's) without credentials in it."""
    password = UsageError("a base URL carries no user or password; put the key into a variable and name it by key_env")
    if _USER.match(url):
        raise password
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is none
    except ValueError:
        parts = None
    if parts is not None and (parts.username is not None or parts.password is not None):
        raise password
    usual = parts is not None and parts.scheme in ("http", "https", "local") and bool(parts.hostname)
    if not usual and ("@" in url or "%40" in url):
        raise password
    if parts is None:  # the reasons that urlsplit gives repeat parts of the address
        raise UsageError(f"base_url {show_url(url)}: Port or host cannot be read")
    if not usual or not url.isprintable() or " " in url:
        raise UsageError(f"base_url must be an http or https address, not {show_url(url)}")


def join_url(base_url: str, path: str) -> str:
    """Returns the address of `path`, which may have a query, below a base URL.

    What the base URL's own query says stays at the end, where the service looks for it; a base URL that is the whole
    address already, as a service's page on its endpoint prints it, is taken for that.
    """
    base, mark, query = base_url.partition("?")
    path, more, options = path.partition("?")
    base = base.rstrip("/")
    url = base if base.endswith(path) else base + path
    return url + "".join((more, options, "&" if more and query else mark if query else "", query))


def check_secrecy(url: str, secret: str, proxy: str | None = None) -> None:
    """Raises UsageError where a request to `url` by way of the host `proxy` would show others a secret.

    `secret` names it, for the message. Plain http carries a secret to this machine and to private networks only; a
    proxy elsewhere reads it too.
    """
    if urlsplit(url).scheme != "http":
        return
    ways = [urlsplit(url).hostname, *([proxy] if proxy else [])]
    exposed = [host for host in ways if not is_private(host)]
    if exposed:
        raise UsageError(
            f"base_url {show_url(url)} would send {secret} in clear to {exposed[0]}; use https, or where the way is "
            "safe (a tunnel, a VPN) add insecure=true to the lane, or insecure = true to its table in your own "
            "fanout.toml"
        )


def read_ollama_host(text: str) -> str | None:
    """Returns the base URL that OLLAMA_HOST means, read as Ollama's own clients read it; None if it is blank.

    Without a scheme it is http at port 11434, with one at that scheme's port; what is no port is the usual one. Blanks
    and quotes around it do not count. The server finds the address to listen on in the same variable: everywhere
    (0.0.0.0, ::) is reached at 127.0.0.1. Sources: Host and ConnectableHost in Ollama's envconfig/config.go, and
    _parse_host in its Python client.
    """
    text = text.strip().strip("\"'").strip()
    if not text:
        return None
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = ("https", f"{text}:443") if text == "ollama.com" else ("http", text)
    usual = {"http": 80, "https": 443}.get(scheme, OLLAMA_PORT) if mark else OLLAMA_PORT
    place, _, path = rest.partition("/")
    path = f"/{path.strip('/')}".rstrip("/")
    if "@" in rest:  # for check_base_url, which refuses it: a password may have a slash
        return f"{scheme}://user@{rest.rpartition('@')[2]}"
    matched = _HOST_AND_PORT.fullmatch(place)
    # An IPv6 address may lack its brackets.
    host, given = (matched[1].strip("[]") or "127.0.0.1", matched[2] or "") if matched else (place, "")
    port = int(given) if _PORT.fullmatch(given) and 0 < int(given) < 65536 else usual
    if (address := _address(host)) is not None and address.is_unspecified:
        host = "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


def origin_of(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Returns scheme, host and port of an address, the usual port where it names none. Raises ValueError."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
