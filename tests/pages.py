"""Pages in Markdown, taken apart for the tests of what they show, and their snippets run."""

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

ROOT = Path(__file__).parent.parent
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")})
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^][]*(?:\[[^][]*\])?[^][]*\]\(([^()\s]+)\)")


@frozen
class Block:
    """A fenced block: its language, its text, the heading that it stands under, and the output that follows it."""

    kind: str
    text: str
    heading: str
    line: int
    output: str | None = None


def blocks(path: Path) -> list[Block]:
    """Returns the fenced blocks of a page. A block of text with nothing between is the output of the one before."""
    page = path.read_text("utf-8")
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(page):
        kind, text = fence.groups()
        if kind == "text" and found and not page[end : fence.start()].strip():
            before = found.pop()
            found.append(Block(before.kind, before.text, before.heading, before.line, text))
        else:
            headings = _HEADING.findall(_without_blocks(page[: fence.start()]))
            line = page.count("\n", 0, fence.start()) + 1
            found.append(Block(kind, text, headings[-1] if headings else "", line))
        end = fence.end()
    return found


def _without_blocks(page: str) -> str:
    return _FENCE.sub("", page)


def anchors(path: Path) -> set[str]:
    """Returns the anchors that GitHub makes of a page's headings."""
    names = [_anchor(heading) for heading in _HEADING.findall(_without_blocks(path.read_text("utf-8")))]
    return {name if not names[:i].count(name) else f"{name}-{names[:i].count(name)}" for i, name in enumerate(names)}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links(path: Path) -> list[str]:
    """Returns the targets of a page's links and pictures."""
    return _LINK.findall(_without_blocks(path.read_text("utf-8")))


def code_words(path: Path) -> Iterator[str]:
    """Yields what stands between single backticks."""
    for span in re.findall(r"`([^`\n]+)`", _without_blocks(path.read_text("utf-8"))):
        yield from span.split()


async def run_python(code: str, space: dict[str, Any]) -> str:
    """Runs Python that may have `await` outside of functions, as `python -m trio` does; returns what it printed.

    What has none may bring a loop of its own, or wait: it runs in a thread, beside the servers that it asks.
    """
    printed = StringIO()
    compiled = compile(code.replace("trio.run(main)", "await main()"), "<page>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with redirect_stdout(printed):
        if compiled.co_flags & inspect.CO_COROUTINE:
            await eval(compiled, space)
        else:
            await trio.to_thread.run_sync(eval, compiled, space)
    return printed.getvalue()


def plain(output: str) -> str:
    """Returns an output without what differs from run to run: times, rates, and the spaces that align them."""
    output = re.sub(r"[\d.]+(-[\d.]+)? m?s\b", "0 s", output)
    output = re.sub(r"\d+\.\d+", "0.0", output)
    return "\n".join(re.sub(r" {2,}", "  ", line).strip() for line in output.splitlines()).strip()
