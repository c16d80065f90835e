"""The lane's secrets taken out of everything that a service sends back, save what the model itself says.

Services repeat keys: in errors, in request ids, in headers, in the names of files. A secret is looked for as it is, in
the codings in which programs quote it (percent, JSON, HTML, base64, hexadecimal, also in mixtures), and where an
excerpt has cut off its beginning or end. The model's own words (texts, reasoning, arguments of tool calls, the bytes
of files) are left as they came: a piece of them holds a piece of a secret at most, and to hold pieces back would delay
every answer. What is opaque in an answer goes back to its service byte for byte, so it is either left as it is or, with
a secret in it, left out as a whole.
"""

import re
from binascii import b2a_base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from attrs import evolve, fields

from fanout.credentials.secret import Secret
from fanout.errors import ProviderError
from fanout.events import Delta, End, Event, Reasoning, Refusal, Replace, Source, Started, ToolCall, Usage

SHORTEST = 8
"""Characters that a secret has at least to be looked for: to blank a short word would maim any text."""

LONGEST_ESCAPED = 16384
"""Characters of a text of which escapes are undone: no excerpt, identifier or header is longer."""

DEEPEST = 32
"""Levels of an event's data that are looked into; what lies deeper is left out."""

BLANK = "***"

_UNTOUCHED: frozenset[type] = frozenset({Delta, Reasoning, Refusal, Replace, Started, Usage})
"""The kinds of events that hold the model's words or our own numbers; only a Reasoning may have more, in `opaque`."""

_PLAIN = _UNTOUCHED - {Reasoning}

_MODELS_OWN = {"arguments", "data", "fetch", "opaque"}
"""The fields of other events that stay as they are: the model's words, and requests, whose secrets are Secrets."""

_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ESCAPE = (  # compiled with the first text that has one: a start need not wait for it
    r"%([0-9a-fA-F]{2})|\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|&#[xX]0{0,6}([0-9a-fA-F]{2});"
    r"|&#0{0,6}([0-9]{2,3});|&(amp|lt|gt|quot|apos);|\\(.)"
)
_CUT_BEHIND = r"(?:&[#\w]{0,9}|%(?:25)*[0-9a-fA-F]?|\\+(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?)?)\Z"
_CUT_BEFORE = r"\A[#\w]{0,9};|\A(?:u?[0-9a-fA-F]{1,4}|x[0-9a-fA-F]{2})(?=[%\\])"
_CODED = r"(?:%(?:25)*{0:02x}|\\+u00{0:02x}|\\+x{0:02x}|&#x0*{0:02x};|&#0*{0};)"


def scrub(error: ProviderError, values: Iterable[object]) -> None:
    """Takes the Secrets among `values` out of an error: its message and its request's id.

    An error that repeats one also loses its traceback and its causes, whose frames hold the same text.
    """
    Scrubber(values).scrub_error(error)


class Scrubber:
    """Looks for some Secrets; other values are ignored."""

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._count = -1
        # Secrets again, so that nothing shows them that shows this object.
        self._words: list[Secret] = []
        self._forms: list[Secret] = []
        self._probes = Secret("")
        self._learn(list(values))

    def __repr__(self) -> str:
        return f"<Scrubber of {len(self._words)} words>"

    def scrub_events(self, events: list[Event], secrets: Collection[Secret]) -> list[Event]:
        """Returns the events of one read without `secrets`, which may only have grown since the last call.

        Errors among them are changed in place. Nothing is done per piece of text.
        """
        if _PLAIN.issuperset(map(type, events)) or not any(map(_is_looked_into, events)):
            return events
        if len(secrets) != self._count:
            self._learn(secrets)
        return [self._scrub_event(event) for event in events]

    def scrub_error(self, error: ProviderError) -> None:
        """Does what `scrub` does."""
        message, request_id = self.scrub_text(error.message), error.request_id and self.scrub_text(error.request_id)
        if (message, request_id) != (error.message, error.request_id):
            error.message, error.request_id = message, request_id
            error.args = (message, *error.args[1:])
            error.__cause__ = error.__context__ = error.__traceback__ = None

    def scrub_text(self, text: str) -> str:
        """Returns the text with *** in place of each secret."""
        if self._is_suspect(text):
            for form in map(Secret.reveal, self._forms):
                text = text.replace(form, BLANK)
                text = "…".join(_without_part(part, form) for part in text.split("…"))
        return self._without_escaped(text) if _has_escapes(text) else text

    def _is_suspect(self, text: str) -> bool:
        for probe in self._probes.reveal().split("\0"):  # in full: with `any` it takes half as long again
            if probe in text:
                return bool(probe)
        return False

    def _learn(self, values: Collection[object]) -> None:
        self._count = len(values)
        secrets = (value.reveal() for value in values if isinstance(value, Secret))
        words = sorted({word for secret in secrets for word in _words(secret)}, key=len, reverse=True)
        forms = dict.fromkeys(form for word in words for form in _forms(word))
        self._words, self._forms = list(map(Secret, words)), list(map(Secret, forms))
        # What holds a form, or the part of one that an excerpt has left, holds one of these.
        self._probes = Secret("\0".join(dict.fromkeys(end for f in forms for end in (f[:SHORTEST], f[-SHORTEST:]))))

    def _scrub_event(self, event: Event) -> Event:
        kind = type(event)
        if not _is_looked_into(event):
            return event
        if not self._words or (isinstance(event, End) and self._is_plain(event)):
            return event
        changed: dict[str, Any] = {}
        own = _MODELS_OWN if kind is not Reasoning else {*_MODELS_OWN, "text"}
        for name in (field.name for field in fields(kind) if field.name not in own):
            value = getattr(event, name)
            if isinstance(value, ProviderError):
                self.scrub_error(value)
            elif (clean := self._scrub_value(value)) != value:
                changed[name] = clean
        if isinstance(event, Reasoning | ToolCall) and self._scrub_value(event.opaque) != event.opaque:
            changed["opaque"] = None
        return evolve(event, **changed) if changed else event

    def _is_plain(self, end: End) -> bool:
        """True if one look tells that there is no secret in it: every lane has an End, and hardly one repeats a key."""
        words = (end.finish_reason, end.raw, end.model, end.request_id, *end.headers, *end.headers.values(), *end.notes)
        text = "\n".join(filter(None, words))
        return end.error is None and not self._is_suspect(text) and not _has_escapes(text)

    def _scrub_value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            # A member of an enum is a word of ours.
            return self.scrub_text(value) if type(value) is str and len(value) >= SHORTEST else value
        if depth > DEEPEST:
            return None
        if isinstance(value, Mapping):
            return {self._scrub_value(k): self._scrub_value(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._scrub_value(item, depth + 1) for item in value)
        if isinstance(value, Source):
            title = value.title and self._scrub_value(value.title)
            return Source(self._scrub_value(value.url), title)
        return value

    def _without_escaped(self, text: str) -> str:
        begun = _unescape(text[:LONGEST_ESCAPED])
        for word in (secret.reveal() for secret in self._words):
            if any(word in plain for plain in begun):
                # Compiled where a service has repeated a secret in disguise, and never else.
                text = re.sub("".join(map(_any_coding, word)), BLANK, text)
                if any(word in plain for plain in _unescape(text[:LONGEST_ESCAPED])):
                    return BLANK  # coded more than once, in ways that no pattern follows
            text = "…".join(BLANK if _holds_escaped_part(part, word) else part for part in text.split("…"))
        return text


def _is_looked_into(event: Event) -> bool:
    """False for an event in which a secret is not looked for."""
    if isinstance(event, Reasoning):
        return event.opaque is not None
    if isinstance(event, ToolCall):
        return bool(event.id or event.name or event.opaque)
    return type(event) not in _UNTOUCHED


def _words(secret: str) -> Iterator[str]:
    """Yields the parts of a secret that a service may repeat alone: a scheme's credentials, a cookie's value."""
    for part in secret.split("; "):
        name, mark, value = part.partition("=")
        parts = (part, value) if mark and re.fullmatch(r"[\w.-]+", name) and ";" in secret else (part,)
        for whole in parts:
            word = whole.rpartition(" ")[2].strip('"')  # without the scheme, as in "Bearer …"
            for said in {word, unquote(word)}:
                if len(said) >= SHORTEST:
                    yield said


def _forms(word: str) -> Iterator[str]:
    """Yields the word as it is, and in the codings in which one search finds it."""
    yield word
    quoted = quote(word, safe="")
    if quoted != word:
        yield quoted
    data = word.encode("utf-8", "surrogatepass")
    for before in range(3):
        # Within longer data a word stands in three ways, of which its own bytes alone decide all but the ends.
        coded = b2a_base64(bytes(before) + data, newline=False).decode()
        coded = coded[-(-8 * before // 6) : (before + len(data)) * 8 // 6]
        yield coded
        if "+" in coded or "/" in coded:
            yield coded.replace("+", "-").replace("/", "_")
    yield data.hex()
    yield data.hex().upper()


def _without_part(text: str, word: str) -> str:
    """The text without a beginning of the word at its end, or an end of it at its beginning, of SHORTEST characters."""
    at = text.find(word[:SHORTEST], max(0, len(text) - len(word)))
    while at >= 0:
        if word.startswith(text[at:]):
            text = f"{text[:at]}{BLANK}"
            break
        at = text.find(word[:SHORTEST], at + 1)
    end = text.rfind(word[-SHORTEST:], 0, len(word))
    while end >= 0:
        if word.endswith(text[: end + SHORTEST]):
            return f"{BLANK}{text[end + SHORTEST :]}"
        end = text.rfind(word[-SHORTEST:], 0, end + SHORTEST - 1)
    return text


def _holds_escaped_part(text: str, word: str) -> bool:
    """True if a coded beginning of the word is at the text's end, or a coded end at its beginning.

    The cut may have gone through an escape; what is left of that one is not looked at.
    """
    last, first = text[-LONGEST_ESCAPED:], text[:LONGEST_ESCAPED]
    cut = (last, re.sub(_CUT_BEHIND, "", last), first, re.sub(_CUT_BEFORE, "", first))
    return any(_without_part(plain, word) != plain for each in cut for plain in _unescape(each))


def _has_escapes(text: str) -> bool:
    return "%" in text or "\\" in text or "&" in text


def _unescape(text: str) -> Sequence[str]:
    """Returns the text with escapes undone once, twice and three times, as long as there are any."""
    found: list[str] = []
    while len(found) < 3 and (plain := re.sub(_ESCAPE, _character, text)) != text:
        found.append(text := plain)
    return found


def _character(match: re.Match[str]) -> str:
    percent, long, short, base16, base10, name, itself = match.groups()
    if name or itself:
        return _NAMED[name] if name else itself
    return chr(int(base10) if base10 else int(percent or long or short or base16, 16))


def _any_coding(character: str) -> str:
    coded = _CODED.format(ord(character)) if ord(character) < 256 else "(?!)"
    named = next((f"|&(?:amp;)*{name};" for name, said in _NAMED.items() if said == character), "")
    return rf"(?:\\*{re.escape(character)}|(?i:{coded}){named})"
