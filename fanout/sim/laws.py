"""The laws: what must hold of every played world. Each looks at the record and says what breaks it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf, isclose

from attrs import frozen

from fanout.answers import Answer
from fanout.errors import AllLanesFailed, InternalError, ProviderError, TimedOut
from fanout.events import Delta, End, Event, Reasoning, Refusal, Started, Status, Tagged, ToolCall, is_content
from fanout.sim.lane_model import TICK, model_timeouts
from fanout.sim.log import lines
from fanout.sim.plans import CANARY, Planted
from fanout.sim.play import Left, Record, Seen
from fanout.sim.world import Leaf, Node


@frozen
class Broken:
    """A broken law: its name, what is wrong, and the call and lane that it is about."""

    law: str
    what: str
    call: int | None = None
    lane: str = ""


Law = Callable[[Record], Iterator[Broken]]


def is_same(one: float | None, other: float | None) -> bool:
    """True if two times are the same moment."""
    if one is None or other is None:
        return one is other
    return one == other or isclose(one, other, rel_tol=1e-9, abs_tol=TICK)


def nothing_is_left(record: Record) -> Iterator[Broken]:
    """No task, exchange or place remains, and nothing waits for ever."""
    if record.crashed is not None:
        yield Broken("errors are typed", f"the whole world ended: {record.crashed!r}")
    if record.hung:
        yield Broken("a call ends", "nothing more happened, for ever")
    for what in record.left:
        yield Broken("nothing is left", f"{what} remained")


def only_what_is_planted_is_raised(record: Record) -> Iterator[Broken]:
    """Nothing comes out of a call but what its user, or a race without an answer, raises."""
    for seen in record.seen:
        error, way = seen.raised, seen.call.user.way
        if error is None or isinstance(error, Planted | Left):
            continue
        if record.world.tied and isinstance(error, BaseExceptionGroup) and error.split((Planted, Left))[1] is None:
            continue  # raised in one moment
        if not (isinstance(error, AllLanesFailed) and way in ("race", "stream")):
            yield Broken("errors are typed", f"{type(error).__name__} came out: {error}", seen.call.number)


def a_lane_begins_and_ends_once(record: Record) -> Iterator[Broken]:
    """The first event of a lane is its start, unless it has none; one End is the last."""
    for seen in record.seen:
        for lane, events in by_lane(seen).items():
            ends = [number for number, tagged in enumerate(events) if isinstance(tagged.event, End)]
            if len(ends) > 1:
                yield Broken("one End a lane", f"{len(ends)} Ends", seen.call.number, lane)
            if ends and ends[0] != len(events) - 1:
                yield Broken("nothing after the End", f"then {events[ends[0] + 1].event}", seen.call.number, lane)
            if not isinstance(events[0].event, Started | End):
                yield Broken("a start is first", f"{events[0].event} came first", seen.call.number, lane)
            tries = [tagged.event.attempt for tagged in events if isinstance(tagged.event, Started)]
            if tries != list(range(1, len(tries) + 1)):
                yield Broken("tries are counted", f"tries {tries}", seen.call.number, lane)
            if any(later.at < earlier.at - TICK for earlier, later in pairwise(events)):
                yield Broken("time goes on", "an event is before the one that it follows", seen.call.number, lane)
        missing = {leaf.name for leaf in seen.call.plan.leaves()} - by_lane(seen).keys()
        if seen.complete and seen.call.user.way in ("open", "take") and missing and not _has_left(seen):
            yield Broken("one End a lane", "no event at all", seen.call.number, min(missing))


def an_answer_is_what_was_said(record: Record) -> Iterator[Broken]:
    """An answer's text is the beginning of what the service said, all of it if it finished; events add up to it."""
    for seen in record.seen:
        leaves = {leaf.name: leaf for leaf in seen.call.plan.leaves()}
        events = by_lane(seen)
        for answer in answers_of(seen):
            texts = [reply.text for reply in leaves[answer.lane].replies if reply.status == 200 and reply.reads]
            odd = any(not reply.text and not reply.whole for reply in leaves[answer.lane].replies)
            if answer.text and not odd and not any(text.startswith(answer.text) for text in texts):
                yield Broken("text is what was said", f"{answer.text!r}", seen.call.number, answer.lane)
            if answer.status is Status.FINISHED and not odd and answer.text not in texts:
                yield Broken("no success without its end", f"{answer.text!r}", seen.call.number, answer.lane)
            heard = events.get(answer.lane, [])
            if not heard or not isinstance(heard[-1].event, End) or seen.call.user.way not in ("open", "take"):
                continue
            yield from _compare(answer, [tagged.event for tagged in heard], seen.call.number)


def _compare(answer: Answer, events: list[Event], call: int) -> Iterator[Broken]:
    for kind, text in ((Delta, answer.text), (Reasoning, answer.reasoning), (Refusal, answer.refusal)):
        joined = "".join(getattr(event, "text", "") for event in events if type(event) is kind)
        if joined != text:
            yield Broken("events add up to the answer", f"{joined!r} is not {text!r}", call, answer.lane)
    chunks = sum(map(is_content, events))
    if chunks != answer.chunks:
        yield Broken("events add up to the answer", f"{chunks} pieces, {answer.chunks} counted", call, answer.lane)
    calls = len({event.index for event in events if isinstance(event, ToolCall)})
    if calls != len(answer.tool_calls):
        yield Broken("events add up to the answer", f"{calls} tool calls", call, answer.lane)
    end = events[-1]
    assert isinstance(end, End)
    if (end.status, end.error) != (answer.status, answer.error):
        yield Broken("events add up to the answer", f"{end.status} is not {answer.status}", call, answer.lane)


def an_end_says_why(record: Record) -> Iterator[Broken]:
    """A failure has its typed error with the lane and its text; a finished or cancelled lane has none."""
    for seen in record.seen:
        for answer in answers_of(seen):
            error, status = answer.error, answer.status
            if isinstance(error, InternalError):
                yield Broken("no mistake of ours", str(error), seen.call.number, answer.lane)
            if (error is not None) != (status in (Status.FAILED, Status.TIMED_OUT)):
                yield Broken("a failure has its error", f"{status} with {error!r}", seen.call.number, answer.lane)
            if status is Status.TIMED_OUT and not isinstance(error, TimedOut):
                yield Broken("a failure has its error", f"timed out with {error!r}", seen.call.number, answer.lane)
            if error is not None and (error.lane, error.partial) != (answer.lane, answer.text):
                yield Broken(
                    "a failure has its error", f"{error.lane}: {error.partial!r}", seen.call.number, answer.lane
                )
        told = seen.raised.exceptions if isinstance(seen.raised, AllLanesFailed) else ()
        if any(not isinstance(error, ProviderError) or error.lane is None for error in told):
            yield Broken("all failures are told", f"{seen.raised}", seen.call.number)


def the_loser_is_silent(record: Record) -> Iterator[Broken]:
    """A lane's last exchange ends in the moment of its End, and no other begins after it."""
    for seen in record.seen:
        for leaf in _alone_at_their_hosts(seen):
            exchanges = record.exchanges.get((seen.call.number, leaf.host), [])
            end = end_of(seen, leaf.name)
            for before, after in pairwise(exchanges):
                if before.ended is None or after.began < before.ended - TICK:
                    yield Broken("one request at a time", "two at once", seen.call.number, leaf.name)
            if end is None or not exchanges:
                continue
            last = exchanges[-1]
            if last.ended is None or last.ended > seen.started + end + TICK:
                late = inf if last.ended is None else last.ended - seen.started - end
                yield Broken(
                    "a lane that ended is silent", f"its request went on for {late:.6f} s", seen.call.number, leaf.name
                )


def clocks_are_kept(record: Record) -> Iterator[Broken]:
    """No lane is silent, or goes on, for longer than its clocks say."""
    for seen in record.seen:
        for leaf, until in _with_deadlines(seen.call.plan, seen.call.deadline):
            events = by_lane(seen).get(leaf.name, [])
            begun = next((tagged.at for tagged in events if isinstance(tagged.event, Started)), None)
            if begun is None or not isinstance(events[-1].event, End):
                continue
            timeouts, patient = model_timeouts(leaf, seen.call.timeouts)
            if events[-1].at > begun + (timeouts.total or inf) + TICK:
                yield Broken("total is kept", f"{events[-1].at - begun:.6f} s", seen.call.number, leaf.name)
            if events[-1].at > until + TICK:
                yield Broken("the deadline is kept", f"{events[-1].at:.6f} s", seen.call.number, leaf.name)
            contents = [tagged.at for tagged in events if is_content(tagged.event)]
            first = contents[0] if contents else events[-1].at
            if not patient and first > begun + (timeouts.first or inf) + TICK:
                yield Broken("first is kept", f"{first - begun:.6f} s", seen.call.number, leaf.name)
            gaps = [later - earlier for earlier, later in pairwise([*contents, events[-1].at])]
            if max(gaps, default=0.0) > (timeouts.idle or inf) + TICK:
                yield Broken("idle is kept", f"{max(gaps):.6f} s", seen.call.number, leaf.name)


def _with_deadlines(node: Node, until: float) -> Iterator[tuple[Leaf, float]]:
    """The lanes with the latest end that the plan allows, in seconds after the call, where that is known."""
    for lane in node.lanes:
        if isinstance(lane, Leaf):
            yield lane, until
        else:
            yield from _with_deadlines(lane, until)


def requests_are_counted(record: Record) -> Iterator[Broken]:
    """Each request is a try that was told, and there are no more tries than allowed."""
    for seen in record.seen:
        for leaf in _alone_at_their_hosts(seen):
            asked = len(record.exchanges.get((seen.call.number, leaf.host), []))
            tries = sum(isinstance(tagged.event, Started) for tagged in by_lane(seen).get(leaf.name, []))
            if end_of(seen, leaf.name, told=True) is not None and asked > tries:
                yield Broken("requests are tries", f"{asked} requests in {tries} tries", seen.call.number, leaf.name)
            numbers = (leaf.retries, seen.call.retries, 2)
            allowed = 1 + next(number for number in numbers if number is not None) + leaf.keys - 1
            if asked > allowed:
                yield Broken("tries keep to their number", f"{asked} requests", seen.call.number, leaf.name)


def the_run_adds_up(record: Record) -> Iterator[Broken]:
    """The run has all lanes in their order; winner, losers and waste are parts of it, and its times those of events."""
    for seen in record.seen:
        run = seen.run
        if run is None:
            continue
        names = [leaf.name for leaf in seen.call.plan.leaves()]
        if [answer.lane for answer in run.answers] != names:
            yield Broken("answers are aligned", f"{[answer.lane for answer in run.answers]}", seen.call.number)
        if run.winner is not None and run.winner not in run.answers:
            yield Broken("the winner is one of the lanes", run.winner.lane, seen.call.number)
        lost = [answer for answer in run.answers if answer not in run.kept and answer.status]
        sums = sum(answer.chunks for answer in lost), sum(answer.tokens for answer in lost)
        if sums != (run.wasted.chunks + run.overhead.chunks, run.wasted.tokens + run.overhead.tokens):
            yield Broken("waste adds up", f"{run.wasted} and {run.overhead} are not {sums}", seen.call.number)
        for answer in run.answers:
            heard = by_lane(seen).get(answer.lane, [])
            if not heard or answer.ttft is None or seen.call.user.way not in ("open", "take"):
                continue
            begun = heard[0].at
            first = next((tagged.at for tagged in heard if is_content(tagged.event)), None)
            if first is not None and not is_same(answer.ttft, first - begun):
                yield Broken(
                    "times are those of events", f"{answer.ttft} is not {first - begun}", seen.call.number, answer.lane
                )


def no_answer_is_lost(record: Record) -> Iterator[Broken]:
    """A winner wherever lanes answer, whatever the judge does; and never a judge who only chooses."""
    for seen in record.seen:
        plan, run = seen.call.plan, seen.run
        if run is None or plan.policy not in ("best", "fuse") or seen.acts or not run.answers:
            continue
        of = {answer.lane: answer for answer in run.answers}
        direct = [of[lane.name] for lane in plan.lanes if isinstance(lane, Leaf)]
        answered = any(answer.status is Status.FINISHED and answer.answered for answer in direct)
        if answered and plan.opinions is None and run.winner is None and seen.complete:
            yield Broken("no answer is lost", f"{run.verdicts}", seen.call.number)
        own = len(direct) == len(plan.lanes) and run.winner is not None and run.winner not in direct
        if plan.policy == "best" and run.winner is not None and own:
            yield Broken("a judge who chooses does not win", run.winner.lane, seen.call.number)


def a_vote_is_that_of_all(record: Record) -> Iterator[Broken]:
    """A winner of a vote with more votes than any other answer, those of the lanes that were cut off added."""
    for seen in record.seen:
        plan, run = seen.call.plan, seen.run
        if run is None or run.winner is None or seen.acts or plan.policy != "consensus" or "agree" in plan.given:
            continue
        if plan.given["stop"] != "caught" or any(isinstance(lane, Node) for lane in plan.lanes) or run.verdicts:
            continue
        cut = sum(answer.status in (None, Status.CANCELLED) for answer in run.answers if answer.lane[:5] != "judge")
        given = [len(lanes) for lanes in run.votes.values() if run.winner.lane in lanes]
        others = [len(lanes) for lanes in run.votes.values() if run.winner.lane not in lanes]
        if not given or given[0] <= max(others, default=0) + cut:
            yield Broken("a vote is that of all", f"{dict(run.votes)}, {cut} cut off", seen.call.number)


def _alone_at_their_hosts(seen: Seen) -> list[Leaf]:
    """The lanes that share their service with no other lane of their call: a judge of two questions does."""
    leaves = seen.call.plan.leaves()
    hosts = Counter(leaf.host for leaf in leaves)
    return [leaf for leaf in leaves if hosts[leaf.host] == 1]


def no_secret_is_shown(record: Record) -> Iterator[Broken]:
    """No key stands in the log, in an event or in an error."""
    said = [
        *lines(record),
        *(repr(seen.run) for seen in record.seen),
        *(repr(tagged) for seen in record.seen for _, tagged in seen.events),
    ]
    if any(CANARY in text for text in said):
        yield Broken("no secret is shown", "a key stands in the log")


def by_lane(seen: Seen) -> dict[str, list[Tagged]]:
    """The events of each lane that the user had."""
    found: dict[str, list[Tagged]] = defaultdict(list)
    for _, tagged in seen.events:
        found[tagged.lane].append(tagged)
    return found


def answers_of(seen: Seen) -> tuple[Answer, ...]:
    """All answers that are known."""
    return seen.answers or (seen.run.answers if seen.run is not None else ())


def end_of(seen: Seen, lane: str, *, told: bool = False) -> float | None:
    """Returns when a lane ended, in seconds after the call: its End; or the call's, unless it must be `told`."""
    events = by_lane(seen).get(lane, [])
    if events and isinstance(events[-1].event, End):
        return events[-1].at
    return None if told or seen.ended == inf else seen.ended - seen.started


def _has_left(seen: Seen) -> bool:
    return any(act.what in ("leave", "raise", "cut") for _, act in seen.acts)


LAWS: tuple[Law, ...] = (
    nothing_is_left,
    only_what_is_planted_is_raised,
    a_lane_begins_and_ends_once,
    an_answer_is_what_was_said,
    an_end_says_why,
    the_loser_is_silent,
    clocks_are_kept,
    requests_are_counted,
    the_run_adds_up,
    no_answer_is_lost,
    a_vote_is_that_of_all,
    no_secret_is_shown,
)
