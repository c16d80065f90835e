import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import fanout
from fanout.errors import UsageError
from fanout.learning import kept
from fanout.learning.latencies import Key, Measure
from fanout.learning.memory import Memory

KEY = Key("a", "https://a.test/v1", "m")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "fanout" / "learnt"


def learnt(count: int = 30, key: Key = KEY) -> Memory:
    memory = Memory()
    for number in range(count):
        memory.latencies.saw(key, 100, 1 + number / 100)
    return memory


def test_what_is_saved_is_loaded_and_only_its_owner_can_read_it(state: Path) -> None:
    kept.save(learnt())
    assert kept.load().latencies.count(KEY) == 30
    assert stat.S_IMODE((state / kept.NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_nothing_is_written_where_nothing_was_learnt(state: Path) -> None:
    kept.save(Memory())
    assert not state.exists()
    assert kept.load().latencies.count(KEY) == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff\xff", b" " * (kept.LONGEST + 1), b"7"])
def test_a_file_that_cannot_be_read_is_as_good_as_none(state: Path, data: bytes) -> None:
    kept.save(learnt())
    (state / kept.NAME).write_bytes(data)
    assert kept.load().latencies.count(KEY) == 0
    kept.save(learnt())
    assert kept.load().latencies.count(KEY) == 30


def test_a_file_that_others_can_read_is_not_used(state: Path) -> None:
    kept.save(learnt())
    (state / kept.NAME).chmod(0o644)
    assert not kept.may_remember()
    with pytest.raises(UsageError, match="chmod 600"):
        kept.load()


def test_the_file_is_never_longer_than_64_kilobytes(state: Path) -> None:
    memory = Memory()
    for number in range(100):
        for measure in (Measure(), Measure(whole=True)):
            for _ in range(400):
                memory.latencies.saw(Key("a", "https://a.test/v1", f"model-{number}"), 100, 1.234, measure)
    kept.save(memory)
    assert (state / kept.NAME).stat().st_size <= kept.LONGEST
    assert kept.load().latencies.count(Key("a", "https://a.test/v1", "model-99")) >= 100


def test_two_processes_at_once_lose_nothing(state: Path) -> None:
    code = (
        "from fanout.learning import kept\nfrom fanout.learning.latencies import Key\n"
        "memory = kept.load()\n"
        "for _ in range(20): memory.latencies.saw(Key('a', 'https://a.test/v1', 'm'), 100, 1.0)\n"
        "kept.save(memory)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    assert [process.wait() for process in running] == [0] * 8
    assert kept.load().latencies.count(KEY) == 160


async def test_a_program_remembers_only_if_it_asks_to(state: Path) -> None:
    async with fanout.open_transport("httpx") as transport:
        transport.memory = learnt()
    assert kept.load().latencies.count(KEY) == 0
    async with fanout.open_transport("httpx", remember=True) as transport:
        assert transport.memory is not None
        for _ in range(30):
            transport.memory.latencies.saw(KEY, 100, 1.0)
    async with fanout.open_transport("httpx", remember=True) as transport:
        assert transport.memory is not None
        assert transport.memory.latencies.count(KEY) == 30


async def test_what_was_learnt_is_kept_also_by_a_run_that_is_cancelled(state: Path) -> None:
    with trio.move_on_after(0.2):
        async with fanout.open_transport("httpx", remember=True) as transport:
            assert transport.memory is not None
            transport.memory.latencies.saw(KEY, 100, 1.0)
            await trio.sleep_forever()
    assert kept.load().latencies.count(KEY) == 1
