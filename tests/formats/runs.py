"""A run with one lane of each fate, for golden texts."""

from fanout.answers import Answer, Run, Wasted
from fanout.errors import AuthError, RateLimited, TimedOut
from fanout.events import Delta, End, Reasoning, Started, Status, Tagged, Usage

WON = Answer(
    lane="a",
    provider="p",
    model="m",
    status=Status.FINISHED,
    text="Blue.\nVery.",
    usage=Usage(input=3, output=11),
    finish_reason="stop",
    ttft=0.25,
    itl=0.1,
    elapsed=1.25,
    chunks=5,
)
LOST = Answer(lane="b", status=Status.CANCELLED, text="Because", ttft=0.5, elapsed=1.25, chunks=1)
FAILED = Answer(lane="c", status=Status.FAILED, error=AuthError("no key: set C_KEY", status=401), elapsed=0.1)
LATE = Answer(lane="d", status=Status.TIMED_OUT, error=TimedOut("no content within 1 s", clock="first"), elapsed=1.0)

RUN = Run(answers=(WON, LOST, FAILED, LATE), winner=WON, wasted=Wasted.of([LOST]), elapsed=1.25, kept=(WON,))
NOBODY = Run(answers=(FAILED, LATE), winner=None, wasted=Wasted(), elapsed=1.0)
LIMITED = RateLimited("slow\x1b[31m\ndown", status=429, retry_after=12)

EVENTS = [
    Tagged("a", 0.0, Started()),
    Tagged("b", 0.0, Started()),
    Tagged("b", 0.1, Reasoning("Hm")),
    Tagged("a", 0.25, Delta("Blue.")),
    Tagged("a", 1.25, Usage(input=3, output=11)),
    Tagged("a", 1.25, End(Status.FINISHED, finish_reason="stop")),
    Tagged("b", 1.25, End(Status.CANCELLED)),
]

FLOODS = {
    "one line": "a",
    "words": "word and ",
    "lines": "a\n",
    "bidi": "\u202e",
    "wide": "你",
    "accents": "\u0301",
    "an accent a letter": "e\u0301",
    "joined": "👩\u200d",
    "tabs": "\t",
    "sequences": "\x1b[m",
    "strings that do not end": "\x9d",
    "spaces": " ",
}
