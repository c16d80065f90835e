"""The report of a run: one page that needs no script, no network and no other file."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from fanout.bench.analysis.summary import Summary
from fanout.bench.records.record import Record
from fanout.bench.report.markup import Markup, tag
from fanout.bench.report.sections.comparisons import differences, wins
from fanout.bench.report.sections.costs import costs
from fanout.bench.report.sections.definitions import definitions
from fanout.bench.report.sections.digest import digest
from fanout.bench.report.sections.distributions import distributions
from fanout.bench.report.sections.errors import errors
from fanout.bench.report.sections.load import levels, over_time
from fanout.bench.report.sections.origin import clocks, origin
from fanout.bench.report.sections.overview import overview
from fanout.bench.report.sections.policies import policies
from fanout.bench.report.sections.races import races
from fanout.bench.report.sections.requests import requests
from fanout.bench.report.sections.signs import signs
from fanout.bench.report.sections.verdict import verdict
from fanout.bench.report.sections.view import View, lanes_of

LINKS = {
    "overview": "Lanes",
    "distributions": "Distributions",
    "requests": "Requests",
    "load": "Load",
    "time": "Over time",
    "differences": "Differences",
    "errors": "Errors",
    "policies": "Policies",
    "wins": "Wins",
    "races": "Races",
    "cost": "Cost",
    "clocks": "Clocks",
    "definitions": "Definitions",
    "origin": "Command",
}
"""The sections by their anchors, in order."""


def make_page(summary: Summary, records: Sequence[Record], about: Mapping[str, object]) -> str:
    """The page, of a summary and of the records that it sums up, which are read twice and not kept.

    `about` tells of the run: `command` is how to do it again, `start` when it was; whatever else it holds is shown by
    its names (versions, machine).
    """
    names = lanes_of(summary)
    read = digest(records, names, summary.levels[0].level, open_loop=summary.open_loop)
    shown = View(summary, read)
    sections = [
        overview(shown),
        distributions(shown),
        requests(shown),
        levels(shown),
        over_time(shown),
        differences(shown),
        errors(shown),
        policies(shown),
        wins(shown),
        races(shown),
        costs(shown),
        clocks(shown),
        definitions(),
        origin(about),
    ]
    body = tag("body", signs(), verdict(shown, about), _links(sections), tag("main", sections))
    return f"<!doctype html>\n{tag('html', _head(names), body, lang='en')}\n"


def _links(sections: Sequence[Markup]) -> Markup:
    heads = [section[:40] for section in sections if section]
    there = [(key, word) for key, word in LINKS.items() if any(f' id="{key}"' in head for head in heads)]
    return tag("nav", (tag("a", word, href=f"#{key}") for key, word in there), aria_label="Sections")


def _head(names: Sequence[str]) -> Markup:
    style = _style()
    digest_ = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest_}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"fanout bench: {', '.join(names)}"),
        tag("style", style),
    )


@cache
def _style() -> Markup:
    return Markup(files(__package__).joinpath("page.css").read_text("utf-8"))
