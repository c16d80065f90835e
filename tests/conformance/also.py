"""Compares what a case expects beside the keys of `expect`: files, sources, notes, and the outcome of a lane."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.conformance.cases import Case

Got = Mapping[str, Any]


def misses(case: Case, got: Got) -> Iterator[str]:
    """Yields what of `also` does not hold, one sentence each; a key that is not known does not."""
    for key, want in case.also.items():
        if key == "lane":
            yield from _misses_of_lane(want, got)
        elif key not in _COMPARISONS:
            yield f"also: no such key: {key}"
        elif not _COMPARISONS[key](want, got):
            yield f"{key}: expected {want}, got {_shown(key, got)}"


def _misses_of_lane(want: str | Mapping[str, Any], got: Got) -> Iterator[str]:
    """Words about a lane are for the reader; keys are compared with what a lane made of the case, if one ran."""
    if isinstance(want, str):
        return
    unknown = want.keys() - _OUTCOMES.keys()
    if unknown:
        yield f"lane: no such key: {', '.join(sorted(unknown))}"
    elif "lane" in got:
        for key, value in want.items():
            if not _OUTCOMES[key](value, got["lane"]):
                yield f"lane: expected {key} {value}, got {got['lane']}"


def _are_rows(want: Any, got: Any) -> bool:
    """True if there are as many rows, each with what is listed of it; an id that is null may be any."""
    return len(want) == len(got) and all(
        key in have and (have[key] == value or (key == "id" and value is None))
        for row, have in zip(want, got, strict=True)
        for key, value in row.items()
    )


def _are_notes(want: Any, got: Got) -> bool:
    """True if each of the words stands in a note; without words, if there is no note."""
    notes = got.get("notes", ())
    return all(any(words in note for note in notes) for words in want) if want else not notes


def _message(got: Got) -> str:
    return str(got.get("message") or "")


_COMPARISONS: Mapping[str, Callable[[Any, Got], bool]] = {
    "files": lambda want, got: _are_rows(want, got.get("files", ())),
    "sources": lambda want, got: bool(want == got.get("sources", [])),
    "tool_calls_raw": lambda want, got: _are_rows(want, got.get("tool_calls", ())),
    "message_has": lambda want, got: all(words in _message(got) for words in want),
    "message_lacks": lambda want, got: not any(words in _message(got) for words in want),
    "notes": _are_notes,
}
"""By key of `also`: whether what is wanted holds."""

_OUTCOMES: Mapping[str, Callable[[Any, Got], bool]] = {
    "requests": lambda want, lane: bool(want == lane["requests"]),
    "status": lambda want, lane: bool(want == lane["status"]),
    "answered": lambda want, lane: want is lane["answered"],
    "estimated": lambda want, lane: want is lane["estimated"],
    "usage": lambda want, lane: want.items() <= lane["usage"].items(),
    "output_at_least": lambda want, lane: (lane["usage"].get("output") or 0) >= want,
    "elapsed_at_most": lambda want, lane: bool(lane["elapsed"] <= want),
}
"""By key of a lane's outcome, in the same way. `usage` is the answer's, counted or estimated; times are in seconds."""


def _shown(key: str, got: Got) -> Any:
    name = {"tool_calls_raw": "tool_calls", "message_has": "message", "message_lacks": "message"}.get(key, key)
    return got.get(name)
