"""A plan whose lanes answer first, and whose judge sees the answers then: what all such plans have alike."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Protocol, Unpack

from fanout.abc import Accept, Hearing, OnLose, Policy, Standing
from fanout.answers import Answer
from fanout.answers.verdicts import Verdict
from fanout.errors import ProviderError, UsageError
from fanout.events import End, Event, Status
from fanout.policies.questions import (
    GRACE_LEAST,
    GRACE_SHARE,
    JUDGE_SHARE,
    LEAST_SHOWN,
    MOST_SHOWN,
    Question,
    check_judge,
    make_judge,
    make_labels,
    show_answer,
)
from fanout.policies.race import has_answer
from fanout.prompt import Prompt
from fanout.schema import Form


class JudgedSettings(Form, total=False):
    """The settings of a plan with a judge, beside the judge."""

    criteria: str | None
    enough: int | None
    grace: float | None
    max_candidate_chars: int
    accept: Accept | None
    deadline: float
    on_lose: OnLose | None


class Judged(Policy):
    """Lanes whose answers a judge sees when `enough` have finished and a `grace` has passed, or when all have ended.

    `enough` is usually all but one, and two at least. `grace` is in seconds; usually it is 20 % of the time until then,
    and half a second at least. Lanes that still run are cut off then, or when only a fifth of a deadline is left and
    one has answered. One answer alone is the answer, without a judge; where the judge fails, that of the lane which
    finished first is. `judge` is a lane or any plan. It is shown at most `max_candidate_chars` of an answer, told by
    `criteria` what makes one good, and not told whose it is. Raises UsageError.
    """

    def __init__(  # the settings of a plan
        self,
        *lanes: Any,
        judge: Any,
        criteria: str | None = None,
        enough: int | None = None,
        grace: float | None = None,
        max_candidate_chars: int = MOST_SHOWN,
        accept: Accept | None = None,
        deadline: float = inf,
        on_lose: OnLose | None = None,
        **form: Unpack[Form],
    ) -> None:
        super().__init__(*lanes, deadline=deadline, on_lose=on_lose, **form)
        check_judge(judge)
        if enough is not None and (type(enough) is not int or not 1 <= enough <= max(len(lanes), 1)):
            raise UsageError(f"enough must be between 1 and the number of lanes, {len(lanes)}, not {enough!r}")
        if grace is not None and not (type(grace) in (int, float) and grace >= 0 and isfinite(grace)):
            raise UsageError(f"grace must be a number of seconds, 0 or more, not {grace!r}")
        if type(max_candidate_chars) is not int or max_candidate_chars < LEAST_SHOWN:
            raise UsageError(f"max_candidate_chars must be {LEAST_SHOWN} or more, not {max_candidate_chars!r}")
        if criteria is not None and not isinstance(criteria, str):
            raise UsageError(f"criteria takes a text, not {criteria!r:.80}")
        self.heeds = frozenset({End})
        self.accept = accept or has_answer
        self.judge = judge
        self.criteria = criteria
        self.enough = max(2, len(lanes) - 1) if enough is None else enough
        self.grace = grace
        self.most_shown = max_candidate_chars

    @property
    def plans(self) -> tuple[Any, ...]:
        """The lanes, and the judge."""
        return (*self.lanes, self.judge)

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """A lane whose answer is refused; of the others the judge decides."""
        refused = isinstance(event, End) and event.status is Status.FINISHED and not lanes[lane].good
        return (lane,) if refused else ()

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """Nobody: a judge chooses."""
        return None

    def wait(self, good: int, elapsed: float) -> float | None:
        """Returns the seconds that the others still have when `good` lanes have answered after `elapsed`; None: all."""
        if good < self.enough:
            return None
        return max(GRACE_SHARE * elapsed, GRACE_LEAST) if self.grace is None else self.grace

    @abstractmethod
    def open_hearing(self) -> Hearing:
        """Returns the questions that one run puts to the judge."""


class Judging(Protocol):
    """The part of a plan with a judge that its questions are made of."""

    judge: Any
    criteria: str | None
    most_shown: int

    def wait(self, good: int, elapsed: float) -> float | None:
        """Returns the seconds that lanes still have, when so many have answered."""
        ...


class Asking(Hearing):
    """The hearing of one run: `questions` are all that may be put, each to a judge of its own."""

    def __init__(self, policy: Judging, questions: Sequence[Question]) -> None:
        self.policy = policy
        self.share = JUDGE_SHARE
        self.questions = questions
        self.plans = [make_judge(policy.judge, question) for question in questions]
        self.writer: int | None = None
        self.best: int | None = None
        self.verdicts: list[Verdict] = []
        self.analysis: Mapping[str, Any] | None = None
        self.prompt = Prompt(())
        self.answers: Sequence[Answer] = ()
        self.labels: list[str] = []
        self.shown: list[str] = []
        self.taken: set[int] = set()

    @property
    def over(self) -> bool:
        """True once every question has been answered."""
        return len(self.taken) == len(self.questions)

    def wait(self, good: int, elapsed: float) -> float | None:
        """Returns the seconds that the others still have, as the policy says."""
        return self.policy.wait(good, elapsed)

    def choose(self, lanes: Sequence[Standing]) -> Sequence[int]:
        """Returns the lanes that are good, the first that finished first."""
        return sorted((i for i, lane in enumerate(lanes) if lane.good), key=lambda i: lanes[i].place)

    def begin(self, prompt: Prompt, answers: Sequence[Answer]) -> None:
        """Takes the answers that judges are to see, the first that finished first."""
        self.prompt, self.answers = prompt, answers
        self.labels = make_labels(len(answers))
        self.shown = [show_answer(answer, self.policy.most_shown) for answer in answers]

    def name_lanes(self, order: Sequence[int]) -> dict[str, str]:
        """Returns the lanes of the answers under their labels, where they stand in this order."""
        return {label: self.answers[i].lane for label, i in zip(self.labels, order, strict=True)}

    def note(self, answer: Answer, order: Sequence[int], error: ProviderError | None) -> None:
        """Notes that a judge has failed, if there is an error."""
        if error is not None:
            self.verdicts.append(Verdict(answer.lane, self.name_lanes(order), error=error))
