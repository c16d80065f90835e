"""Runs cases and reports."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from attrs import define, field, frozen

from tests.conformance.cases import Case, Cut
from tests.conformance.judge import judge
from tests.conformance.lanes import Lane
from tests.conformance.own import SUBJECTS
from tests.conformance.subjects import Subject

WAITING = 16
"""Runs of one case at once, if it waits."""


@frozen
class Failure:
    """One case that failed, with the first cut that showed it."""

    case: Case
    cut: str
    wrong: list[str]

    def __str__(self) -> str:
        return f"{self.case.name} [{self.cut}] {'; '.join(self.wrong)}"


@define
class Report:
    """The numbers of cases of each format that passed, failed and were not run."""

    passed: Counter[str] = field(factory=Counter)
    not_run: Counter[str] = field(factory=Counter)
    failures: list[Failure] = field(factory=list)

    def table(self) -> Iterator[str]:
        """The counts by format, one line each."""
        failed = Counter(failure.case.format for failure in self.failures)
        yield f"{'format':<18}{'passed':>8}{'failed':>8}{'not run':>9}"
        for name in sorted(self.passed | failed | self.not_run):
            yield f"{name:<18}{self.passed[name]:>8}{failed[name]:>8}{self.not_run[name]:>9}"
        sums = self.passed.total(), failed.total(), self.not_run.total()
        yield f"{'all':<18}{sums[0]:>8}{sums[1]:>8}{sums[2]:>9}"


Subjects = Mapping[str, Subject | tuple[Subject, ...]]
"""By format, whose cases to run; of several, each must pass every case."""


def examine(case: Case, subjects: Subject | tuple[Subject, ...]) -> Failure | None:
    """Runs one case in every cut, up to the first failure."""
    several = subjects if isinstance(subjects, tuple) else (subjects,)
    if case.lane is not None and not any(isinstance(subject, Lane) for subject in several):
        return Failure(case, "in a lane", [f"no lane is run for {case.format}"])
    runs = ((subject, cut) for subject in several for cut in subject.cuts(case))
    if not case.waits:
        return next((failure for subject, cut in runs if (failure := _examine(case, subject, cut))), None)
    with ThreadPoolExecutor(WAITING) as pool:  # they wait for clocks and servers, so they wait together
        failures = [*pool.map(lambda one: _examine(case, *one), runs)]
    return next(filter(None, failures), None)


def _examine(case: Case, subject: Subject, cut: Cut) -> Failure | None:
    name, chunks = cut
    lacks = case.needs is not None and case.needs not in subject.can
    try:
        wrong = judge(case, subject.run(case, chunks), lacks=lacks)
    except Exception as error:  # noqa: BLE001  # whatever gets out of the code under test is a failure of it
        wrong = [f"raised {type(error).__name__}: {error}"]
    return Failure(case, name, wrong) if wrong else None


def run(cases: Iterable[Case], subjects: Subjects = SUBJECTS) -> Report:
    """Runs the cases that there is a subject for."""
    report = Report()
    for case in cases:
        if case.format not in subjects:
            report.not_run[case.format] += 1
        elif failure := examine(case, subjects[case.format]):
            report.failures.append(failure)
        else:
            report.passed[case.format] += 1
    return report
