"""A run as one JSON object, in ASCII, so that it is safe on a terminal too."""

import json

from fanout.answers import Answer, Run, objects
from fanout.answers.objects import Object
from fanout.formats import Output
from fanout.formats.summary import explain, was_not_started

NOT_STARTED = "not_started"
"""The status of a lane whose turn never came: to its policy it is cancelled, but nothing was sent for it."""


class Json(Output):
    """One line with the run, when all is over."""

    def shows_all(self, run: Run) -> bool:
        """Tells that what came of every lane is printed."""
        return True

    def run(self, run: Run) -> str:
        """Returns the line."""
        return line(run_object(run))


def line(value: Object) -> str:
    """The object as one line of ASCII."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def run_object(run: Run) -> Object:
    """The run as `Run.to_dict` has it, with each answer as below."""
    return {**objects.run_object(run), "answers": [answer_object(answer) for answer in run.answers]}


def answer_object(answer: Answer) -> Object:
    """The answer of one lane, with the reason for its end in words, and whether it was started at all."""
    status = NOT_STARTED if was_not_started(answer) else answer.status
    return {**objects.answer_object(answer), "status": status, "reason": explain(answer) or None}
