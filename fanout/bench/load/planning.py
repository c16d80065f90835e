"""A benchmark planned: every part of a wish checked and looked up before anything is sent."""

from collections.abc import Mapping, Sequence
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any

from attrs import evolve, frozen

from fanout.abc import Policy
from fanout.bench.analysis.assertions import Assertion
from fanout.bench.analysis.metrics import parse_objectives
from fanout.bench.analysis.summary import Summary
from fanout.bench.load.about import describe_run
from fanout.bench.load.design.schedule import Closed, Replay, Schedule, make_schedules
from fanout.bench.load.design.workload import Workload, load_prompts, load_trace
from fanout.bench.load.lanes import ask_full_length, prepare_lanes, price
from fanout.bench.load.setup import Limits, Setup
from fanout.bench.load.wish import RunWish
from fanout.catalog import LaneSpec, resolve
from fanout.catalog.config import Config
from fanout.catalog.config import load as load_config
from fanout.catalog.spec import add_options
from fanout.errors import UsageError

USUAL_REQUESTS = 40
"""Prompts, where nothing else ends the run: enough for a median and its interval, and for p90."""

MOST_REQUESTS = 2000
"""Prompts, where precision ends the run: it may never be reached."""

RAMP_SECONDS = 0.01
"""The time between the first requests of two streams: at one instant they would disturb one another."""

OTHER_FILES = 64
"""Open files of this process beside its connections."""


@frozen
class PlannedRun:
    """A run that was checked and can be sent. `about` tells how it was asked for."""

    wish: RunWish
    setup: Setup
    schedules: Sequence[Schedule]
    asserts: Sequence[Assertion]
    about: Mapping[str, Any]
    config: Config

    @property
    def streams(self) -> int:
        """The most streams of a lane at once."""
        return max(schedule.streams for schedule in self.schedules)

    @property
    def requests(self) -> int | None:
        """The requests that count, of all lanes at all loads; None where something other than a number ends the run."""
        if (most := self.setup.limits.requests) is None:
            return None
        steps = (min(most, len(step.at)) if isinstance(step, Replay) else most for step in self.schedules)
        return len(self.setup.lanes) * sum(steps)

    @property
    def warmups(self) -> int:
        """The requests that are sent before them and do not count."""
        streams = sum(step.streams if isinstance(step, Closed) else 1 for step in self.schedules)
        return len(self.setup.lanes) * self.setup.warmup * streams

    def failures(self, summary: Summary) -> list[str]:
        """A sentence for each of the wish's conditions and each lane and level that does not meet it."""
        return [sentence for condition in self.asserts for sentence in condition.failures(summary)]


def plan_run(wish: RunWish, command: str = "") -> PlannedRun:
    """Plans a run. Raises UsageError for what cannot be; `command` is how to do the run again, for its files.

    Sends nothing, but reads files of prompts, and raises this process's limit of open files where it needs more.
    """
    _check_text(wish)
    config = load_config()
    lanes = _lanes(wish, config)
    _check_baseline(wish.baseline, lanes)
    _check_objectives(wish.slo)
    asserts = [Assertion.of(text) for text in wish.asserts]
    for condition in asserts:
        condition.check([lane.name for lane in lanes])
    workload = _workload(wish)
    schedules = _schedules(wish, workload)
    _allow_files(len(lanes) * max(step.streams for step in schedules), bounded=bool(wish.concurrency))
    if wish.max_cost is not None:
        _check_prices(lanes)
    setup = Setup(
        lanes=lanes,
        workload=workload,
        limits=Limits(_requests(wish, asserts), wish.duration, wish.until_ci, wish.max_cost),
        salt=None,
        max_tokens=wish.max_tokens,
        timeout=wish.timeout,
        order=wish.order,
        warmup=wish.warmup,
        seed=wish.seed,
    )
    about = describe_run(wish, setup, schedules, command)
    return PlannedRun(wish, setup, schedules, asserts, about, config)


def _check_text(wish: RunWish) -> None:
    """Raises UsageError for text that is not UTF-8: neither a service nor a file takes it."""
    options = (text for pair in wish.options for text in pair)
    prompts = [wish.prompts] if isinstance(wish.prompts, str) else wish.prompts
    given = {
        "-m": wish.lanes, "-s": [wish.system or ""], "-o": options, "--prompts": prompts,
        "--trace": [wish.trace or ""], "--assert": wish.asserts, "--slo": [wish.slo],
        "--baseline": [wish.baseline or ""],
    }  # fmt: skip
    for option, texts in given.items():
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UsageError(f"{option} {text!r:.80} is not text in UTF-8") from None


def _lanes(wish: RunWish, config: Config) -> tuple[LaneSpec, ...]:
    specs = []
    for text in wish.lanes or ("local",):
        lane = resolve(text if text in config.groups else add_options(text, wish.options), config)
        if isinstance(lane, Policy):
            names = ",".join(config.groups[text].lanes)
            raise UsageError(f"{text} is a group, and bench measures lanes: name its lanes, {names}")
        specs.append(lane)
    lanes = prepare_lanes(specs, twice=wish.aa)
    return ask_full_length(lanes) if wish.ignore_eos else lanes


def _check_baseline(baseline: str | None, lanes: Sequence[LaneSpec]) -> None:
    names = [lane.name for lane in lanes]
    if baseline is not None and baseline not in names:
        raise UsageError(f"--baseline {baseline}: the lanes are {', '.join(names)}")
    if baseline is not None and len(names) == 1:
        raise UsageError(f"--baseline {baseline}: there is no other lane to compare with it; name some with -m")


def _check_objectives(text: str) -> None:
    try:
        parse_objectives(text)
    except UsageError as error:
        raise UsageError(f"--slo: {error}") from None


def _workload(wish: RunWish) -> Workload:
    if isinstance(wish.prompts, str):
        usual = load_prompts(wish.prompts, system=wish.system, seed=wish.seed, read_stdin=wish.read_stdin)
    else:
        usual = Workload.of(wish.prompts, system=wish.system)
    return usual if wish.trace is None else load_trace(wish.trace, usual=usual, system=wish.system, seed=wish.seed)


def _schedules(wish: RunWish, workload: Workload) -> list[Schedule]:
    made = make_schedules(
        wish.concurrency,
        wish.rate,
        workload.at,
        arrival=wish.arrival,
        burstiness=wish.burstiness,
        ramp=wish.ramp or 0.0,
        speedup=wish.speedup,
        seed=wish.seed,
    )
    if wish.ramp is not None:
        return made
    return [evolve(step, ramp=RAMP_SECONDS * step.streams) if isinstance(step, Closed) else step for step in made]


def _requests(wish: RunWish, asserts: Sequence[Assertion]) -> int | None:
    if wish.requests is not None or wish.duration is not None or wish.trace is not None:
        return wish.requests
    return MOST_REQUESTS if wish.until_ci else max([USUAL_REQUESTS, *(condition.requests for condition in asserts)])


def _allow_files(streams: int, *, bounded: bool) -> None:
    """Lets this process open a connection for each stream. Raises UsageError where the system does not."""
    needed = streams + OTHER_FILES
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if needed <= soft:
        return
    if needed > hard and bounded:
        raise UsageError(f"-c: {streams} streams need {needed} open files, and `ulimit -Hn` allows {hard}")
    setrlimit(RLIMIT_NOFILE, (min(needed, hard), hard))


def _check_prices(lanes: Sequence[LaneSpec]) -> None:
    unknown = [lane.name for lane in lanes if price(lane, 1000, 1000) is None]
    if unknown:
        raise UsageError(
            f"--max-cost: nobody knows what {', '.join(unknown)} costs; bound the run with -n and --max-tokens instead "
            "(prices come with `pip install 'fanout-llm[prices]'`)"
        )
