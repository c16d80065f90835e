"""SVG and HTML elements as text: whatever is not an element itself is escaped, so that nobody's words become markup."""

import re
from collections.abc import Iterable
from html import escape

# XML 1.0 has no place for these, not even escaped: control characters, lone surrogates, and two that are no characters.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_EMPTY = frozenset({"br", "circle", "col", "line", "link", "meta", "path", "rect", "use"})
"""Elements that are written without an end tag where they have no content."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Iterable["Child"] | None
"""The inside of an element: elements, text that is escaped, several of them, or nothing."""


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. A trailing underscore of an attribute's name is dropped, others are hyphens; None leaves it out."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = join(*children)
    if not inside and name in _EMPTY:
        return Markup(f"<{name}{head}/>")
    return Markup(f"<{name}{head}>{inside}</{name}>")


def join(*children: Child) -> Markup:
    """Elements and text one after the other."""
    return Markup("".join(_texts(children)))


def plain(text: str) -> str:
    """The text with U+FFFD in place of what no XML document may hold."""
    return _NOT_XML.sub("\ufffd", text)


def number(value: float) -> str:
    """A coordinate: at most two decimals, and no more characters than it needs."""
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _texts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(plain(child), quote=False)
        else:
            yield from _texts(child)


def _attribute(value: str | float) -> str:
    return escape(plain(value)) if isinstance(value, str) else number(value)
