"""Opaque parts as clients carry them: as one text, a signature or encrypted content, which comes back as it was."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from attrs import define, field

from fanout.wire.json_text import encode

_MARK = "fo1_"

HASHED = "sha256:"
"""The beginning of a service's hash, which stands for its address: that is the gateway's own business."""


def hash_of(service: str) -> str:
    """Returns what stands for a service's address."""
    return HASHED + sha256(service.encode()).hexdigest()[:32]


def seal(opaque: Mapping[str, Any], call: str | None = None) -> str:
    """Returns an opaque part as one text; `call` is the id of the tool call that it belongs to."""
    named = {"wire": opaque["wire"], "service": hash_of(opaque["service"]), "model": opaque["model"]}
    body = {**named, "data": opaque["data"], **({"call": call} if call else {})}
    return _MARK + urlsafe_b64encode(encode(body).encode()).decode()


def unseal(text: Any) -> dict[str, Any] | None:
    """Returns what `seal` was given, the service hashed; None for a text that is not ours, or damaged."""
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    try:
        found = orjson.loads(urlsafe_b64decode(text.removeprefix(_MARK)))
    except ValueError:
        return None
    match found:
        case {"wire": str(), "service": str(), "model": str() | None, "data": dict()}:
            return dict(found)
    return None


@define
class Pieces:
    """A text piece by piece, and the number of its characters so far."""

    size: int = 0
    _texts: list[str] = field(factory=list)

    def add(self, text: str) -> None:
        """Takes the next piece."""
        self._texts.append(text)
        self.size += len(text)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._texts)


@define
class Parts:
    """Collects the opaque parts of an assistant's message, which are of one maker: those of others are dropped."""

    _maker: Mapping[str, Any] | None = None
    _parts: list[dict[str, Any]] = field(factory=list)

    def add(self, sealed: Any, text: int, reasoning: int, calls: int) -> None:
        """Takes a part where it stands: behind so many characters of text and reasoning, and so many calls."""
        found = unseal(sealed)
        if found is None:
            return
        data, call = found.pop("data"), found.pop("call", None)
        maker = {name: found[name] for name in ("wire", "service", "model")}
        self._maker = self._maker or maker
        if maker == self._maker:
            place = {"call": call} if call else {"text": text, "reasoning": reasoning, "calls": calls}
            self._parts.append({**place, "data": data})

    @property
    def opaque(self) -> dict[str, Any] | None:
        """All of it, as a Message has it; None where there is nothing."""
        return None if self._maker is None else {**self._maker, "parts": self._parts}
