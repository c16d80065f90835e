"""The log of a played world: what the user had, what was asked of the services, and when. Its bytes are the seed's."""

from collections.abc import Iterator
from typing import Any

from fanout.events import End, Started
from fanout.sim.play import Record, Seen


def lines(record: Record) -> Iterator[str]:
    """The log, a line an event, in the order of the times; each begins with the virtual time in seconds."""
    world = record.world
    yield f"seed {world.seed}{', with ties' if world.tied else ''}"
    for seen in record.seen:
        yield f"call {seen.call.number}: {seen.call.plan}{_settings(seen)}"
    told = [line for seen in record.seen for line in _call_lines(seen)]
    for (number, host), exchanges in sorted(record.exchanges.items()):
        for exchange in exchanges:
            told.append((exchange.began, f"call {number}: {host} is asked"))
            whole = "whole" if exchange.whole else f"left after {exchange.steps} steps"
            told.append((exchange.ended if exchange.ended is not None else -1.0, f"call {number}: {host} {whole}"))
    yield from (f"{at:14.6f}  {line}" for at, line in sorted(told, key=lambda pair: pair[0]))
    yield from (f"left: {what}" for what in record.left)
    if record.hung:
        yield "hung"


def _settings(seen: Seen) -> str:
    call = seen.call
    said = [f" by {call.user.way}"]
    said += [f", deadline {call.deadline:.3f}"] if call.deadline < float("inf") else []
    said += [f", retries {call.retries}"] if call.retries is not None else []
    said += [", losers run on"] if call.on_lose == "keep" else []
    said += [f", {call.user.pace:.3f} s an event"] if call.user.pace else []
    return "".join(said)


def _call_lines(seen: Seen) -> Iterator[tuple[float, str]]:
    head = f"call {seen.call.number}:"
    for at, tagged in seen.events:
        yield seen.started + tagged.at, f"{head} {tagged.lane} {show(tagged.event)}{_late(at, seen, tagged.at)}"
    for at, act in seen.acts:
        yield at, f"{head} the user does {act.what} {act.lane}".rstrip()
    if seen.raised is not None:
        yield seen.ended, f"{head} raises {type(seen.raised).__name__}: {seen.raised}"
    if seen.run is not None:
        winner = seen.run.winner.lane if seen.run.winner else "nobody"
        statuses = ", ".join(f"{answer.lane} {answer.status}" for answer in seen.run.answers)
        yield seen.ended, f"{head} over, {winner} wins; {statuses}"
    else:
        yield seen.ended, f"{head} over"


def _late(at: float, seen: Seen, arrived: float) -> str:
    late = at - seen.started - arrived
    return f" (had {late:.6f} s later)" if late > 1e-9 else ""


def show(event: Any) -> str:
    """One event in a line."""
    if isinstance(event, End):
        error = f" {event.error}" if event.error else ""
        return f"End {event.status} {event.finish_reason or '-'}{error}"
    if isinstance(event, Started):
        return f"Started {event.attempt}"
    return f"{type(event).__name__} {getattr(event, 'text', '')!r}"
