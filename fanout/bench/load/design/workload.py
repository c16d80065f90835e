"""The prompts of a load: built in, made up to a length, or read from files; and the marks that make each unique."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import chain
from math import isfinite
from random import Random
from typing import Any

import orjson
from attrs import evolve, field, frozen

from fanout.errors import UsageError
from fanout.prompt import Prompt
from fanout.storage.places import expand_home

BUILT_IN = ("short", "code", "reasoning")
"""The built-in sets, each a file in prompts/ with a prompt a line."""

SYNTHETIC = 64
"""Prompts of one length that are made up; fewer of very long ones."""

MOST_TOKENS = 2_000_000
"""Tokens of a prompt that is made up, or of an answer."""

CSV_FIELD_CHARACTERS = 2_000_000
"""Characters of a field of CSV."""

_TEXTS = ("prompt", "text", "question", "instruction", "input")
_BOUNDS = ("max_tokens", "output_length", "output_tokens", "generatedtokens", "response tokens")
_LENGTHS = ("input_length", "input_tokens", "contexttokens", "request tokens")
_TIMES = ("timestamp", "time", "at")
"""The names of columns and fields in files, in the order of preference; compared in lower case."""


@frozen
class Item:
    """One prompt; `max_tokens` bounds its answer, if the workload has a bound."""

    prompt: Prompt
    max_tokens: int | None = None


@frozen
class Workload:
    """The prompts of a load, asked in turn from the first on. `source` names their origin, for people.

    `at` are the planned starts of a trace, in seconds after the first.
    """

    source: str
    items: Sequence[Item] = field(repr=False)
    at: Sequence[float] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, texts: Sequence[str], system: str | None = None) -> "Workload":
        """A workload of these prompts. Raises UsageError if there is none."""
        if not texts:
            raise UsageError("prompts is an empty list")
        return cls(f"a list of {len(texts)}", [Item(Prompt.of(text, system)) for text in texts])

    def item(self, number: int) -> Item:
        """The prompt with this number, counted from 0; after the last comes the first again."""
        return self.items[number % len(self.items)]

    @property
    def fingerprint(self) -> str:
        """A hash of prompts and bounds: only results with equal ones can be compared."""
        texts = (f"{message.role}:{message.text}" for item in self.items for message in item.prompt.messages)
        bounds = (str(item.max_tokens) for item in self.items)
        return sha256("\0".join(chain(texts, bounds)).encode()).hexdigest()[:16]


def mark_unique(prompt: Prompt, salt: str) -> Prompt:
    """Puts a mark before the prompt that no other request has, so that no service has it in a cache.

    All marks have one form and one length, so that they cost the same number of tokens.
    """
    digits = f"{int(sha256(salt.encode()).hexdigest(), 16) % 10**12:012}"
    mark = " ".join(digits[i : i + 3] for i in range(0, 12, 3))
    first, *rest = prompt.messages
    return evolve(prompt, messages=(evolve(first, text=f"[{mark}] {first.text}"), *rest))


def _empty() -> bytes:
    return b""


def load_prompts(
    source: str, *, system: str | None = None, seed: int = 0, read_stdin: Callable[[], bytes] = _empty
) -> Workload:
    """Loads what `source` names: builtin:NAME, synthetic:INPUT,OUTPUT (tokens), a file, or - for `read_stdin`.

    A file is JSON lines (prompt or messages, max_tokens), CSV with such columns, or text with a prompt a line. Raises
    UsageError.
    """
    kind, _, rest = source.partition(":")
    if kind == "builtin":
        if rest not in BUILT_IN:
            raise UsageError(f"--prompts {source}: the built-in sets are {', '.join(BUILT_IN)}")
        return Workload(source, _from_lines(_own(rest), system))
    if kind == "synthetic":
        given, bound = _two_lengths(source, rest)
        number = max(4, min(SYNTHETIC, MOST_TOKENS // given))
        return Workload(source, [_make(given, bound, f"{seed}:{i}", system) for i in range(number)])
    name = "standard input" if source == "-" else source
    items = _read(_decode(name, read_stdin() if source == "-" else _bytes(source)), name, system)
    if not items:
        raise UsageError(f"--prompts {source}: there is no prompt in it")
    return Workload(name, items)


def load_trace(path: str, *, usual: Workload, system: str | None = None, seed: int = 0) -> Workload:
    """Loads the times of a trace: JSON lines or CSV with a timestamp (milliseconds, seconds or a date).

    Prompts are the trace's own, or made up to its lengths, or else those of `usual`. Raises UsageError.
    """
    text = _decode(path, _bytes(path))
    _refuse_array(text, path)
    rows = _rows(text, path)
    if not rows:
        raise UsageError(f"--trace {path}: there is no request in it")
    times = [_moment(row, path, number) for number, row in enumerate(rows, 1)]
    order = sorted(range(len(rows)), key=times.__getitem__)
    items = []
    for place, number in enumerate(order):
        row = rows[number]
        length = _whole(_first_of(row, _LENGTHS), f"{path}: request {number + 1}")
        bound = _whole(_first_of(row, _BOUNDS), f"{path}: request {number + 1}")
        if _first_of(row, ("messages", *_TEXTS)) is not None:
            items.append(_item(row, f"{path}: request {number + 1}", system))
        elif length is not None:
            items.append(_make(length, bound, f"{seed}:{number}", system))
        else:
            items.append(evolve(usual.item(place), max_tokens=bound or usual.item(place).max_tokens))
    return Workload(path, items, [times[number] - times[order[0]] for number in order])


def _bytes(source: str) -> bytes:
    try:
        return expand_home(source).read_bytes()
    except OSError as error:
        kinds = "a file, builtin:NAME, synthetic:INPUT,OUTPUT or -"
        raise UsageError(f"cannot read {source}: {error.strerror}; give {kinds}") from None


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not text in UTF-8") from None


def _refuse_array(text: str, name: str) -> None:
    """Raises UsageError for a JSON array, which would pass for a prompt, or for the head of a table."""
    if text.lstrip().startswith("["):
        try:
            orjson.loads(text)
        except ValueError:
            return
        raise UsageError(f"{name} is a JSON array; write an object a line instead (jq -c '.[]' does), or plain text")


def _read(text: str, name: str, system: str | None) -> list[Item]:
    _refuse_array(text, name)
    if text.lstrip().startswith("{") or name.lower().endswith(".csv"):
        return [_item(row, f"{name}: prompt {number}", system) for number, row in enumerate(_rows(text, name), 1)]
    return _from_lines(text, system)


def _rows(text: str, name: str) -> list[Mapping[str, Any]]:
    """The objects of JSON lines, or the rows of a CSV file, with their names in lower case."""
    if not text.lstrip().startswith("{"):
        return _table(text, name)
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except ValueError as error:
            raise UsageError(f"{name}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{name}, line {number}: a line is an object with a prompt, not {line[:40]!r}")
        rows.append({key.lower(): value for key, value in row.items()})
    return rows


def _table(text: str, name: str) -> list[Mapping[str, Any]]:
    table = csv.DictReader(io.StringIO(text, newline=""))
    before = csv.field_size_limit(CSV_FIELD_CHARACTERS)
    try:
        return [{key.strip().lower(): value for key, value in row.items() if key and value} for row in table]
    except csv.Error as error:
        raise UsageError(f"{name}, line {table.line_num} is not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _from_lines(text: str, system: str | None) -> list[Item]:
    return [Item(Prompt.of(line.strip(), system)) for line in text.split("\n") if line.strip()]


def _item(row: Mapping[str, Any], where: str, system: str | None) -> Item:
    asked = _first_of(row, ("messages", *_TEXTS))
    if asked is None:
        raise UsageError(f"{where} has neither {', '.join(_TEXTS)} nor messages, but {', '.join(row) or 'nothing'}")
    if not isinstance(asked, list):
        asked = str(asked)
    try:
        return Item(Prompt.of(asked, system), _whole(_first_of(row, _BOUNDS), where))
    except (UsageError, AttributeError, LookupError, TypeError) as error:  # messages may hold anything
        raise UsageError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None


def _first_of(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _whole(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if not 1 <= number <= MOST_TOKENS:
        raise UsageError(f"{where}: a number of tokens is a whole number from 1 to {MOST_TOKENS}, not {value!r:.80}")
    return number


def _moment(row: Mapping[str, Any], path: str, number: int) -> float:
    """The start of a request of a trace, in seconds. A JSON timestamp that is a whole number is in milliseconds."""
    value = _first_of(row, _TIMES)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000 if isinstance(row.get("timestamp"), int) else float(value)
    for parse in (float, _date):
        try:
            moment = parse(str(value))
        except ValueError:
            continue
        if isfinite(moment):
            return moment
    raise UsageError(f"{path}: request {number} needs a {' or '.join(_TIMES)} in seconds or as a date, not {value!r}")


def _date(text: str) -> float:
    return datetime.fromisoformat(text[:26]).timestamp()


def _two_lengths(source: str, text: str) -> tuple[int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and part.strip("0") for part in parts):
        raise UsageError(f"--prompts {source}: write synthetic:INPUT,OUTPUT in tokens, such as synthetic:500,100")
    # int() refuses texts of thousands of digits with an error of its own.
    if any(len(part) > len(str(MOST_TOKENS)) or int(part) > MOST_TOKENS for part in parts):
        raise UsageError(f"--prompts {source:.80}: a prompt and its answer have at most {MOST_TOKENS} tokens each")
    return int(parts[0]), int(parts[1])


@cache
def _words() -> tuple[str, ...]:
    """Words that are one token each in the vocabularies of 2026."""
    return tuple(_own("words").split())


def _own(name: str) -> str:
    return (files(__package__) / "prompts" / f"{name}.txt").read_text("utf-8")


def _make(tokens: int, bound: int | None, seed: str, system: str | None) -> Item:
    """Makes a prompt of about so many tokens, of common words at random. Each record has the service's own count."""
    random = Random(seed)  # noqa: S311  # a text, not a secret
    words = random.choices(_words(), k=max(1, tokens - 8))
    return Item(Prompt.of(f"Go on with this text: {' '.join(words)}", system), bound)
