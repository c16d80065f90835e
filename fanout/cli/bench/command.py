"""How a benchmark was asked for, as its files may tell everybody: the command without what is secret in it.

System prompts, what goes to a service as it is (body.NAME), and of addresses the user, the password and the query are
left out: runs are shown to others, and keys stand in all of these.
"""

from collections.abc import Sequence
from shlex import join
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import click

from fanout.cli.options import split_lanes

HIDDEN = "…"

_GIVEN = "fanout.bench.arguments"


def remember(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Keeps the arguments that click will take apart, for `retold`."""
    ctx.meta[_GIVEN] = list(arguments)


def retold(ctx: click.Context) -> str:
    """The command of this context, each option under its first name."""
    given, _, order = ctx.command.make_parser(ctx).parse_args(list(ctx.meta[_GIVEN]))
    words = ["fanout", "bench"]
    for option in dict.fromkeys(order):
        if isinstance(option, click.Option) and option.name in given:
            values = given[option.name]
            for value in values if option.multiple else [values]:
                words += [option.opts[0], *([] if option.is_flag else _told(option.name, value))]
    return join(words)


def public(address: str) -> str:
    """An address without its user, password and query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    place = f"{HIDDEN}@{host}" if user or at else host
    query = HIDDEN if parts.query else ""
    return parts._replace(netloc=place, query=query, fragment="").geturl()


def _told(name: str, value: Any) -> list[str]:
    if name == "system":
        return [HIDDEN]
    if name == "options":
        key, text = value
        return [key, _value(key, text)]
    return [",".join(map(_lane, split_lanes(value)))] if name == "lanes" else [str(value)]


def _lane(spec: str) -> str:
    head, mark, query = spec.partition("?")
    return head + mark + "&".join(map(_pair, query.split("&")))


def _pair(pair: str) -> str:
    key, mark, text = pair.partition("=")
    told = _value(unquote_plus(key), unquote_plus(text))
    return pair if told == unquote_plus(text) else f"{key}{mark}{told}"


def _value(key: str, text: str) -> str:
    if key.startswith("body."):
        return HIDDEN
    return public(text) if key in ("base_url", "proxy") else text
