"""Checks a world: plays it, looks at the laws, and compares it with what the model says."""

from collections.abc import Iterator
from math import inf

from attrs import frozen

from fanout.errors import AllLanesFailed
from fanout.events import End, Status
from fanout.sim.draw import draw_world
from fanout.sim.judged import add_judges, has_judges
from fanout.sim.lane_model import TICK
from fanout.sim.laws import LAWS, Broken, answers_of, by_lane, is_same
from fanout.sim.log import lines, show
from fanout.sim.model import CallModel, model
from fanout.sim.plans import Planted, key_of
from fanout.sim.play import Record, learns, play
from fanout.sim.world import World

MOST_LINES = 12
"""Lines of an excerpt."""


@frozen
class Verdict:
    """The result of one seed: the laws that it broke, none if all is well, and what there is to see of it.

    `differs` is True where no law is broken and only the model says otherwise, which may be wrong itself about what
    happens in one moment.
    """

    seed: int
    broken: tuple[Broken, ...]
    record: Record
    differs: bool = False

    def excerpt(self) -> list[str]:
        """The shortest part of the log that shows the first broken law: what concerns its lane, up to its end."""
        first = self.broken[0]
        found = [line for line in lines(self.record) if _concerns(line, first)]
        return found if len(found) <= MOST_LINES else ["…", *found[-MOST_LINES:]]


def _concerns(line: str, broken: Broken) -> bool:
    if broken.call is None:
        return True
    mine = f"call {broken.call}:"
    told = mine in line and (not broken.lane or f" {broken.lane} " in f"{line} " or "user" in line or "over" in line)
    return told or line.startswith(mine)


def check_seed(seed: int) -> Verdict:
    """Checks the world of a seed; and a share of them once more with votes and judges in it."""
    world = draw_world(seed)
    verdict = check_world(world)
    judged = world if verdict.broken else add_judges(world)
    return verdict if judged is world or not (other := check_world(judged)).broken else other


def check_world(world: World) -> Verdict:
    """Checks a world."""
    record = play(world)
    broken = [each for law in LAWS for each in law(record)]
    modelled = not (world.tied or learns(world) or any(has_judges(call.plan) for call in world.calls))
    if broken or not modelled:
        return Verdict(world.seed, tuple(broken), record)
    differences = tuple(each for call in model(record) for each in compare(call))
    return Verdict(world.seed, differences, record, differs=bool(differences))


def compare(call: CallModel) -> Iterator[Broken]:
    """Yields where a call differs from its model."""
    seen, number = call.seen, call.seen.call.number
    if call.crashed != isinstance(seen.raised, Planted) and call.unsure == inf:
        yield Broken("a bug of accept comes out", f"raised {seen.raised!r}", number)
        return
    yield from _compare_events(call)
    if call.crashed or call.unsure < inf:
        return  # what happens in the very step of it is not said
    for answer in answers_of(seen):
        lane = call.lanes[answer.lane]
        if answer.status != lane.status and not _is_tie(call, lane.ended):
            yield Broken("statuses are the model's", f"{answer.status}, not {lane.status}", number, answer.lane)
        started = None if lane.ended is None or lane.started is None else lane.ended - lane.started
        if not is_same(answer.elapsed, started):
            yield Broken("times are the model's", f"it took {answer.elapsed}, not {started}", number, answer.lane)
    yield from _compare_run(call)
    yield from _compare_requests(call)


def _compare_events(call: CallModel) -> Iterator[Broken]:
    seen, number = call.seen, call.seen.call.number
    if seen.call.user.way not in ("open", "take"):
        return
    heard = by_lane(seen)
    for name, lane in call.lanes.items():
        expected = [(at - seen.started, _kind(event)) for at, event in lane.history if at < call.left - TICK]
        found = [
            (tagged.at, _kind(tagged.event))
            for tagged in heard.get(name, ())
            if seen.started + tagged.at < call.left - TICK - TICK
        ]
        if call.unsure < inf:
            found, expected = (
                [pair for pair in pairs if pair[0] < call.unsure - seen.started - TICK] for pairs in (found, expected)
            )
        if call.left < inf:
            expected = expected[: len(found)]  # the user may not have had the last ones
        for (at, kind), (at_model, kind_model) in zip(found, expected, strict=False):
            if is_same(at, at_model) and _is_tie(call, seen.started + at):
                break  # nor of what follows from it
            if kind != kind_model or not is_same(at, at_model):
                what = f"{kind} at {at:.6f}, not {kind_model} at {at_model:.6f}"
                yield Broken("events are the model's", what, number, name)
                return
        else:
            yield from _compare_lengths(found, expected, number, name)


def _compare_lengths(
    found: list[tuple[float, str]], expected: list[tuple[float, str]], number: int, name: str
) -> Iterator[Broken]:
    if len(found) != len(expected):
        more = (found if len(found) > len(expected) else expected)[min(len(found), len(expected))]
        word = "one too many" if len(found) > len(expected) else "missing"
        yield Broken("events are the model's", f"{word}: {more[1]} at {more[0]:.6f}", number, name)


def _is_tie(call: CallModel, at: float | None) -> bool:
    """True if several clocks fired at once, at `at`: the first of them may have made the others lose."""
    return at is not None and any(count > 1 and is_same(at, moment) for moment, count in call.time.fired.items())


def _kind(event: object) -> str:
    if isinstance(event, End):
        clock = getattr(event.error, "clock", None)
        kind = event.error.kind if event.error else ""
        return " ".join(filter(None, ("End", event.status, kind, clock)))
    return show(event)


def _compare_run(call: CallModel) -> Iterator[Broken]:
    seen, number = call.seen, call.seen.call.number
    tied = any(_is_tie(call, lane.ended) for lane in call.lanes.values())
    if seen.run is not None:
        winner = seen.run.winner.lane if seen.run.winner else None
        if winner != call.winner and not tied:
            yield Broken("the winner is the model's", f"{winner}, not {call.winner}", number)
        elapsed = None if call.top.ended is None else call.top.ended - seen.started
        if not is_same(seen.run.elapsed, elapsed):
            yield Broken("times are the model's", f"the run took {seen.run.elapsed}, not {elapsed}", number)
    if seen.call.user.way == "race" and call.left == inf and not tied:
        failed = isinstance(seen.raised, AllLanesFailed)
        if failed == (call.winner is not None):
            yield Broken("the winner is the model's", f"raised {seen.raised!r}, and {call.winner} should win", number)
        elif seen.answers and seen.answers[0].lane != call.winner:
            yield Broken("the winner is the model's", f"{seen.answers[0].lane}, not {call.winner}", number)
    if seen.call.user.way == "stream" and seen.complete and call.left == inf and not tied:
        text = "".join(seen.pieces)
        lane = next((answer for answer in answers_of(seen) if answer.lane == call.winner), None)
        if lane is not None and lane.status is Status.FINISHED and text != lane.text:
            yield Broken("the stream is the winner's text", f"{text!r}, not {lane.text!r}", number)


def _compare_requests(call: CallModel) -> Iterator[Broken]:
    number = call.seen.call.number
    for name, lane in call.lanes.items():
        asked = call.exchanges.get((number, lane.leaf.host), ())
        if len(asked) != lane.requests and call.left == inf:
            yield Broken("requests are the model's", f"{len(asked)}, not {lane.requests}", number, name)
        keys = [key_of(exchange.request) for exchange in asked]
        if lane.leaf.wire != "ollama" and any(key != used for key, used in zip(keys, lane.keys_used, strict=False)):
            yield Broken("keys are the model's", f"{keys}, not {lane.keys_used}", number, name)
