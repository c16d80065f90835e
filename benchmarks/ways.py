"""The ways to the load server: straight, or through a front with TLS over HTTP/1.1 or HTTP/2."""

PLAIN, TLS, H2 = "plain", "tls", "h2"

WAYS = {PLAIN: "plain HTTP", TLS: "TLS", H2: "TLS and HTTP/2"}
"""By way, the words for it."""

ADDED = {PLAIN: "", TLS: "", H2: ", HTTP/2"}
"""By way, what a table of its kind adds to a client's name: HTTP/2 stands beside HTTP/1.1, both over TLS."""

KINDS = {"plain HTTP": (PLAIN,), "TLS": (TLS, H2)}
"""By the words for a table, the ways in it."""


def floor_of(way: str) -> str:
    """Names the way over which the floor is measured that this one is compared with: it speaks no HTTP/2."""
    return PLAIN if way == PLAIN else TLS
