"""Fuse: the lanes answer, and a judge writes one answer from theirs."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Unpack

from attrs import evolve

from fanout.answers import Answer
from fanout.errors import ProviderError
from fanout.policies.judging import Asking, Judged, JudgedSettings, Judging
from fanout.policies.questions import Question, find_objects, make_judge, put_question
from fanout.policies.race import On, Race, has_answer
from fanout.prompt import Options, Prompt

_TEXTS = {"type": "array", "items": {"type": "string"}}


def _object(**properties: Any) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _rows(**properties: Any) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


_TEXT = {"type": "string"}

ANALYSIS = _object(
    consensus=_TEXTS,
    contradictions=_rows(topic=_TEXT, stances=_rows(model=_TEXT, stance=_TEXT)),
    partial_coverage=_rows(models=_TEXTS, point=_TEXT),
    unique_insights=_rows(model=_TEXT, insight=_TEXT),
    blind_spots=_TEXTS,
)
"""The schema of an analysis: the fields are those of OpenRouter's Fusion, which others have taken over."""


class Fuse(Judged):
    """The answer that a judge writes from those of the lanes, streamed from its first token on.

    With `analysis` the judge is asked first in which points they agree and differ, which is `Run.analysis`; it writes
    then with that at hand, and also where it failed at that.
    """

    def __init__(self, *lanes: Any, judge: Any, analysis: bool = False, **settings: Unpack[JudgedSettings]) -> None:
        super().__init__(*lanes, judge=judge, **settings)
        self.analysis = analysis

    def open_hearing(self) -> "Writing":
        """Returns the questions of one run."""
        return Writing(self, analysis=self.analysis)


class Writing(Asking):
    """Asks for an analysis, if it is wanted, and then for the answer."""

    def __init__(self, policy: Judging, *, analysis: bool) -> None:
        super().__init__(policy, [Question(_read_analysis) for _ in range(analysis)] + [Question(_read_text)])
        self.writer = len(self.questions) - 1
        self.plans[-1] = _make_writer(policy.judge, self.questions[-1])
        self.order: list[int] = []

    def ask(self, prompt: Prompt, answers: Sequence[Answer]) -> Mapping[int, Prompt]:
        """Returns the first question."""
        self.begin(prompt, answers)
        self.order = list(range(len(answers)))
        Random(prompt.options.seed).shuffle(self.order)  # noqa: S311  # nobody gains by guessing it
        if self.writer == 0:
            return {0: self._put("fuse", prompt.options)}
        return {0: self._put("analysis", Options(schema=ANALYSIS))}

    def _put(self, form: str, options: Options) -> Prompt:
        shown = [self.shown[i] for i in self.order]
        return put_question(form, self.prompt, shown, self.policy.criteria, options)

    def take(self, judge: int, answer: Answer, error: ProviderError | None) -> Mapping[int, Prompt]:
        """Takes the analysis, which the question for the answer follows, or the answer."""
        self.taken.add(judge)
        self.note(answer, self.order, error)
        if judge == self.writer:
            return {}
        put = self._put("fuse", self.prompt.options)
        if error is None:
            self.analysis = _name_models(_read_analysis(answer, ()), self.name_lanes(self.order))
            put = evolve(put, messages=(*put.messages[:-1], _with_analysis(put, answer.text)))
        assert self.writer is not None
        return {self.writer: put}


def _make_writer(plan: Any, question: Question) -> Race:
    """Returns the judge as one whose own words are the answer, from its first on where it is one lane."""
    if isinstance(plan, Race):
        judge = make_judge(plan, question, writes=True)
        assert isinstance(judge, Race)
        return judge
    on: On = "first_token"
    return Race(plan, on=on, accept=question.accept)


def _with_analysis(put: Prompt, analysis: str) -> Any:
    """The last message of a question with the judge's own analysis behind it."""
    last = put.messages[-1]
    return evolve(last, text=f"{last.text}\n\nYour own analysis of the answers, made before:\n{analysis}")


def _read_text(answer: Answer, _labels: Sequence[str]) -> str:
    if not has_answer(answer):
        raise ValueError("the judge wrote nothing")
    return answer.text


def _read_analysis(answer: Answer, _labels: Sequence[str]) -> Mapping[str, Any]:
    """Returns the first object in the judge's answer that says anything of ANALYSIS. Raises ValueError."""
    for found in find_objects(answer.text):
        if known := {name: found[name] for name in ANALYSIS["properties"] if name in found}:
            return known
    raise ValueError("the judge's analysis is no JSON object of the fields that were asked for")


def _name_models(value: Any, lanes: Mapping[str, str]) -> Any:
    """The analysis with the lanes' names wherever it names a model by its label."""
    if isinstance(value, list):
        return [_name_models(one, lanes) for one in value]
    if not isinstance(value, Mapping):
        return value
    named: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "model" and isinstance(inner, str):
            named[name] = lanes.get(inner.strip(), inner)
        elif name == "models" and isinstance(inner, list):
            named[name] = [lanes.get(one.strip(), one) if isinstance(one, str) else one for one in inner]
        else:
            named[name] = _name_models(inner, lanes)
    return named
