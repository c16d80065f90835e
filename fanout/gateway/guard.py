"""The demands on a request before it is read: where it was sent, who sends it, in which form."""

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address

from attrs import frozen

from fanout.credentials.secret import Secret
from fanout.gateway.dialects.faults import Fault

MOST_BYTES = 32 << 20
"""Bytes of a request's body, unless the gateway is told otherwise: pictures come in base64."""

LEAST_TOKEN = 16
"""Characters of a token that a network may not guess."""

NAMES = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine that lead to it from nowhere else."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.IGNORECASE)


@frozen
class Guard:
    """Lets a request through or says why not.

    `hosts` are the names by which the gateway may be called; at any port: a proxy may stand before it. `addressed`
    lets literal addresses through too: a page of another site cannot make a browser send one that leads here unasked.
    `tokens` are those that clients may show; without any, everybody may ask.
    """

    hosts: frozenset[str]
    tokens: tuple[Secret, ...] = ()
    most_bytes: int = MOST_BYTES
    addressed: bool = False

    def check_caller(self, headers: Mapping[str, str]) -> Fault | None:
        """Returns what is wrong with where a request was sent to, and from which page; None if nothing is.

        A page that has its own name lead to this machine (DNS rebinding) shows that name in Host; one that posts across
        sites shows itself in Origin, or `null`.
        """
        if not self._knows(headers.get("host", "")):
            return Fault(
                421, "host", "this name is not the gateway's: call it by the one that it prints, or --host-name"
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin):
            return Fault(403, "origin", "pages of other sites may not ask this gateway")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Fault(403, "origin", "pages of other sites may not ask this gateway")
        return None

    def find_user(self, headers: Mapping[str, str]) -> str | None:
        """Returns a name for whoever shows a token, which tells nothing of it; None where none fits.

        Every token is compared, each in constant time.
        """
        if not self.tokens:
            return "everybody"
        shown = shown_token(headers).encode("utf-8", "surrogateescape")
        fits = [token for token in self.tokens if hmac.compare_digest(token.reveal().encode(), shown)]
        return sha256(fits[0].reveal().encode()).hexdigest()[:16] if fits else None

    def check_form(self, headers: Mapping[str, str]) -> Fault | None:
        """Returns what is wrong with the form of a body, as far as its headers say; None if nothing is.

        A browser sends JSON across sites only after it has asked whether it may, which it may not.
        """
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Fault(415, "content_type", "send application/json")
        if headers.get("content-encoding", "identity").lower() != "identity":
            return Fault(415, "content_encoding", "send the body as it is, without a content coding")
        size = headers.get("content-length", "0")
        if size.isdecimal() and len(size) < 20 and int(size) > self.most_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Fault:
        """Returns the fault of a body with too many bytes."""
        return Fault(413, "too_large", f"a request may have {self.most_bytes} bytes")

    def _knows(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower()
        return name in self.hosts or (self.addressed and _is_address(name))

    def _is_own(self, origin: str) -> bool:
        scheme, mark, host = origin.partition("://")
        return bool(mark) and scheme in ("http", "https") and self._knows(host)


def shown_token(headers: Mapping[str, str]) -> str:
    """Returns the token that a client shows: as OpenAI's clients do, or as Anthropic's."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip()


def check_tokens(tokens: Sequence[str], *, public: bool) -> str | None:
    """Returns what is wrong with the tokens of a gateway that others can reach, if it is `public`; None: nothing."""
    if any(not token.isascii() or not token.isprintable() or " " in token for token in tokens):
        return "a token consists of printable ASCII characters without spaces"
    if public and not tokens:
        return "others can reach this address, so clients must show a token: set FANOUT_TOKEN"
    if public and any(len(token) < LEAST_TOKEN for token in tokens):
        return f"others can reach this address: a token needs {LEAST_TOKEN} characters at least"
    return None


def is_loopback(host: str) -> bool:
    """Tells whether an address to listen at can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
