"""Draws hedging.md's pictures from the results of benchmarks/hedge.py: the tail and the extra load of each rule.

python docs/pictures/hedge.py
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.hedge import middle
from benchmarks.machine import RESULTS

PICTURES = {
    "hedge-p99.svg": (1, "p99 of the time to the first token, in seconds"),
    "hedge-load.svg": (2, "extra requests in 100"),
}
"""The files, the place of their figure among those of a half, and their headings."""

WIDTH, ROW, LEFT, BAR = 760, 40, 270, 420
HEAD = 62

STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.before{fill:#2f81f7}.after{fill:#d29922}"
    ".ours{font-weight:600}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
)


def draw(rules: Mapping[str, Any], place: int, heading: str) -> Iterator[str]:
    """Yields the lines of one picture: for each rule a bar before the service gets slower, and one after."""
    figures = {rule: (values[place], values[place + 3]) for rule, seeds in rules.items() if (values := middle(seeds))}
    longest = max(value for pair in figures.values() for value in pair)
    height = HEAD + ROW * len(figures) + 10
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    yield f"<title>{escape(heading)}, by rule</title><style>{STYLE}</style>"
    yield f'<text class="head" x="10" y="22">{escape(heading)}</text>'
    for x, kind, words in ((LEFT, "before", "before"), (LEFT + 90, "after", "after the service is three times slower")):
        yield f'<rect class="{kind}" x="{x}" y="36" width="12" height="12"/><text x="{x + 18}" y="47">{words}</text>'
    for number, (rule, pair) in enumerate(figures.items()):
        top = HEAD + ROW * number
        ours = ' class="ours"' if rule.startswith("fanout") else ""
        yield f'<text{ours} x="10" y="{top + 20}">{escape(rule)}</text>'
        for row, (kind, value) in enumerate(zip(("before", "after"), pair, strict=True)):
            y, width = top + 3 + 15 * row, BAR * value / longest
            yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="12"/>'
            yield f'<text x="{LEFT + width + 6:.1f}" y="{y + 11}">{value:.{1 if value >= 10 else 2}f}</text>'
    yield "</svg>"


def main(given: Sequence[str] | None = None) -> None:
    """Draws all pictures into a directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    options = parser.parse_args(given)
    rules = json.loads((RESULTS / "hedge.json").read_text("utf-8"))["rules"]
    for name, (place, heading) in PICTURES.items():
        (options.out / name).write_text("\n".join(draw(rules, place, heading)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
