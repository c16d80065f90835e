"""Writes docs/reference.md from the code: options, clocks, fanout.toml, calls, events, errors, exit codes, variables.

`python docs/reference.py` writes it; with `--check` it only says whether the page is as the code has it, and fails if
not. What it adds to the code's own words is in this file.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import click
from attrs import fields

sys.path.insert(0, str(Path(__file__).parents[1]))

import fanout
import fanout.cli
from benchmarks.machine import table
from fanout import catalog, errors, events
from fanout.abc import Policy
from fanout.answers import Answer, Run
from fanout.catalog.config import LANE, TRUST, DefaultsTable, GroupTable
from fanout.catalog.lookup import POLICIES
from fanout.cli.options import CLOCK_FLAGS, add_choices
from fanout.errors import ProviderError
from fanout.login.services import SERVICES
from fanout.plan import CallSettings
from fanout.policies.judging import Judged
from fanout.prompt import Message, Options
from fanout.settings import Setting, settings_of
from fanout.settings.timeouts import Timeouts

PAGE = Path(__file__).with_name("reference.md")
WIDTH = 118
Lines = Iterator[str]

HEAD = """# Reference

Made from the code by `python docs/reference.py`; a test fails when it is stale. For recipes see the [guide](guide.md).

* Lanes: [specs](#lane-specs), [options](#options-of-a-lane), [clocks](#clocks),
  [other settings](#other-settings-of-a-lane), [providers](#providers)
* [fanout.toml](#fanouttoml), [environment variables](#environment-variables), [files](#files)
* Python: [calls](#calls), [policies](#policies), [prompts](#prompts), [answers](#answers), [events](#events),
  [errors](#errors)
* The command: [verbs](#verbs), [options](#options-of-the-verbs-with-a-prompt), [exit codes](#exit-codes)"""

SPECS = """`[name=]provider[/model][?option=value&…]`

* `:` may stand for the first `/`; further ones belong to the model's name.
* `name=` labels the lane; without it the lane is called by provider and model, the second of that name `…#2`.
* Options are written as in a URL: `stop=a%26b`, or with quotes around the spec in a shell. Where an option is repeated
  the last counts, but for those that add up.
* In place of `provider/model` a lane of fanout.toml may stand. A group stands alone, without a label or options.
* On the command line `-m` takes a comma list. After a `?` a comma opens a lane only where `provider/` follows."""

TRUSTED = f"""The file in the current directory goes before that in your configuration directory, name by name. The
first may have come with somebody else's project, so it may set none of the settings marked *own file only*, renames no
provider, gives no name of your own file another meaning, and sends a key only from the provider's own variables, to the
provider's own address. By a name that meant other services in the last run it is not given its conversation (`-c`).
`{TRUST}=1` lifts this."""

VARIABLES = {
    "keys": "The keys of the [providers](#providers). A comma list, or `NAME_2`, `NAME_3` …, is a pool.",
    "addresses": "The providers' addresses, as other clients read them. The key goes with the address.",
    "FANOUT_TOKEN": "What clients of `fanout serve` must show; a comma list for several users.",
    "FANOUT_UNOFFICIAL": "The [web chats](web-chats.md) that are switched on, as a comma list.",
    TRUST: "`1`: the fanout.toml of the current directory is your own.",
    "OPENAI_ORG_ID": "Sent with OpenAI's keys.",
    "OPENAI_PROJECT_ID": "Sent with OpenAI's keys.",
    "https_proxy": "Proxy for https, also in capitals; `http_proxy`, in small letters only, for plain http.",
    "all_proxy": "Proxy where the one for the scheme is not set, also in capitals.",
    "no_proxy": "Hosts that are reached without a proxy, as a comma list; this machine always is.",
    "SSL_CERT_FILE": "The certificate authorities to trust, a file; `SSL_CERT_DIR` names a directory.",
    "REQUESTS_CA_BUNDLE": "The same where neither of these is set; then `CURL_CA_BUNDLE`.",
    "FANOUT_MODEL": "The embedded model's weights: the path of a GGUF file, in place of those that are installed.",
    "DISPLAY": "Where `fanout login` shows its browser, as does `WAYLAND_DISPLAY`.",
    "COLUMNS": "How wide a terminal is, in characters, where it does not say so itself, or output goes elsewhere.",
    "NO_COLOR": "No colours from the command.",
    "TERM": "`dumb`: no live view.",
    "SHELL": "The shell that `fanout completion` writes for, unless it is told.",
}
"""By variable what it does; keys and addresses stand for those of all providers."""

CODES = {
    "ANSWERED": "answered",
    "FAILED": "no lane answered, or too few",
    "USAGE": "a mistake in the command, its files or its lanes",
    "PARTLY": "some lanes failed (with `--strict`); an `--assert` of bench does not hold",
    "DEADLINE": "no answer within `--deadline`",
    "INTERRUPTED": "interrupted by Ctrl-C",
    "BROKEN_PIPE": "the reader of the output has gone",
}

PLACES = """`fanout` keeps its files in directories of its own below those that the platform gives programs; on Linux
these are `~/.config/fanout` (`XDG_CONFIG_HOME`), `~/.local/share/fanout` (`XDG_DATA_HOME`) and `~/.local/state/fanout`
(`XDG_STATE_HOME`). Logins, the last run and the runs of bench can be read by their owner only. `--no-save` keeps no
run."""


def page() -> str:
    """Returns the whole page."""
    parts: list[tuple[str, Iterable[str]]] = [
        ("Lane specs", [SPECS]),
        ("Options of a lane", options()),
        ("Clocks", clocks()),
        ("Other settings of a lane", others()),
        ("Providers", providers()),
        ("fanout.toml", configuration()),
        ("Environment variables", variables()),
        ("Files", [PLACES]),
        ("Calls", calls()),
        ("Policies", policies()),
        ("Prompts", prompts()),
        ("Answers", answers()),
        ("Events", all_events()),
        ("Errors", all_errors()),
        ("Verbs", verbs()),
        ("Options of the verbs with a prompt", flags()),
        ("Exit codes", codes()),
    ]
    return "\n\n".join([HEAD, *(f"## {name}\n\n" + "\n".join(lines).strip() for name, lines in parts)]) + "\n"


def options() -> Lines:
    """Yields the options of a prompt, which a lane may set for itself."""
    yield "In a spec, under `[lanes.NAME]`, with `-o NAME VALUE` for all lanes of a command, in Python `Options(…)`."
    yield ""
    known = settings_of(Options)
    rows = [(f"`{name}`", _takes(one), one.help) for name, one in known.items()]
    yield from table(("option", "takes", "is"), rows)
    yield ""
    names = ", ".join(f"`{a.name}`" for a in fields(Options) if a.name not in known)
    yield _paragraph(f"An option that may be repeated adds up. Only in Python: {names}. {_after_first(Options)}")


def clocks() -> Lines:
    """Yields a lane's clocks."""
    yield _paragraph(f"In Python `Timeouts(…)`. {_after_first(Timeouts)}")
    yield ""
    rows = [
        (f"`{name}`", f"`{CLOCK_FLAGS[name]}`", f"{one.usual:g}", f"{_takes(one)}", one.help)
        for name, one in settings_of(Timeouts).items()
    ]
    yield from table(("clock", "on the command line", "usually", "takes", "is"), rows)
    yield ""
    different = [(e.name, e.timeouts.first) for e in catalog.providers() if e.timeouts.first is not None]
    yield "".join(f"`{name}` has {first:g} s to its first content. " for name, first in different).strip()
    yield _paragraph(
        "A lane's own clocks go before the call's, these before those of fanout.toml, and these before a provider's"
        " usual ones. `deadline` is no lane's clock: it bounds all lanes of a plan together; nested ones only shrink."
    )


def others() -> Lines:
    """Yields what else a lane may set."""
    rows = [
        (f"`{name}`", _takes(one), one.help + (" *Own file only.*" if one.users else "")) for name, one in LANE.items()
    ]
    yield from table(("setting", "takes", "is"), rows)


def providers() -> Lines:
    """Yields the table of providers."""
    yield "Plug-ins add to them. `fanout providers` also says which keys are set."
    yield ""
    rows = [
        (
            f"`{entry.name}`",
            "web chat" if entry.unofficial else entry.wire,
            " or ".join(f"`{key}`" for key in entry.keys) or ("a login" if entry.name in SERVICES else "none"),
            f"`{entry.base_url_env}`" if entry.base_url_env else "",
            entry.note.partition("; the model")[0] if not entry.unofficial else entry.status,
        )
        for entry in catalog.providers()
    ]
    yield from table(("provider", "wire", "key", "address in", "note"), rows)


def configuration() -> Lines:
    """Yields the tables of fanout.toml."""
    yield TRUSTED
    yield ""
    yield "`[lanes.NAME]` has `spec`, a lane spec, and any option, clock or setting above. `[groups.NAME]` is a plan:"
    yield ""
    yield from table(("setting", "takes", "is"), _rows(settings_of(GroupTable)))
    yield ""
    clocks = ", ".join(f"`{name}`" for name in settings_of(Timeouts))
    yield f"`[defaults]` holds for all lanes: the clocks {clocks}, and"
    yield ""
    own = {name: one for name, one in settings_of(DefaultsTable).items() if name not in settings_of(Timeouts)}
    yield from table(("setting", "takes", "is"), _rows(own))


def variables() -> Lines:
    """Yields the environment variables that are read."""
    entries = catalog.providers()
    more = {
        "addresses": ", ".join(
            f"`{name}`" for name in dict.fromkeys(e.base_url_env for e in entries if e.base_url_env)
        ),
        "keys": "`OPENAI_API_KEY`, `GROQ_API_KEY` …",
    }
    rows = [(more.get(name, f"`{name}`"), says) for name, says in VARIABLES.items()]
    rows += [
        (f"`{site.variable}`", f"A login to {site.name}, in place of one that is kept.") for site in SERVICES.values()
    ]
    needed = dict.fromkeys(name for e in entries for name in re.findall(r"\{([A-Z_]+)\}", e.base_url))
    rows += [(f"`{name}`", "Stands in a provider's address.") for name in needed]
    yield from table(("variable", "does"), rows)


def calls() -> Lines:
    """Yields the public calls and their settings."""
    for name in (
        "race",
        "gather",
        "ask",
        "open_fanout",
        "stream",
        "open_transport",
        "fetch_file",
        "list_models",
        "check_keys",
    ):
        call = getattr(fanout, name)
        arguments = [_argument(one) for one in inspect.signature(call).parameters.values()]
        yield f"* `fanout.{name}({', '.join(arguments)})`"
        yield _paragraph(_flat(call), "  ", "  ")
    yield ""
    yield _paragraph(f"`fanout.Stream`: {_flat(fanout.Stream)} It has `lane`, `run` and `take()`.")
    yield ""
    yield _paragraph(f"Settings of the first five: {', '.join(f'`{name}`' for name in CallSettings.__annotations__)}.")
    yield ""
    yield _paragraph(_after_first(CallSettings))
    yield ""
    yield _paragraph(
        "`fanout.aio` and `fanout.sync` have the same calls, list_models and check_keys too, with the same"
        " arguments and results, for asyncio and for programs without a loop: what is awaited here is a plain call in"
        " `fanout.sync`, and what opens is for `with`. `transport=` takes connections that one of the two has opened;"
        " without it, connections are kept until the process ends. Only in `fanout.aio`:"
    )
    yield ""
    yield f"* `fanout.aio.show({', '.join(map(_argument, inspect.signature(fanout.aio.show).parameters.values()))})`"
    yield _paragraph(_flat(fanout.aio.show), "  ", "  ")


def policies() -> Lines:
    """Yields the policies with their parameters."""
    for name in POLICIES.values():
        kind: type[Policy] = getattr(fanout, name)
        arguments = [_argument(one) for one in list(inspect.signature(kind).parameters.values())]
        yield _paragraph(f"`fanout.{kind.__name__}({', '.join(arguments)})`", "* ", "  ")
        yield _paragraph(f"{_flat(kind)} Retries: {kind.retries}.", "  ", "  ")
    yield ""
    judged = ", ".join(f"`{_argument(one)}`" for one in inspect.signature(Judged).parameters.values())
    yield _paragraph(f"**With a judge**, `Best` and `Fuse` have these settings: {judged}. {_flat(Judged)}")
    yield ""
    yield _paragraph(_after_first(Policy))


def prompts() -> Lines:
    """Yields what a prompt consists of."""
    for kind in (fanout.Prompt, Message, fanout.Media, fanout.ToolUse, fanout.History):
        named = ", ".join(a.name for a in fields(kind))
        yield f"* `fanout.{kind.__name__}({named})`"
        yield _paragraph(_flat(kind), "  ", "  ")


def answers() -> Lines:
    """Yields the fields of answers and runs."""
    for kind in (Answer, Run, fanout.Verdict, fanout.Spent, fanout.Source):
        shown = [*(a.name for a in fields(kind)), *(n for n, v in vars(kind).items() if isinstance(v, property))]
        yield _paragraph(f"**{kind.__name__}**: {', '.join(f'`{name}`' for name in shown)}. {_flat(kind)}")
        yield ""


def all_events() -> Lines:
    """Yields the events, with their fields."""
    yield _paragraph(f"A channel gives `Tagged(lane, at, event)`: {_small(_flat(events.Tagged))}")
    yield ""
    kinds: Sequence[Any] = events.Event.__args__
    rows = [
        (
            f"`{kind.__name__}`" if kind.__name__ in fanout.__all__ else f"`events.{kind.__name__}`",
            ", ".join(f"`{a.name}`" for a in fields(kind)),
            "yes" if kind in events.CONTENT else "",
            _flat(kind),
        )
        for kind in kinds
    ]
    yield from table(("event", "fields", "content", "is"), rows)


def all_errors() -> Lines:
    """Yields the errors, as they descend from one another."""
    tree = (errors.__doc__ or "").partition("\n\n")[2].rstrip()
    yield f"```text\n{tree}\n```"
    yield ""
    yield _paragraph(_after_first(ProviderError))
    yield ""
    rows = [
        (f"`{kind.kind}`", f"`{kind.__name__}`", _yes(kind.retryable), _yes(kind.retry_safe))
        for kind in _below(ProviderError)
    ]
    yield from table(("kind", "error in `fanout.errors`", "retryable", "retry_safe"), rows)


def verbs() -> Lines:
    """Yields the verbs of the command."""
    yield from table(("verb", "does"), [(f"`fanout {name}`", says) for name, says in fanout.cli.VERBS.items()])


def flags() -> Lines:
    """Yields the options that all verbs with a prompt share."""

    @click.command()
    @add_choices
    def verb() -> None:
        pass

    rows = [
        (f"`{', '.join([*one.opts, *one.secondary_opts])}{_metavar(one)}`", _help(one))
        for one in verb.params
        if isinstance(one, click.Option)
    ]
    yield from table(("option", "is"), rows)


def codes() -> Lines:
    """Yields the exit codes."""
    yield from table(("code", "means"), [(str(getattr(fanout.cli, name)), says) for name, says in CODES.items()])


def _metavar(one: click.Option) -> str:
    if one.is_flag:
        return ""
    if isinstance(one.type, click.Choice):
        return f" {'|'.join(map(str, one.type.choices))}".replace("|", "\\|")
    return " " + (one.metavar or one.type.name.upper()).replace("|", "\\|")


def _help(one: click.Option) -> str:
    usual = f" Usually {one.default}." if one.show_default else ""
    return f"{one.help}{usual}"


def _argument(one: inspect.Parameter) -> str:
    if one.kind is one.VAR_POSITIONAL:
        return f"*{one.name}"
    if one.kind is one.VAR_KEYWORD:
        return f"**{one.name}"
    return one.name if one.default is one.empty else f"{one.name}={one.default!r}"


def _rows(settings: Mapping[str, Setting]) -> list[tuple[str, str, str]]:
    return [(f"`{name}`", one.form.kind, one.help) for name, one in settings.items()]


def _takes(one: Setting) -> str:
    return one.form.written or one.form.words


def _flat(thing: Any) -> str:
    """A docstring as one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def _after_first(thing: Any) -> str:
    """Returns what a docstring says after its first paragraph, or else the whole."""
    _, _, rest = (inspect.getdoc(thing) or "").partition("\n\n")
    return " ".join(rest.split()) or _flat(thing)


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _paragraph(text: str, first: str = "", later: str = "") -> str:
    return fill(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _below(kind: type[ProviderError]) -> Iterator[type[ProviderError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


def main(given: Sequence[str] | None = None) -> None:
    """Writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page differs")
    options = parser.parse_args(given)
    made = page()
    if not options.check:
        PAGE.write_text(made, "utf-8")
    elif made != PAGE.read_text("utf-8"):
        parser.exit(1, "docs/reference.md is not what the code says: run docs/reference.py\n")


if __name__ == "__main__":
    main()
