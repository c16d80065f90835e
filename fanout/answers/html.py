"""Answers as columns of HTML, for notebooks: all that a service said is text in them, never markup."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanout.answers import Answer

_COLUMN = "flex:1 1 16em;min-width:0;border:1px solid #8888;border-radius:4px;padding:.5em;color:inherit"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow-y:auto;margin:.4em 0 0"
_KEPT = "\n\t\u00a0\u200c\u200d\ufe0f"
"""Spaces, and the joiners of Persian words and of emoji, which Python does not count as printable."""
_FAINT = "opacity:.7;font-size:85%"


def draw_columns(answers: "Sequence[Answer]", winner: str | None = None) -> str:
    """Returns the answers side by side, the lane `winner` marked. No script, no picture, no link: nothing is loaded."""
    columns = "".join(_draw(answer, wins=answer.lane == winner) for answer in answers)
    return f'<div style="display:flex;flex-wrap:wrap;gap:.5em;align-items:flex-start">{columns}</div>'


def _draw(answer: "Answer", *, wins: bool) -> str:
    border = ";border-color:#2a8;border-width:2px" if wins else ""
    parts = [
        f"<b>{_clean(answer.lane)}</b>{' has won' if wins else ''}",
        f'<div style="{_FAINT}">{_tell(answer)}</div>',
    ]
    if answer.reasoning:
        parts.append(f'<div style="{_TEXT};{_FAINT}">{_clean(answer.reasoning)}</div>')
    if said := answer.text or answer.refusal:
        parts.append(f'<div style="{_TEXT}">{_clean(said)}</div>')
    calls = [f"{_clean(call.name)}({_clean(call.arguments)})" for call in answer.tool_calls]
    parts += [f'<div style="{_TEXT}"><code>{call}</code></div>' for call in calls]
    if answer.error is not None:
        parts.append(f'<div style="{_TEXT};color:#c33">{_clean(str(answer.error))}</div>')
    return f'<div style="{_COLUMN}{border}">{"".join(parts)}</div>'


def _tell(answer: "Answer") -> str:
    """The state of the lane and its times."""
    told = [str(answer.status or ("runs" if answer.chunks else "waits"))]
    if answer.ttft is not None:
        told.append(f"TTFT {answer.ttft:.2f} s")
    if answer.elapsed is not None:
        told.append(f"{answer.elapsed:.2f} s")
    if answer.tokens:
        told.append(f"{answer.tokens} tok")
    if answer.cost is not None:
        told.append(f"${answer.cost:.4f}")
    return escape(" · ".join(told))


def _clean(text: str) -> str:
    """Escapes `text`, without controls: they show nothing, and some turn the direction of a line around."""
    return escape("".join(c for c in text if c.isprintable() or c in _KEPT))
