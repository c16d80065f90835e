"""The marks of lanes and the signs of what became of requests, defined once for all charts of the page."""

from fanout.bench.report.markup import Markup, tag

MARKS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "M-4.5 -4.5h9v9h-9z",
    "M0 -5.5L5.5 4.5H-5.5z",
    "M0 -6.5L6 0L0 6.5L-6 0z",
    "M0 5.5L5.5 -4.5H-5.5z",
    "M-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
    "M-3 -5.5h6l3 5.5l-3 5.5h-6l-3 -5.5z",
    "M0 -6.5L1.8 -2L6.5 -1.8L2.8 1.2L4 6L0 3.2L-4 6L-2.8 1.2L-6.5 -1.8L-1.8 -2z",
)
"""A shape for each of the colours: whoever cannot tell the colours can tell these."""

SIGNS = {
    "cross": "M-4 -4L4 4M-4 4L4 -4",
    "clock": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0zM0 -2.5V0H2",
    "stop": "M-3.5 -3.5h7v7h-7z",
    "knee": "M-9 0a9 9 0 1 0 18 0a9 9 0 1 0 -18 0z",
}
"""Signs by the names that `charts.drawing.sign` takes."""


def signs() -> Markup:
    """The definitions, which take no room."""
    shapes: list[tuple[str, str, str | None]] = [(f"m{index}", shape, None) for index, shape in enumerate(MARKS)]
    shapes += [(f"s{index}", shape, "scale(.7)") for index, shape in enumerate(MARKS)]
    shapes += [(name, shape, None) for name, shape in SIGNS.items()]
    paths = (tag("path", id=key, d=shape, transform=size) for key, shape, size in shapes)
    return tag("svg", tag("defs", paths), class_="signs", width=0, height=0, aria_hidden="true")
