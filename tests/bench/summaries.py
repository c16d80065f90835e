"""Summaries of made-up runs, for tests of what is made of them."""

from fanout.bench.analysis.summary import Summary, summarize
from fanout.bench.records.record import Record
from fanout.events import Status


def records(lane: str, ttft: float, n: int = 100, **more: object) -> list[Record]:
    """Requests whose first token takes `ttft` seconds, some a little more; then four tokens, 20 ms apart."""
    made = []
    for block in range(n):
        first = ttft * (1 + (block * 37 % 100) / 500)
        times = tuple(round(first + 0.02 * i, 6) for i in range(5))
        made.append(
            Record(
                lane,
                block,
                Status.FINISHED,
                sent=float(block),
                ended=times[-1],
                times=times,
                kinds="ddddd",
                sizes=(4,) * 5,
                size=20,
                output=5,
                **more,  # type: ignore[arg-type]  # fields of a record
            )
        )
    return made


def failed(lane: str, n: int, kind: str = "rate_limit", message: str = "slow down", first: int = 0) -> list[Record]:
    """Requests that failed at once."""
    return [
        Record(lane, block, Status.FAILED, sent=float(block), ended=0.1, error=kind, message=message)
        for block in range(first, first + n)
    ]


def summary(*groups: list[Record], objectives: dict[str, float] | None = None) -> Summary:
    return summarize([record for group in groups for record in group], objectives=objectives, what_if=False)
