"""Traps for benchmarks of streams, each against a service that logs when it sent what."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from attrs import frozen

from fanout.bench.analysis.metrics import Measurement, measure, stalls
from fanout.bench.analysis.statistics import quantile
from fanout.bench.calibration.truth import Sent, Truth, open_truth
from fanout.bench.load.request import Sender, open_stamped
from fanout.bench.records.record import Record
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config
from fanout.events import Status
from fanout.prompt import Options, Prompt
from fanout.providers.openai import OpenAI
from fanout.settings.timeouts import Timeouts
from tests.again import again

NEAR = 0.004
"""Seconds by which a measured time may differ from the true one: a process may be put aside between clock and send."""

USUAL = {"ttft": 40, "gap": 4, "tokens": 16}
"""The usual answer: long enough to tell the parts from one another."""


@pytest.fixture(scope="module")
def truth() -> Iterator[Truth]:
    with open_truth(120) as truth:
        yield truth


@frozen
class Case:
    """A request: what the bench recorded of it, and what the service did."""

    record: Record
    sent: Sent

    @property
    def figures(self) -> Measurement:
        return measure(self.record)

    @property
    def pieces(self) -> int:
        return len(self.record.times)

    def is_true(self) -> bool:
        """True if each piece was recorded when it was sent."""
        ours, theirs = self.record.times, self.sent.times
        return len(ours) == len(theirs) and all(abs(a - b) < NEAR for a, b in zip(ours, theirs, strict=True))


async def ask(truth: Truth, times: int = 1, *, body: dict[str, Any] | None = None, **wish: float) -> list[Case]:
    """So many requests, one after the other."""
    truth.take()
    provider = OpenAI("truth", base_url=truth.base_url(**{**USUAL, **wish}), needs_key=False)
    lane = LaneSpec("truth", provider, Timeouts(), retries=0, options=Options(body=body or {}))
    records: list[Record] = []
    async with open_stamped() as connections:
        sender = Sender(connections, 10, Config())
        for number in range(times):
            await sender.send(lane, Prompt.of("Why is the sky blue?"), number, records.append)
    return [Case(*pair) for pair in zip(records, truth.take(), strict=True)]


@again
async def test_a_chunk_with_the_role_is_no_first_token(truth: Truth) -> None:
    (case,) = await ask(truth, role=1)
    assert case.is_true()
    assert case.figures["ttft"] == case.record.times[0] > 0.04
    assert (case.figures["ttfb"] or 1) < 0.04 - NEAR


@again
async def test_empty_chunks_are_no_tokens_and_make_no_gaps(truth: Truth) -> None:
    (case,) = await ask(truth, empty=3)
    assert case.is_true()
    assert len(case.figures.gaps) == 15
    assert min(case.figures.gaps) > 0


@again
async def test_reasoning_is_a_first_token_but_no_first_output(truth: Truth) -> None:
    (case,) = await ask(truth, reason=8)
    assert case.is_true()
    assert case.figures["ttft"] == case.record.times[0]
    assert case.figures["ttfo"] == case.record.times[8]
    assert abs((case.figures["ttfo"] or 0) - case.sent.times[8]) < NEAR
    assert (case.record.reasoning, case.figures.reasoning_share) == (8, 0.5)


@again
async def test_several_tokens_in_a_chunk_are_that_many(truth: Truth) -> None:
    (case,) = await ask(truth, tpc=4, tokens=32)
    assert case.is_true()
    assert (case.pieces, case.figures.tokens) == (8, 32)
    true = (case.sent.times[-1] - case.sent.times[0]) / (32 - 4)
    assert case.figures["itl"] == pytest.approx(true, rel=0.02)
    assert median(case.figures.gaps) == pytest.approx(0.016, abs=NEAR)


@pytest.mark.slow
@again
async def test_a_stall_is_seen_in_the_gaps_and_counted(truth: Truth) -> None:
    cases = await ask(truth, 3, stall=0.04, stall_ms=300, tokens=32, seed=3)
    ours = sorted(gap for case in cases for gap in case.figures.gaps)
    theirs = sorted(b - a for case in cases for a, b in pairwise(case.sent.times))
    true_stalls = sum(gap > 0.25 for gap in theirs)
    assert true_stalls >= 2
    assert quantile(ours, 0.99) == pytest.approx(quantile(theirs, 0.99), abs=NEAR)
    counted, seconds = stalls(ours, median(ours))
    assert counted == true_stalls
    assert seconds == pytest.approx(sum(theirs[-true_stalls:]), abs=NEAR * true_stalls)


@again
async def test_an_error_in_the_stream_is_a_failure_that_keeps_what_came(truth: Truth) -> None:
    (case,) = await ask(truth, errs=1)
    assert case.sent.how == "broken"
    assert case.is_true()
    assert (case.record.status, case.record.error, case.pieces) == (Status.FAILED, "server", 8)
    assert "as asked for" in (case.record.message or "")


@again
async def test_an_error_in_place_of_an_answer_is_a_failure_with_its_status(truth: Truth) -> None:
    (case,) = await ask(truth, err=1)
    assert case.sent.how == "error"
    assert (case.record.status, case.record.http_status, case.pieces) == (Status.FAILED, 500, 0)
    assert case.figures["ttft"] is None


@again
async def test_a_character_that_is_cut_is_whole_and_its_piece_came_when_the_rest_did(truth: Truth) -> None:
    (case,) = await ask(truth, utf8=8, gap=20, tokens=6)
    assert case.is_true()
    words = (" the", " of", " and", " to", " in", " that")
    assert case.record.size == sum(len(word) + len("\U0001f600".encode()) for word in words)  # U+FFFD has 3 bytes
    assert case.record.sizes == tuple(len(word) + 1 for word in words)
    assert case.record.times[0] > 0.048


@again
async def test_a_connection_that_closes_early_is_never_a_success(truth: Truth) -> None:
    (case,) = await ask(truth, cut=1)
    assert case.sent.how == "cut"
    assert case.record.status is Status.FAILED
    assert case.record.error in ("truncated", "reset", "protocol")
    assert case.is_true()


@again
async def test_without_counts_tokens_are_estimated_and_no_chunk_is_taken_for_one(truth: Truth) -> None:
    (case,) = await ask(truth, usage=0, tpc=4, tokens=32)
    characters = sum(case.record.sizes)
    assert (case.record.output, case.figures.estimated) == (None, True)
    assert case.figures.tokens == -(-characters // 4)
    assert case.figures.tokens != case.pieces == 8


@again
async def test_a_late_end_is_not_in_the_latency(truth: Truth) -> None:
    (case,) = await ask(truth, fin=100)
    assert case.is_true()
    assert case.figures["e2e"] == case.record.times[-1]
    assert case.record.ended > case.record.times[-1] + 0.1 - NEAR
    assert case.record.ended == pytest.approx((case.sent.over - case.sent.asked) / 1e9, abs=NEAR)


@again
async def test_comments_are_no_first_token(truth: Truth) -> None:
    (case,) = await ask(truth, ping=5)
    assert case.is_true()
    assert (case.figures["ttft"] or 0) > 0.04 > (case.figures["ttfb"] or 1)


@again
async def test_an_answer_that_is_not_streamed_has_a_latency_and_nothing_that_it_has_not(truth: Truth) -> None:
    (case,) = await ask(truth, body={"stream": False, "stream_options": None})
    figures = case.figures
    assert case.record.status is Status.FINISHED
    assert not case.record.streamed
    assert figures["e2e"] == pytest.approx(case.sent.times[0], abs=NEAR)
    assert (figures["ttft"], figures["ttfo"], figures["itl"], figures["tpot"], figures.gaps) == (
        None,
        None,
        None,
        None,
        (),
    )
    assert figures.tokens == 16


@again
async def test_of_a_plain_answer_every_figure_is_the_service_s_own(truth: Truth) -> None:
    cases = await ask(truth, 2, jit=0.3)
    assert [case.is_true() for case in cases] == [True, True]
    first, second = (case.record for case in cases)
    assert (first.connect or 0) > 0
    assert (second.connect, second.tls, second.output, second.input) == (None, None, 16, 5)
