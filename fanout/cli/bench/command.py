"""The command of a benchmark as its files may tell everybody: without what is secret in it (bench/load/about.py)."""

from collections.abc import Sequence
from shlex import join
from typing import Any
from urllib.parse import unquote_plus

import click

from fanout.cli.options import known_names, split_lanes

_GIVEN = "fanout.bench.arguments"


def remember_arguments(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Keeps the arguments that click will take apart, for `describe_command`."""
    ctx.meta[_GIVEN] = list(arguments)


def describe_command(ctx: click.Context) -> str:
    """Writes the command of this context anew, each option under its first name."""
    given, _, order = ctx.command.make_parser(ctx).parse_args(list(ctx.meta[_GIVEN]))
    words = ["fanout", "bench"]
    for option in dict.fromkeys(order):
        if isinstance(option, click.Option) and option.name in given:
            values = given[option.name]
            for value in values if option.multiple else [values]:
                words += [option.opts[0], *([] if option.is_flag else _words(option.name, value))]
    return join(words)


def _words(name: str, value: Any) -> list[str]:
    from fanout.bench.load.about import HIDDEN, hide_secret_option

    if name == "system":
        return [HIDDEN]
    if name == "options":
        key, text = value
        return [key, hide_secret_option(key, text)]
    return [",".join(map(_lane, split_lanes(value, known_names())))] if name == "lanes" else [str(value)]


def _lane(spec: str) -> str:
    head, mark, query = spec.partition("?")
    return head + mark + "&".join(map(_pair, query.split("&")))


def _pair(pair: str) -> str:
    from fanout.bench.load.about import hide_secret_option

    key, mark, text = pair.partition("=")
    value = unquote_plus(text)
    shown = hide_secret_option(unquote_plus(key), value)
    return pair if shown == value else f"{key}{mark}{shown}"
