import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from fanout.cli.screen.live import Line, Live, Region, Screen, screen_for
from fanout.events import Delta, End, Started, Status, Tagged
from tests.cli.command import on_terminal
from tests.servers.openai import open_server

IsATty = Callable[[bool, bool], None]


@pytest.fixture
def terminals(monkeypatch: pytest.MonkeyPatch) -> IsATty:
    def are(out: bool, err: bool) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: out)
        monkeypatch.setattr("sys.stderr.isatty", lambda: err)

    monkeypatch.setenv("TERM", "xterm-256color")
    return are


@pytest.mark.parametrize(
    ("out", "err", "output", "quiet", "kind"),
    [
        (True, True, None, False, Live),
        (True, False, None, False, Live),
        (False, True, None, False, Line),
        (True, True, "json", False, Line),
        (True, True, "plain", False, Line),
        (False, True, "jsonl", False, Line),
        (True, True, "jsonl", False, Screen),
        (True, False, "json", False, Screen),
        (False, False, None, False, Screen),
        (True, True, None, True, Screen),
    ],
)
def test_the_screen_suits_where_the_output_goes(
    terminals: IsATty, out: bool, err: bool, output: str | None, quiet: bool, kind: type[Screen]
) -> None:
    terminals(out, err)
    assert type(screen_for(["a"], output, quiet=quiet)) is kind


def test_a_dumb_terminal_has_no_screen(terminals: IsATty, monkeypatch: pytest.MonkeyPatch) -> None:
    terminals(True, True)
    monkeypatch.setenv("TERM", "dumb")
    assert type(screen_for(["a"], None, quiet=False)) is Screen


def test_the_line_counts_and_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    with Line(["a", "b"]) as line:
        line.event(Tagged("a", 0.0, Started()))
        line.event(Tagged("b", 0.0, Started()))
        line.event(Tagged("a", 0.1, Delta("x" * 9)))
        line.event(Tagged("b", 0.2, End(Status.FAILED)))
        line.draw(0.4)
        assert capsys.readouterr().err == ""
        line.draw(1.24)
        assert capsys.readouterr().err == "\r1 of 2 lanes running, 1 ended, ~3 tok, 1.2 s\x1b[K"
    assert capsys.readouterr().err == "\r\x1b[K"


def test_a_picture_stays_away_until_all_who_wanted_room_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Line(["a"]) as line:
        line.draw(1)
        seen = [line.away]
        with line.hold():
            with line.hold():
                seen.append(line.away)
            seen.append(line.away)
        seen.append(line.away)
    assert seen == [False, True, True, False]
    assert capsys.readouterr().err.endswith("\r\x1b[K")
    with pytest.raises(KeyError), line.hold():
        raise KeyError
    assert line.holds == 0


@pytest.mark.slow
async def test_the_winner_is_green_and_what_failed_is_red() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", ttft=0.3), "-m", server.lane("b", status=400)]
        async with on_terminal("race", *lanes, "hi", width=60) as terminal:
            assert await terminal.end() == 0
    assert re.search(r"\x1b\[32m\x1b\[1m\*  a  finished", terminal.written)
    assert re.search(r"\x1b\[31m   b  failed", terminal.written)


@pytest.mark.slow
async def test_the_columns_come_live_and_then_the_answers_once() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", n=6, gap=0.15), "-m", server.lane("b", n=3, gap=0.15)]
        async with on_terminal("compare", *lanes, "hi") as terminal:
            await terminal.until("running · TTFT")
            live = terminal.written
            assert await terminal.end() == 0
    assert "╭─" in live
    after = terminal.written[terminal.written.rfind("\x1b[?25h") :]
    assert "╭─" not in after
    assert after.count("w0 w1 w2 w3 w4 w5") == 1
    assert after.index("── a: finished") < after.index("── b: finished") < after.index("TTFT")


@pytest.mark.slow
async def test_model_output_cannot_write_escapes_to_the_terminal() -> None:
    async with open_server() as server:
        lane = server.lane("a", say="\x1b]2owned\x07\x1b[5mBlue.\x9b7m[bold]x[/bold]", ttft=0.2)
        async with on_terminal("race", "-m", lane, "hi") as terminal:
            assert await terminal.end() == 0
    assert "Blue.[bold]x[/bold]" in terminal.written
    assert not re.search("\x1b\\]|\x1b\\[5m|owned|\x9b", terminal.written)


@pytest.mark.slow
async def test_raw_text_is_refused_on_a_terminal() -> None:
    async with on_terminal("race", "--raw", "-m", "local", "hi") as terminal:
        assert await terminal.end() == 2
    assert "--raw is not for a terminal" in terminal.written


@pytest.mark.slow
async def test_an_answer_that_goes_to_a_file_leaves_progress_on_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        async with open_server() as server:
            lane = server.lane("a", ttft=1, say="Blue.")
            async with on_terminal("race", "-m", lane, "hi", stdout=descriptor) as terminal:
                await terminal.until("1 of 1 lanes running")
                assert await terminal.end() == 0
    finally:
        os.close(descriptor)
    assert file.read_text() == "Blue.\n"
    assert "Blue." not in terminal.written
    assert "*  a  finished" in terminal.written


@pytest.mark.slow
async def test_a_small_terminal_is_not_overdrawn() -> None:
    async with open_server() as server:
        lanes = [argument for i in range(6) for argument in ("-m", server.lane(f"l{i}", n=50, gap=0.02 + i / 1000))]
        async with on_terminal("compare", "-q", *lanes, "hi", width=60, height=5) as quiet:
            assert await quiet.end() == 0
        async with on_terminal("compare", *lanes, "hi", width=60, height=5) as terminal:
            await terminal.until("and 3 more")
            assert await terminal.end() == 0
    assert "\x1b[?25l" not in quiet.written
    frames = terminal.written[: terminal.written.rfind("\x1b[?25h")].split("\x1b[2K")
    assert max(frame.count("\n") for frame in frames) <= 5


def test_a_region_that_comes_back_leaves_the_lines_that_were_written_meanwhile() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=20, height=10)
    region = Region(console)
    region.show("one\ntwo\nthree")
    region.clear()
    assert isinstance(console.file, io.StringIO)
    console.file.write("from the shell\n")
    written = len(console.file.getvalue())
    region.show("one\ntwo\nthree")
    again = console.file.getvalue()[written:]
    region.clear()
    assert "\x1b[1A" not in again  # up
    assert "three" in again
