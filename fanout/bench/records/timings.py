"""The timings of its own work that llama.cpp or Ollama sends at the end of an answer."""

import re
from collections.abc import Iterator

TIMING_MARKS = (b'"timings"', b'_duration"')
"""A read with timings holds one of these."""

_NUMBER = rb'"%b"\s*:\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\b'
_FIELDS = {
    field: (re.compile(_NUMBER % field.encode()), name, unit)
    for field, (name, unit) in {
        "prompt_ms": ("prompt", 1e-3),
        "predicted_per_token_ms": ("token", 1e-3),
        "prompt_eval_duration": ("prompt", 1e-9),
        "eval_duration": ("all tokens", 1e-9),
        "eval_count": ("tokens", 1.0),
        "total_duration": ("total", 1e-9),
    }.items()
}


def read_timings(read: bytes) -> Iterator[tuple[str, float]]:
    """Yields the service's timings in the bytes of one read, in seconds: `prompt`, `token` (each) and `total`.

    Sources: `timings` of llama.cpp (tools/server), and the last line of Ollama's /api/chat (docs/api.md), which counts
    nanoseconds, and those of all tokens together.
    """
    found = {name: float(match[1]) * unit for form, name, unit in _FIELDS.values() if (match := form.search(read))}
    count, took = found.pop("tokens", 0.0), found.pop("all tokens", None)
    if took is not None and count > 0:
        found["token"] = took / count
    yield from found.items()
