"""Questions to a judge about the answers of several lanes: how they are put, and how what it says is read."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from secrets import token_hex
from string import ascii_uppercase
from typing import Any

from attrs import define

from fanout.abc import Policy
from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.policies.race import Race, has_answer
from fanout.prompt import Media, Message, Options, Prompt

MOST_SHOWN = 12_000
"""Characters of an answer that a judge is shown, where nobody says otherwise."""

LEAST_SHOWN = 100

GRACE_SHARE = 0.2
GRACE_LEAST = 0.5
"""The share of the time so far, and the seconds at least, that others still have when enough lanes have answered."""

JUDGE_SHARE = 0.2
"""The share of a deadline that is left to judges."""

LONGEST_VERDICT = 20_000
"""Characters of a verdict that are read: its end, which is where a judge that thinks aloud has come to a word."""

MOST_OBJECTS = 50
"""Places in a verdict at which an object is looked for."""

CRITERIA = "The best answer is right, complete for what was asked, and does what the question says of its form."

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_WORDS = "best|answer|candidate|option|label|response"
_LABEL = re.compile(rf"[\W_]*+(?:(?:{_WORDS})\b[\W_]*+)?([A-Za-z]{{1,2}})[\W_]*+", re.IGNORECASE)


@define(eq=False)
class Question:
    """One question of a run to a judge; once it is put, `labels` are those of the answers that the judge is shown."""

    read: Callable[[Answer, Sequence[str]], Any]
    labels: Sequence[str] = ()

    def accept(self, answer: Answer) -> bool:
        """Takes an answer that can be read. Raises ValueError with the reason for any other."""
        self.read(answer, self.labels)
        return True


def make_judge(plan: Any, question: Question, *, writes: bool = False) -> Policy:
    """Returns the judge `plan` as one that takes only answers that can be read; a fallback goes on to its next lane.

    Whoever `writes` may win by a first word, as its plan says; a verdict is read when it is whole.
    """
    if isinstance(plan, Race) and plan.accept is has_answer:
        judge = copy(plan)
        judge.accept = question.accept
        if not writes:
            judge.win_on("finish")
        return judge
    return Race(plan, accept=question.accept)


def check_judge(plan: Any) -> None:
    """Raises UsageError for a judge that is missing, or that gives no one answer."""
    if plan is None or plan == "":
        raise UsageError("a judge is missing: judge='openai/gpt-5-mini', or any plan that chooses a winner")
    if isinstance(plan, Policy) and not plan.chooses:
        raise UsageError(f"{type(plan).__name__} chooses no winner, so it cannot be a judge")


def make_labels(number: int) -> list[str]:
    """Returns so many labels: A, B and so on, then AA, AB."""
    every = (first + second for first in ("", *ascii_uppercase) for second in ascii_uppercase)
    return [label for label, _ in zip(every, range(number), strict=False)]


def draw_mark(texts: Sequence[str]) -> str:
    """Returns a mark that nobody could guess, and that is in none of the texts."""
    mark = token_hex(8)
    while any(mark in text for text in texts):
        mark = token_hex(8)
    return mark


def show_answer(answer: Answer, most: int) -> str:
    """Returns an answer as a judge is shown it: text, calls of tools and files, cut in the middle where it is long."""
    calls = (f"[calls {call.name}({call.arguments})]" for call in answer.tool_calls)
    files = (f"[file {file.name or file.media_type or ''} {file.url or ''}]" for file in answer.files)
    parts = [answer.text or answer.refusal, *calls, *files]
    return _clean(_cut("\n".join(part for part in parts if part), most))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters are left out here …]\n{text[-half:]}"


def _clean(text: str) -> str:
    """The text without controls and halves of characters, which no wire need take."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()


def show_question(prompt: Prompt) -> str:
    """Returns what the lanes were asked: the text alone, or every message under its role."""
    if len(prompt.messages) == 1:
        return _clean(prompt.messages[0].text)
    return _clean("\n\n".join(f"[{message.role}]\n{_text_of(message)}" for message in prompt.messages))


def _text_of(message: Message) -> str:
    calls = (f"[calls {use.name}({use.arguments})]" for use in message.tool_uses)
    return "\n".join(part for part in (message.text, *calls) if part)


def put_question(  # all that a prompt is made of
    form: str, prompt: Prompt, shown: Sequence[str], criteria: str | None, options: Options, mark: str = ""
) -> Prompt:
    """Returns the prompt for a judge: the rules of the file `form`, then the question and the answers as material.

    The answers are `shown` under their labels. `mark` is drawn where none is given.
    """
    question, labels = show_question(prompt), make_labels(len(shown))
    mark = mark or draw_mark([question, *shown])
    rules = _read_form(form).format(mark=mark, criteria=criteria or CRITERIA, labels=", ".join(labels))
    blocks = [("question", question), *((f"answer {label}", text) for label, text in zip(labels, shown, strict=True))]
    text = "\n\n".join(f">>> {name} begins {mark}\n{body}\n>>> {name} ends {mark}" for name, body in blocks)
    media: tuple[Media, ...] = tuple(one for message in prompt.messages for one in message.media)
    return Prompt((Message("system", rules), Message("user", text, media)), options)


@cache
def _read_form(name: str) -> str:
    return Path(__file__).with_name(f"{name}.txt").read_text("utf-8").strip()


def verdict_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Returns the JSON schema of a verdict on the answers of these labels."""
    return {
        "type": "object",
        "properties": {"best": {"type": "string", "enum": list(labels)}, "why": {"type": "string"}},
        "required": ["best", "why"],
        "additionalProperties": False,
    }


def read_verdict(answer: Answer, labels: Sequence[str]) -> tuple[str, str]:
    """Returns the label that a judge named, and why. Raises ValueError, which says why it named none."""
    text = answer.text[-LONGEST_VERDICT:].strip()
    if not text:
        raise ValueError("the judge refused" if answer.refusal else "the judge gave no verdict")
    named = [(found["best"], found.get("why", "")) for found in find_objects(text) if "best" in found]
    if not named and "{" not in text and (alone := _LABEL.fullmatch(text)):
        named = [(alone[1], "")]
    if not named:
        raise ValueError(f"the judge's verdict names no answer: {text[:80]!r}")
    picked = {_read_label(label): why if isinstance(why, str) else "" for label, why in named}
    if len(picked) > 1:
        raise ValueError(f"the judge named several answers: {', '.join(picked)}")
    [(label, why)] = picked.items()
    if label not in labels:
        raise ValueError(f"the judge named {label}, and there are {', '.join(labels)}")
    return label, why


def _read_label(value: Any) -> str:
    found = _LABEL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"the judge's verdict names no answer: {value!r:.80}")
    return found[1].upper()


def find_objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Yields the JSON objects in a text, whatever stands around them; one with the same name twice is none."""
    decoder, at = json.JSONDecoder(object_pairs_hook=_check_names), 0
    for _ in range(MOST_OBJECTS):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
        else:
            yield found


def _check_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)
