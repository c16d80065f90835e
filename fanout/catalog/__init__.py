"""Text to provider: lane specs, `fanout.toml`, the table of services, and where a key may go."""

from fanout.catalog.lookup import (
    DEFAULT_LANES,
    LaneSpec,
    find,
    find_for_listing,
    find_listed,
    make_unusable,
    providers,
    resolve,
)

__all__ = [
    "DEFAULT_LANES",
    "LaneSpec",
    "find",
    "find_for_listing",
    "find_listed",
    "make_unusable",
    "providers",
    "resolve",
]
