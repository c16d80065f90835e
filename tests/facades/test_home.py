"""The thread behind the facades: one for a process, and what it answers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

from fanout.facades.bridge import Call
from fanout.facades.home import Home, find_home


def test_there_is_one_however_many_ask_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        homes = set(pool.map(lambda _: find_home(), range(64)))
    assert len(homes) == 1


def test_it_answers_questions_also_its_own() -> None:
    home = find_home()
    assert home.ask(home.is_current)
    assert not home.is_current()
    assert home.ask(lambda: home.ask(lambda: 3)) == 3
    with pytest.raises(ZeroDivisionError):
        home.ask(lambda: 1 // 0)


def test_its_end_ends_every_call_and_tells_each_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home()
    monkeypatch.setattr("fanout.facades.bridge.find_home", lambda: home)
    ended: list[str] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(0.05, shield=True):
                await trio.sleep_forever()
            ended.append("clean")

    flags = [threading.Event() for _ in range(3)]
    calls = [Call(work, flag.set) for flag in flags]
    for call in calls:
        call.start()
    home.ask(lambda: None)
    home.close()
    assert ended == ["clean"] * 3
    for call, flag in zip(calls, flags, strict=True):
        assert flag.is_set()
        with pytest.raises(SystemExit, match="the process ends"):
            call.result()
    late = threading.Event()
    call = Call(work, late.set)
    call.start()
    assert late.wait(1)
    with pytest.raises(SystemExit):
        call.result()
    home.close()
