import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from attrs import evolve
from click import UsageError

from fanout.answers import Run
from fanout.cli.options import Choices
from fanout.cli.screen.show import exit_code, output_for
from fanout.errors import TimedOut
from fanout.formats import Output
from fanout.formats.json import Json
from fanout.formats.jsonl import JsonLines
from fanout.formats.markdown import Markdown
from fanout.formats.plain import Plain
from fanout.formats.summary import Who
from fanout.formats.text import Raw, Text
from fanout.prompt import Prompt
from tests.cli.command import COMMAND, ENVIRONMENT, children, fanout, on_terminal
from tests.formats.runs import FAILED, LATE, NOBODY, RUN, WON
from tests.servers.openai import Served, open_server

PROMPT = Prompt.of("hi")
ESCAPES = "\x1b[31mred\x1b]2owned\x07"


@pytest.mark.parametrize(
    ("output", "quiet", "kind"),
    [
        ("json", False, Json),
        ("jsonl", True, JsonLines),
        ("markdown", False, Markdown),
        ("raw", False, Raw),
        ("plain", True, Plain),
        (None, True, Text),
        (None, False, Plain),
    ],
)
def test_the_user_chooses_the_format(output: str | None, quiet: bool, kind: type[Output]) -> None:
    assert type(output_for(Choices(output=output, quiet=quiet), PROMPT, "winner")) is kind


def test_raw_text_is_for_one_answer() -> None:
    with pytest.raises(UsageError, match="one answer"):
        output_for(Choices(output="raw"), PROMPT, "all")


NO_WINNER = evolve(RUN, winner=None)
TOO_FEW = evolve(NO_WINNER, kept=())
LATE_FOR_ALL = evolve(LATE, error=TimedOut("the deadline passed", clock="deadline"))


@pytest.mark.parametrize(
    ("run", "who", "strict", "code"),
    [
        (RUN, "winner", False, 0),
        (RUN, "winner", True, 3),
        (NO_WINNER, "all", False, 0),
        (NO_WINNER, "all", True, 3),
        (NO_WINNER, "winner", False, 1),
        (TOO_FEW, "quorum", False, 1),
        (RUN, "quorum", False, 0),
        (evolve(RUN, answers=(WON,)), "winner", True, 0),
        (NOBODY, "winner", False, 1),
        (NOBODY, "all", True, 1),
        (evolve(NOBODY, answers=(FAILED, LATE_FOR_ALL)), "winner", False, 124),
        (evolve(NO_WINNER, answers=(WON, LATE_FOR_ALL)), "all", False, 0),
    ],
)
def test_the_exit_code_tells_what_became_of_the_run(run: Run, who: Who, strict: bool, code: int) -> None:
    assert exit_code(run, who, strict=strict) == code


@pytest.mark.slow
async def test_model_output_is_sanitised_unless_asked_for_raw() -> None:
    async with open_server() as server:
        lane = server.lane("a", say=ESCAPES)
        for option, out in (("--plain", "red\n"), ("-q", "red\n"), ("--raw", ESCAPES)):
            assert (await fanout("race", option, "-m", lane, "hi")).out == out
        assert (await fanout("compare", "-m", lane, "hi")).out == "[a] red\n"
        assert "\x1b" not in (await fanout("race", "--jsonl", "-m", lane, "hi")).out


@pytest.mark.slow
async def test_jsonl_lines_come_as_they_happen() -> None:
    async with open_server() as server:
        command = [*COMMAND, "race", "--jsonl", "-m", server.lane("a", n=2, hang=2), "hi"]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        seen = b""
        with trio.fail_after(20):
            while b"w1" not in seen:
                seen += await process.stdout.receive_some()
        kinds = [json.loads(line)["type"] for line in seen.splitlines()]
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(20):
            assert await process.wait() == 143
    assert kinds[0] == "started"
    assert kinds[-1] == "delta"


@pytest.mark.slow
async def test_the_last_line_of_jsonl_is_the_run() -> None:
    async with open_server() as server:
        done = await fanout("race", "--jsonl", "-m", server.lane("a", n=2), "hi")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["text"] for line in lines if line["type"] == "delta"] == ["w0 ", "w1 "]
    assert (lines[-1]["type"], lines[-1]["winner"]) == ("run", "a")


@pytest.mark.slow
async def test_markdown_holds_prompt_lanes_and_answers() -> None:
    async with open_server() as server:
        done = await fanout("compare", "--markdown", "-m", server.lane("a", say="Blue."), "Why?")
    assert done.out.startswith("# Prompt\n\n```text\nWhy?\n```\n")
    assert done.out.endswith("# a\n\n```text\nBlue.\n```\n")


@pytest.mark.slow
async def test_a_reader_who_leaves_ends_it_quietly() -> None:
    async with open_server() as server:
        reader, writer = os.pipe()
        os.close(reader)
        command = [*COMMAND, "race", "--jsonl", "-m", server.lane("a", n=500, gap=0.01), "hi"]
        done = await trio.run_process(
            command, stdin=b"", stdout=writer, capture_stderr=True, check=False, env=ENVIRONMENT
        )
        os.close(writer)
        await server.all_closed()
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_to_the_group_ends_everything_and_restores_the_terminal(
    number: signal.Signals, code: int
) -> None:
    async with open_server() as server:
        async with on_terminal("race", "-m", server.lane("a", n=500, gap=0.02), "hi") as terminal:
            await terminal.until("running.*TTFT")
            os.killpg(terminal.process.pid, number)
            assert await terminal.end() == code
            assert not children(terminal.process.pid)
        await server.all_closed()
    written = terminal.written
    assert written.rstrip().endswith("fanout: interrupted")
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")
    assert "Traceback" not in written


@pytest.mark.slow
async def test_at_an_interrupt_what_has_finished_is_shown_with_the_table_and_kept_for_c() -> None:
    async with open_server() as server:
        lanes = ("-m", server.lane("fast", say="Blue."), "-m", server.lane("slow", n=500, gap=0.02))
        async with on_terminal("compare", *lanes, "Why?") as terminal:
            await terminal.until(r"finished[^\n]*TTFT(.|\n)*w9 ")
            terminal.process.send_signal(signal.SIGINT)
            assert await terminal.end() == 130
        again = await fanout("race", "-c", "-q", "-m", server.lane("fast", say="Still."), "And now?")
        asked = json.loads(server.served[-1].request.body)
    last = terminal.written[terminal.written.rindex("\x1b[?25h") :]
    assert "Blue." in last and "w9 " in last
    assert re.search(r"fast +finished(.|\n)*slow +cancelled", last)
    assert last.rstrip().endswith("fanout: interrupted")
    assert again.code == 0
    assert [message["content"] for message in asked["messages"]] == ["Why?", "Blue.", "And now?"]


@pytest.mark.slow
async def test_an_interrupted_race_shows_what_had_come_under_headings() -> None:
    async with (
        open_server() as server,
        on_terminal("race", "--no-save", "-m", server.lane("a", n=500, gap=0.02), "hi") as terminal,
    ):
        await terminal.until("w9 ")
        terminal.process.send_signal(signal.SIGTERM)
        assert await terminal.end() == 143
    last = terminal.written[terminal.written.rindex("\x1b[?25h") :]
    assert re.search(r"a: cancelled(.|\n)*w9 (.|\n)*no lane answered", last)


@pytest.mark.slow
async def test_an_interrupted_run_is_whole_json_too() -> None:
    async with open_server() as server:
        lanes = ("-m", server.lane("fast", say="Blue."), "-m", server.lane("slow", n=500, gap=0.02))
        process = await trio.lowlevel.open_process(
            [*COMMAND, "compare", "--json", "--no-save", *lanes, "Why?"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        await trio.sleep(2)  # the fast lane has ended long before, the slow one takes ten seconds
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        async with process.stdout:
            run = json.loads(b"".join([chunk async for chunk in process.stdout]))
        assert await process.wait() == 130
    assert [(a["status"], a["text"][:5]) for a in run["answers"]] == [("finished", "Blue."), ("cancelled", "w0 w1")]


@pytest.mark.slow
async def test_a_second_signal_ends_at_once_also_where_nobody_reads_what_is_printed() -> None:
    async with open_server() as server:
        reader, writer = os.pipe()
        process = await trio.lowlevel.open_process(
            [*COMMAND, "compare", "--jsonl", "--no-save", "-m", server.lane("a", n=20000), "hi"],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        os.close(writer)
        await server_done(server.served)
        process.send_signal(signal.SIGINT)
        await trio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(1):
            assert await process.wait() == 130
        os.close(reader)


@pytest.mark.slow
async def test_ctrl_z_takes_the_picture_away_and_going_on_brings_it_back() -> None:
    async with open_server() as server:
        lane = server.lane("a", n=500, gap=0.02)
        async with on_terminal("race", "--no-save", "-m", lane, "hi") as terminal:
            await terminal.until("running.*TTFT")
            terminal.process.send_signal(signal.SIGTSTP)  # in a session of its own the system stops nothing
            await terminal.until("Ctrl-Z again brings the picture back")
            assert terminal.written.rindex("\x1b[?25h") > terminal.written.rindex("\x1b[?25l")
            before = len(terminal.written)
            await trio.sleep(0.5)
            assert len(terminal.written) == before
            terminal.process.send_signal(signal.SIGCONT)
            await terminal.until(r"Ctrl-Z again(.|\n)*\x1b\[\?25l")


@pytest.mark.slow
async def test_an_interrupt_while_standard_input_is_read_needs_no_traceback() -> None:
    process = await trio.lowlevel.open_process(
        [*COMMAND, "race", "hi"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdin is not None
    assert process.stderr is not None
    async with process.stdin, process.stderr:
        await trio.sleep(0.6)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            code = await process.wait()
            said = b"".join([chunk async for chunk in process.stderr])
    assert process.stdout is not None
    await process.stdout.aclose()
    assert code == 130
    assert b"Traceback" not in said


@pytest.mark.slow
async def test_a_slow_reader_does_not_change_when_events_arrived() -> None:
    async with open_server() as server:
        command = [*COMMAND, "race", "--jsonl", "-m", server.lane("a", n=2000), "hi"]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        assert process.stdout is not None
        await server_done(server.served)
        await trio.sleep(0.5)
        async with process.stdout:
            lines = b"".join([chunk async for chunk in process.stdout]).splitlines()
        await process.wait()
    run = json.loads(lines[-1])
    assert run["type"] == "run"
    assert run["answers"][0]["tokens"] == 2000


async def server_done(served: Sequence[Served]) -> None:
    began = time.monotonic()
    while not served or served[0].ended_at is None:
        assert time.monotonic() - began < 20
        await trio.sleep(0.01)


async def test_the_text_of_a_lane_that_was_cut_is_not_lost() -> None:
    async with open_server() as server:
        lane = server.lane("cut", cut=2, n=9)
        done = await fanout("race", "-m", lane, "hi")
        told = json.loads((await fanout("race", "-m", lane, "--json", "hi")).out)
    assert done.code == 1
    assert "6 characters of text had come; --json shows them" in done.err
    assert told["answers"][0]["text"] == "w0 w1 "


@pytest.mark.slow
async def test_the_user_chooses_what_carries_the_requests(tmp_path: Path) -> None:
    (tmp_path / "fanout").mkdir()
    (tmp_path / "fanout" / "fanout.toml").write_text('[defaults]\ntransport = "httpx"\n')
    configured = {"XDG_CONFIG_HOME": str(tmp_path)}
    async with open_server() as server:
        lane = server.lane("a")
        await fanout("race", "-m", lane, "hi")
        await fanout("race", "-m", lane, "--transport", "httpx", "hi")
        await fanout("race", "-m", lane, "hi", env=configured)
        await fanout("race", "-m", lane, "--transport", "curl", "hi", env=configured)
        wrong = await fanout("race", "-m", lane, "--transport", "ftp", "hi")
    agents = [served.request.headers["user-agent"].partition("-")[0] for served in server.served]
    assert agents == ["fanout", "python", "python", "fanout"]
    assert (wrong.code, "'ftp' is not one of 'curl', 'httpx'" in wrong.err) == (2, True)
