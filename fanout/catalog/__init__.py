"""Text to provider: lane specs, `fanout.toml`, the table of services, and where a key may go."""

from fanout.catalog.lookup import (
    DEFAULT_LANES,
    LaneSpec,
    check_default_lane,
    find,
    find_default_lanes,
    find_for_listing,
    find_listed,
    make_unusable,
    providers,
    resolve,
)

__all__ = [
    "DEFAULT_LANES",
    "LaneSpec",
    "check_default_lane",
    "find",
    "find_default_lanes",
    "find_for_listing",
    "find_listed",
    "make_unusable",
    "providers",
    "resolve",
]
