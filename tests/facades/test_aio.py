"""fanout.aio on asyncio's own loop and on uvloop: results, exceptions, cancellation and loops that come and go."""

import asyncio
import gc
import inspect
import os
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import anyio
import pytest
import trio
from anyio.from_thread import BlockingPortal

import fanout
from fanout import Delta, End, Status
from fanout.errors import AuthError, ServerError, UsageError
from fanout.facades import aio as facade
from fanout.facades.aio import run as run_in_home
from fanout.facades.home import find_home
from fanout.transports.memory import HANG, MemoryTransport
from tests.facades.conftest import Run
from tests.servers.openai import OpenAIServer

LANE = "m=openai/m?base_url=http://a.test/v1&key_env="
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def play(*steps: float | bytes) -> MemoryTransport:
    return MemoryTransport({"a.test": steps})


async def until(true: Callable[[], bool]) -> None:
    """Looks again and again: what is waited for happens in another thread."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def test_it_has_the_calls_of_fanout_with_their_signatures() -> None:
    calls = [name for name in fanout.__all__ if inspect.isfunction(getattr(fanout, name))]
    assert len(calls) >= 8
    assert set(fanout.aio.__all__) == {*calls, "Fanout", "Stream", "show"}
    assert fanout.aio.__all__ == sorted(fanout.aio.__all__)
    for name in calls:
        theirs, ours = getattr(fanout, name), getattr(fanout.aio, name)
        assert inspect.signature(theirs) == inspect.signature(ours)
        assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours)
        assert (theirs.__name__, theirs.__doc__) == (ours.__name__, ours.__doc__)


def test_a_race_returns_the_answer(run: Run, server: OpenAIServer) -> None:
    lanes = [server.lane("slow", ttft=5), server.lane("fast", ttft=0.01)]
    answer = run(fanout.aio.race("?", lanes))
    assert (answer.lane, answer.text) == ("fast", "w0 w1 w2 ")


def test_exceptions_cross_with_their_types_and_where_they_came_from(run: Run, server: OpenAIServer) -> None:
    lanes = [server.lane("a", status=500), server.lane("b", status=401)]
    with pytest.RaisesGroup(ServerError, AuthError) as caught:
        run(fanout.aio.race("?", lanes, retries=0))
    assert isinstance(caught.value, fanout.AllLanesFailed)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames.index("crossing") < frames.index("race")  # from the caller's line into that of the other thread
    with pytest.raises(UsageError, match="timeout"):
        run(fanout.aio.race("?", lanes, timeout=3))  # type: ignore[call-arg]


@pytest.mark.parametrize("error", [LookupError("mine"), trio.TooSlowError()], ids=repr)
def test_a_mistake_in_accept_comes_out_and_ends_nothing_else(error: Exception, run: Run) -> None:
    def accept(_: fanout.Answer) -> bool:
        raise error

    async def main() -> None:
        other = asyncio.create_task(fanout.aio.ask("?", LANE, transport=play(0.1, TOKEN, END)))
        with pytest.raises(type(error)) as caught:
            await fanout.aio.race("?", LANE, accept=accept, transport=play(TOKEN, END))
        assert caught.value is error
        assert (await other).answers[0].status is Status.FINISHED

    run(main())


def test_even_an_exit_in_accept_is_the_callers_alone() -> None:
    def accept(_: fanout.Answer) -> bool:
        raise SystemExit(3)

    async def main() -> None:
        await fanout.aio.race("?", LANE, accept=accept, transport=play(TOKEN, END))

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert asyncio.run(fanout.aio.race("?", LANE, transport=play(TOKEN, END))).text == "word "


def test_accept_sees_the_context_of_the_call_and_runs_in_the_other_thread(run: Run) -> None:
    who: ContextVar[str] = ContextVar("who")
    seen: list[tuple[str, str]] = []

    def accept(_: fanout.Answer) -> bool:
        seen.append((who.get(), threading.current_thread().name))
        return True

    async def main(name: str) -> None:
        who.set(name)
        await fanout.aio.race("?", LANE, accept=accept, transport=play(TOKEN, END))

    async def both() -> None:
        await asyncio.gather(main("a"), main("b"))

    run(both())
    assert sorted(seen) == [("a", "fanout"), ("b", "fanout")]


def test_an_async_accept_is_awaited_by_the_loop_of_the_caller(run: Run) -> None:
    who: ContextVar[str] = ContextVar("who")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        async def accept(answer: fanout.Answer) -> bool:
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop() is loop
            seen.append(f"{who.get()} {answer.text}")
            return len(seen) > 1

        who.set("me")
        answer = await fanout.aio.race("?", [LANE, LANE], accept=accept, transport=play(TOKEN, END))
        assert answer.text == "word "
        assert seen == ["me word "] * 2
        async with fanout.aio.open_fanout("?", fanout.Race(LANE, accept=accept), transport=play(TOKEN, END)) as events:
            assert [tagged async for tagged in events]
        assert len(seen) == 3

    run(main())


def test_what_an_async_accept_raises_comes_out_and_a_cancelled_one_leaves_nothing(run: Run) -> None:
    left: list[str] = []

    async def fail(_: fanout.Answer) -> bool:
        raise LookupError("mine")

    async def hang(_: fanout.Answer) -> bool:
        try:
            await asyncio.sleep(60)
        finally:
            left.append("clean")
        return True

    async def main() -> None:
        with pytest.raises(LookupError, match="mine"):
            await fanout.aio.race("?", LANE, accept=fail, transport=play(TOKEN, END))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fanout.aio.race("?", LANE, accept=hang, transport=play(TOKEN, END))
        assert "clean" in left
        assert len(asyncio.all_tasks()) == 1

    run(main())
    assert running_tasks() == 0


def test_an_async_accept_whose_loop_is_closed_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facade, "LOOK", 0.05)
    begun = threading.Event()

    async def hang(_: fanout.Answer) -> bool:
        begun.set()
        await asyncio.sleep(60)
        return True

    loop = asyncio.new_event_loop()
    task = loop.create_task(fanout.aio.race("?", LANE, accept=hang, transport=play(TOKEN, END)))
    while not begun.is_set():
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.set_exception_handler(lambda *_: None)  # it tells of tasks that are destroyed while they wait
    loop.close()
    due = time.monotonic() + 5
    while running_tasks() and time.monotonic() < due:
        time.sleep(0.01)
    assert running_tasks() == 0
    del task
    gc.collect()


def test_a_stream_gives_the_winners_text(run: Run, server: OpenAIServer) -> None:
    async def main() -> None:
        lanes = [server.lane("slow", ttft=5), server.lane("fast", ttft=0.05, n=50)]
        async with fanout.aio.stream("?", lanes) as text:
            before = text.lane
            pieces = [piece async for piece in text]
        assert before is None
        assert "".join(pieces) == "".join(f"w{number} " for number in range(50))
        assert text.lane == "fast"
        assert text.run.winner
        async with fanout.aio.stream("?", server.lane("bad", status=500), retries=0) as text:
            with pytest.RaisesGroup(ServerError):
                async for _ in text:
                    pass

    run(main())


def test_a_cancelled_call_returns_when_nothing_of_it_is_left(run: Run) -> None:
    transport = play(TOKEN, HANG)

    async def main() -> None:
        task = asyncio.create_task(fanout.aio.race("?", LANE, transport=transport))
        await until(lambda: bool(transport.exchanges) and transport.exchanges[0].steps == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.open == 0

    run(main())


def test_cancellation_reaches_the_service_at_once(run: Run, portal: BlockingPortal, server: OpenAIServer) -> None:
    lane = server.lane("a", n=1000, gap=0.01)

    async def main() -> float:
        task = asyncio.create_task(fanout.aio.ask("?", lane))
        await until(lambda: bool(server.served) and bool(server.served[0].sent))
        task.cancel()
        cancelled_at = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return cancelled_at

    async def closed() -> None:
        with trio.fail_after(1):
            await server.all_closed()

    cancelled_at = run(main())
    portal.call(closed)
    assert time.monotonic() - cancelled_at < 0.25


def test_timeouts_of_asyncio_work_also_two_at_once(run: Run) -> None:
    async def main() -> None:
        transport = play(TOKEN, HANG)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await fanout.aio.race("?", LANE, transport=transport)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), asyncio.timeout(0.0201):
                await fanout.aio.race("?", LANE, transport=transport)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fanout.aio.race("?", LANE, transport=transport), 0.01)
        assert transport.open == 0
        task = asyncio.current_task()
        assert task and task.cancelling() == 0

    run(main())


def test_a_scope_of_anyio_cancels_and_the_loop_does_not_spin(run: Run) -> None:
    turns = 0

    async def slow_to_leave() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(0.1, shield=True):
                await trio.sleep_forever()

    async def main() -> None:
        nonlocal turns

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_later(0.005, turn)

        loop = asyncio.get_running_loop()
        cpu = time.thread_time()
        with anyio.move_on_after(0.01) as scope:
            await run_in_home(slow_to_leave)
        assert scope.cancelled_caught
        assert time.thread_time() - cpu < 0.05

    run(main())


def test_a_second_cancel_changes_nothing(run: Run) -> None:
    left = threading.Event()

    async def slow_to_leave() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(0.05, shield=True):
                await trio.sleep_forever()
            left.set()

    async def main() -> None:
        task = asyncio.create_task(run_in_home(slow_to_leave))
        await asyncio.sleep(0.02)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.005)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left.is_set()

    run(main())


def running_tasks() -> int:
    return find_home().ask(lambda: find_home().running)


@pytest.mark.parametrize("turns", range(16))
def test_it_can_be_cancelled_at_every_point(turns: int, run: Run) -> None:
    transport = play(TOKEN, TOKEN, 0.001, TOKEN, END)

    async def iterate() -> None:
        async with fanout.aio.open_fanout("?", LANE, transport=transport) as events:
            async for _ in events:
                await asyncio.sleep(0)

    async def main() -> None:
        for call in (fanout.aio.race("?", LANE, transport=transport), iterate()):
            task = asyncio.create_task(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or turns
            assert transport.open == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())
    assert running_tasks() == 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_ten_thousand_cancelled_calls_leave_nothing_on_either_side() -> None:
    transport = play(TOKEN, HANG)

    async def burst(count: int) -> None:
        tasks = [asyncio.create_task(fanout.aio.race("?", LANE, transport=transport)) for _ in range(count)]
        for number, task in enumerate(tasks):
            asyncio.get_running_loop().call_later(number % 7 / 1000, task.cancel)
        done, _ = await asyncio.wait(tasks)
        assert all(task.cancelled() for task in done)
        assert transport.open == 0
        transport.exchanges.clear()

    async def main() -> None:
        for _ in range(10):
            await burst(100)
        before, threads = (descriptors(), len(asyncio.all_tasks()), running_tasks()), threading.active_count()
        heavy = memory()
        for _ in range(100):
            await burst(100)
        assert (descriptors(), len(asyncio.all_tasks()), running_tasks()) == before
        assert threading.active_count() <= threads  # an idle one of Trio's may have ended meanwhile
        assert memory() - heavy < 4_000_000

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_a_thousand_cancelled_streams_leave_no_connection(portal: BlockingPortal, server: OpenAIServer) -> None:
    async def one(number: int) -> None:
        async with fanout.aio.open_fanout("?", server.lane("a", n=1000, gap=0.005)) as events:
            async for tagged in events:
                if isinstance(tagged.event, Delta) and number % 3 == 0:
                    return

    async def burst() -> None:
        tasks = [asyncio.create_task(one(number)) for number in range(25)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def main() -> None:
        await burst()
        await asyncio.sleep(0.05)
        before = descriptors()
        for _ in range(39):
            await burst()
        await asyncio.sleep(0.05)
        assert descriptors() <= before

    async def closed() -> None:
        with trio.fail_after(1):
            await server.all_closed()

    asyncio.run(main())
    portal.call(closed)
    assert running_tasks() == 0


def test_a_stream_gives_every_event_of_every_lane(run: Run, server: OpenAIServer) -> None:
    lanes = [server.lane("a", n=200, ttft=0.2), server.lane("b", n=300, ttft=0.2)]

    async def main() -> None:
        async with fanout.aio.open_fanout("?", fanout.All(*lanes)) as events:
            assert events.lanes == ["a", "b"]
            assert repr(events).startswith("<Fanout a, b runs")
            assert events.winner is None
            got = [tagged async for tagged in events]
            assert [len([t for t in got if t.lane == lane and type(t.event) is Delta]) for lane in "ab"] == [200, 300]
            assert [t.event.status for t in got if isinstance(t.event, End)] == [Status.FINISHED] * 2
            assert sorted(t.at for t in got) == [t.at for t in got]
        assert [answer.chunks for answer in events.run.answers] == [200, 300]
        assert events.run.answers[0].text.startswith("w0 w1 ")
        assert events.failure is None

    run(main())


def test_a_block_that_is_left_leaves_nothing(run: Run) -> None:
    transport = play(TOKEN, HANG)

    async def main() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with fanout.aio.open_fanout("?", LANE, transport=transport) as events:
                async for tagged in events:
                    if tagged.event == Delta("word "):
                        raise ValueError("mine")
        assert transport.open == 0
        assert events.run.answers[0].text == "word "

    run(main())


def test_a_lane_can_be_cancelled_alone(run: Run) -> None:
    async def main() -> None:
        async with fanout.aio.open_fanout("?", LANE, transport=play(TOKEN, HANG)) as events:
            async for tagged in events:
                if isinstance(tagged.event, Delta):
                    events.cancel("m")
                if isinstance(tagged.event, End):
                    assert tagged.event.status is Status.CANCELLED

    run(main())


def test_a_wait_for_the_next_event_can_be_cut_short_and_loses_none(run: Run) -> None:
    async def main() -> int:
        chunks = cuts = 0
        async with fanout.aio.open_fanout(
            "?", LANE, transport=play(*(step for _ in range(20) for step in (0.004, TOKEN)), END)
        ) as events:
            while True:
                try:
                    tagged = await asyncio.wait_for(anext(events), 0.003)
                except TimeoutError:
                    cuts += 1
                except StopAsyncIteration:
                    break
                else:
                    chunks += isinstance(tagged.event, Delta)
        assert cuts
        return chunks

    assert run(main()) == 20


def test_what_a_fan_out_breaks_off_with_comes_out_of_the_iteration_and_of_the_block_once(run: Run) -> None:
    def accept(_: fanout.Answer) -> bool:
        raise LookupError("mine")

    async def main() -> None:
        plan = fanout.Race(LANE, accept=accept)
        with pytest.raises(LookupError, match="mine"):
            async with fanout.aio.open_fanout("?", plan, transport=play(TOKEN, END)) as events:
                async for _ in events:
                    pass
        with pytest.raises(LookupError, match="mine"):
            async with fanout.aio.open_fanout("?", plan, transport=play(TOKEN, END)):
                await asyncio.sleep(0.05)

    run(main())


def test_a_long_burst_lets_the_loop_turn(run: Run) -> None:
    async def main() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with fanout.aio.open_fanout("?", LANE, transport=play(*[TOKEN] * 2000, END)) as events:
            task = asyncio.create_task(turn())
            async for _ in events:
                pass
            task.cancel()
        return turns

    assert run(main()) > 2


def test_connections_live_on_from_call_to_call_and_from_loop_to_loop(
    run: Run, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for _ in range(2):  # of answers of a known length: after a stream it depends on when the last bytes come
        assert run(fanout.aio.list_models("openai")) == ["m-2", "m-1"]
        assert fanout.sync.list_models("openai") == ["m-2", "m-1"]
    assert server.connections == 1


def test_a_transport_serves_several_loops_and_threads_at_once(server: OpenAIServer) -> None:
    async def main() -> None:
        async with fanout.aio.open_transport() as transport:
            lane = server.lane("a", ttft=0.02)

            def elsewhere(number: int) -> str:
                if number % 2:
                    return fanout.sync.race("?", lane, transport=transport).text
                return asyncio.run(fanout.aio.race("?", lane, transport=transport)).text

            texts = await asyncio.gather(*(asyncio.to_thread(elsewhere, number) for number in range(8)))
            assert texts == ["w0 w1 w2 "] * 8
            with pytest.raises(UsageError, match=r"fanout\.aio or fanout\.sync"):
                await asyncio.to_thread(trio.run, lambda: fanout.race("?", lane, transport=transport))

    asyncio.run(main())


async def test_a_transport_of_a_trio_program_is_refused() -> None:
    async with fanout.open_transport() as transport:
        with pytest.raises(UsageError, match="another loop"):
            await trio.to_thread.run_sync(lambda: fanout.sync.race("?", LANE, transport=transport))


async def test_under_trio_it_says_so() -> None:
    with pytest.raises(UsageError, match=r"here runs Trio: use fanout\.race\("):
        await fanout.aio.race("?", LANE)


def test_without_a_loop_it_says_so() -> None:
    with pytest.raises(UsageError, match=r"here runs no loop: use fanout\.sync\.ask\("):
        fanout.aio.ask("?", LANE).send(None)


@pytest.mark.parametrize("name", [n for n in fanout.__all__ if inspect.isfunction(getattr(fanout, n))])
def test_trios_own_calls_say_which_to_use_under_asyncio_and_without_a_loop(name: str) -> None:
    given = {"prompt": "?", "lanes": LANE, "plan": LANE, "file": fanout.events.File(), "name": "openai"}
    function = getattr(fanout, name)
    arguments = {key: given[key] for key in inspect.signature(function).parameters if key in given}

    async def call() -> None:
        made = function(**arguments)
        if inspect.isawaitable(made):
            await made
        else:
            async with made:
                pass

    with pytest.raises(UsageError, match=rf"await fanout\.aio\.{name}\(|async with fanout\.aio\.{name}\("):
        asyncio.run(call())
    with pytest.raises(UsageError, match=rf"fanout\.sync\.{name}\("):
        call().send(None)


def test_a_call_whose_loop_was_closed_in_the_middle_ends_by_itself_and_disturbs_nobody() -> None:
    transport = play(TOKEN, 0.05, END)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(fanout.aio.race("?", LANE, transport=transport)) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0.02))
    assert transport.open == 2
    loop.close()
    assert asyncio.run(fanout.aio.race("?", LANE, transport=play(TOKEN, 0.1, END))).text == "word "
    assert transport.open == running_tasks() == 0
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would tell of it, and is right
        task.get_coro().close()
