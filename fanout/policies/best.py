"""Best: the lanes answer, and a judge says whose answer is the best.

That judges prefer a place, a length and their own kin is after Zheng et al., "Judging LLM-as-a-Judge" (2306.05685): so
the answers are shuffled, stand without names, and may be shown in both orders.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Unpack

from fanout.answers import Answer
from fanout.answers.verdicts import Verdict
from fanout.errors import ProviderError
from fanout.policies.judging import Asking, Judged, JudgedSettings, Judging
from fanout.policies.questions import Question, put_question, read_verdict, verdict_schema
from fanout.prompt import Options, Prompt


class Best(Judged):
    """The answer that a judge calls the best; it is the lane's own, unchanged.

    With `swap` the judge is asked twice at once, in opposite orders; where it names two, that which finished first
    wins. The order is drawn anew for each run, or by the seed of the prompt's options.
    """

    def __init__(self, *lanes: Any, judge: Any, swap: bool = False, **settings: Unpack[JudgedSettings]) -> None:
        super().__init__(*lanes, judge=judge, **settings)
        self.swap = swap

    def open_hearing(self) -> "Choosing":
        """Returns the questions of one run."""
        return Choosing(self)


class Choosing(Asking):
    """Asks which answer is the best: once, or twice in opposite orders."""

    def __init__(self, policy: Judging, *, swap: bool | None = None) -> None:
        twice = getattr(policy, "swap", False) if swap is None else swap
        super().__init__(policy, [Question(read_verdict) for _ in range(1 + twice)])
        self.orders: list[list[int]] = []

    def ask(self, prompt: Prompt, answers: Sequence[Answer]) -> Mapping[int, Prompt]:
        """Returns the question to each judge."""
        self.begin(prompt, answers)
        order = list(range(len(answers)))
        Random(prompt.options.seed).shuffle(order)  # noqa: S311  # nobody gains by guessing it
        self.orders = [order, order[::-1]][: len(self.questions)]
        return {judge: self._put(judge) for judge in range(len(self.questions))}

    def _put(self, judge: int) -> Prompt:
        self.questions[judge].labels = self.labels
        shown = [self.shown[i] for i in self.orders[judge]]
        options = Options(schema=verdict_schema(self.labels))
        return put_question("best", self.prompt, shown, self.policy.criteria, options)

    def take(self, judge: int, answer: Answer, error: ProviderError | None) -> Mapping[int, Prompt]:
        """Takes a verdict; of two that differ, the answer that finished first is the best."""
        order = self.orders[judge]
        self.taken.add(judge)
        if error is not None:
            self.note(answer, order, error)
            return {}
        label, why = read_verdict(answer, self.labels)
        best = order[self.labels.index(label)]
        self.verdicts.append(Verdict(answer.lane, self.name_lanes(order), self.answers[best].lane, why))
        self.best = best if self.best is None else min(self.best, best)
        return {}
