r"""Model output made safe for a terminal, piece by piece.

A terminal obeys escape sequences: they set its title, write its clipboard, hide or forge text. The sequences are those
of ECMA-48, in the seven-bit form (ESC and a letter) and the eight-bit one (C1, U+0080 to U+009F): ESC and what it
ends with, CSI with its parameters, and the strings OSC, DCS, APC, PM and SOS, which run to BEL, ST or CAN. They are
dropped whole, wherever a stream cuts them. A string that does not end within a bound was none: its text is given back,
so that no answer vanishes behind an opening OSC.

What reorders or hides text without being a control character (bidi embeddings, overrides and isolates, invisible
characters, tags; see CVE-2021-42574) is shown as its escape, such as \u202e. What scripts need to be written stays:
the breaks between words of Khmer and Thai, the marks of direction, Mongolian's vowel separator, the fillers of old
Korean, the variants of Chinese characters.
"""

import re
from collections.abc import Callable
from functools import cache

SEQUENCE_LENGTH = 4096
"""Characters that a sequence may have: hyperlinks and clipboard writes are shorter."""

_INVISIBLE = "\u202a-\u202e\u2061-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
_JOINERS = "\u200c\u200d"
_LINES = "\u2028\u2029"
_SPECIAL = re.compile(f"[\x00-\x08\x0a-\x1f\x7f-\x9f{_INVISIBLE}{_JOINERS}{_LINES}\ud800-\udfff]")
_SHOWN = re.compile(f"[{_INVISIBLE}{_JOINERS}]")
_SPECIALS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_INVISIBLE}{_LINES}\ud800-\udfff]+")
_LONE = re.compile(f"(?<![^\x00-\x9f{_INVISIBLE}{_JOINERS}])[{_JOINERS}]")
"""A joiner that has nothing before it to join."""
_INTRODUCERS = re.compile("[\x1b\x90\x98\x9b\x9d-\x9f]")
_JOINED = re.compile(f"[{_JOINERS}]")
_BEGINNINGS = re.compile("[\x1b\x80-\x9f]")

_CSI, _ST = "\x9b", "\x9c"
_STRINGS = frozenset("\x90\x98\x9d\x9e\x9f")
_CANCEL = "\x18\x1a"

State = Callable[[str], str]


class Sanitiser:
    """Cleans one stream of text: `feed` it pieces cut anywhere, then `close` it."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._held: list[str] = []
        self._size = 0
        self._last = ""

    def feed(self, text: str) -> str:
        """Takes a piece and returns what of it is safe and decided."""
        out: list[str] = []
        position = 0
        while position < len(text):
            if self._state:
                out.append(self._state(text[position]))
                position += 1
                continue
            introducer = _INTRODUCERS.search(text, position)
            end = introducer.start() if introducer else len(text)
            if end > position:
                out.append(self._plain(text[position:end]))
            if introducer:
                out.append(self._ground(text[end]))
            position = end + 1
        return "".join(out)

    def close(self) -> str:
        """The stream is over; returns what was held back in case a string would end."""
        return self._release() if self._held else self._leave()

    def _plain(self, text: str) -> str:
        """Cleans a text in which no sequence begins, outside all sequences: as `_ground` does, a run at a time."""
        before, self._last = self._last, "" if _SHOWN.match(text[-1]) else text[-1]
        if not _SPECIAL.search(text):
            return text
        if before == "\r" and text[0] == "\n":
            text = text[1:]
        if _JOINED.search(text):
            # What is before the text decides on a joiner at its beginning.
            context = before if before > "\x9f" else "\0"
            text = _LONE.sub(lambda lone: _spell(lone[0]), context + text)[1:]
        return _SPECIALS.sub(_clean, text.replace("\r\n", "\n"))

    def _ground(self, character: str) -> str:
        """A character outside all sequences."""
        before, self._last = self._last, character
        if character == "\n":
            return "" if before == "\r" else "\n"
        if character == "\r" or character in _LINES:
            return "\n"
        if "\ud800" <= character <= "\udfff":
            return "\ufffd"  # half a pair can be encoded nowhere
        if character in _JOINERS and before > "\x9f" and before not in _JOINERS:
            return character  # as scripts and emoji use them
        if _SHOWN.match(character):
            self._last = ""
            return _spell(character)
        if character == "\x1b":
            self._enter(self._escape)
        elif character == _CSI:
            self._enter(self._control)
        elif character in _STRINGS:
            self._enter(self._string)
        return ""

    def _escape(self, character: str) -> str:
        """After ESC: a letter of the C1 set in its seven-bit form, or a short sequence of its own."""
        if "@" <= character <= "_" and not self._size:
            self._leave()
            return self._ground(chr(ord(character) + 0x40))
        if " " <= character <= "/":
            return self._count()
        if "0" <= character <= "~":
            return self._leave()
        return self._leave() + self._ground_or(character)

    def _control(self, character: str) -> str:
        """Within CSI: parameters, then one final character."""
        if " " <= character <= "?":
            return self._count()
        if "@" <= character <= "~":
            return self._leave()
        return self._leave() + self._ground_or(character)

    def _string(self, character: str) -> str:
        """Within a string: it is dropped if it ends, given back if it does not."""
        if character in ("\x07", _ST) or character in _CANCEL:
            return self._leave()
        if character == "\x1b":
            self._state = self._string_escape
            return ""
        self._held.append(character)
        return "" if len(self._held) < SEQUENCE_LENGTH else self._release()

    def _string_escape(self, character: str) -> str:
        """ESC within a string: its seven-bit end, or the beginning of something else."""
        self._leave()
        self._enter(self._escape)
        return self._escape(character)

    def _enter(self, state: State) -> None:
        self._state, self._size = state, 0
        self._held.clear()

    def _leave(self) -> str:
        self._state = None
        self._held.clear()
        return ""

    def _count(self) -> str:
        self._size += 1
        return "" if self._size < SEQUENCE_LENGTH else self._leave()

    def _release(self) -> str:
        held = "".join(self._held)
        self._leave()
        # What begins a sequence here is dropped alone: taking it up again would cost a row of introducers its square.
        return "".join(self._ground_or(character) for character in _BEGINNINGS.sub("", held))

    def _ground_or(self, character: str) -> str:
        if _SPECIAL.match(character):
            return self._ground(character)
        self._last = character
        return character


def _spell(character: str) -> str:
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"


def _clean(run: re.Match[str]) -> str:
    return run[0].translate(_table())


@cache
def _table() -> dict[int, str]:
    """Makes the table of what becomes of each special character by itself."""
    controls = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "")
    lines = dict.fromkeys(map(ord, f"\r\n{_LINES}"), "\n")
    halves = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    hidden = filter(_SHOWN.match, map(chr, (*range(0x10000), *range(0xE0000, 0xE1000))))
    return {**controls, **lines, **halves, **{ord(character): _spell(character) for character in hidden}}


def sanitise(text: str) -> str:
    """A whole text, made safe for a terminal."""
    sanitiser = Sanitiser()
    return sanitiser.feed(text) + sanitiser.close()
