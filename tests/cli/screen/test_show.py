import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from click import UsageError
from trio.testing import MockClock

from fanout import Race, open_fanout
from fanout.answers import Run
from fanout.cli.options import Choices
from fanout.cli.screen.live import Screen
from fanout.cli.screen.show import _tell_waits, exit_code, output_for
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
from tests.words import memory, said, words

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
async def test_a_pipe_gets_exactly_what_the_model_said() -> None:
    text = f"{ESCAPES} \u179f\u17b8\u200b\u1796 \u202bx"
    async with open_server() as server:
        lane = server.lane("a", say=text)
        for option in ("--plain", "-q"):
            assert (await fanout("race", option, "-m", lane, "hi")).out == f"{text}\n"
        assert (await fanout("race", "--raw", "-m", lane, "hi")).out == text
        assert (await fanout("compare", "-m", lane, "hi")).out == f"[a] {text}\n"
        assert text in (await fanout("compare", "--markdown", "-m", lane, "hi")).out
        assert "\x1b" not in (await fanout("race", "--jsonl", "-m", lane, "hi")).out


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["race", "compare"])
@pytest.mark.parametrize("option", ["--plain", "-q", "--markdown", None])
async def test_a_terminal_never_obeys_a_model(verb: str, option: str | None) -> None:
    async with open_server() as server:
        lane = server.lane("a", say=ESCAPES)
        async with on_terminal(verb, *([option] if option else []), "-m", lane, "hi") as terminal:
            assert await terminal.end() == 0
    assert "red" in terminal.written
    assert "owned" not in terminal.written
    assert "\x1b[31mred" not in terminal.written


async def read_until(text: str, *arguments: str) -> bytes:
    """Runs a command whose lanes never end, and returns its output up to the text."""
    command = [*COMMAND, *arguments, "hi"]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    assert process.stdout is not None
    seen = b""
    try:
        with trio.fail_after(20):
            while text.encode() not in seen:
                seen += await process.stdout.receive_some()
    finally:
        process.kill()
        await process.wait()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["race"], "w0 w1 "),
        (["race", "-q"], "w0 w1 "),
        (["race", "--raw"], "w0 w1 "),
        (["race", "--plain"], "w0 w1 "),
        (["hedge"], "w0 w1 "),
        (["fallback"], "w0 w1 "),
        (["compare"], "[a] w0 w1 "),
        (["compare", "-q"], "w0 w1 "),
        (["race", "-m", "FAILS"], "w0 w1 "),
        (["race", "--on", "first_token", "-m", "LATE"], "w0 w1 "),
        (["hedge", "--on", "first_token", "-m", "LATE"], "w0 w1 "),
        (["fallback", "-m", "FAILS"], "w0 w1 "),
        (["compare", "-m", "ENDS"], "[b] x\n[a] w0 w1 "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_pipe_gets_the_text_as_it_comes_once_it_is_certain_to_count(arguments: list[str], out: str) -> None:
    async with open_server() as server:
        others = {"FAILS": server.lane("b", status=400), "ENDS": server.lane("b", ttft=0.5, say="x")}
        others["LATE"] = server.lane("b", ttft=30)
        given = [others.get(argument, argument) for argument in arguments]
        assert (await read_until("w1", *given, "-m", server.lane("a", n=2, hang=2))).decode() == out


@pytest.mark.slow
async def test_while_two_lanes_can_win_a_pipe_gets_nothing() -> None:
    async with open_server() as server:
        early, late = server.lane("a", n=2, cut=2, gap=0.1), server.lane("b", ttft=1, say="Blue.")
        done = await fanout("race", "-q", "-m", early, "-m", late, "hi")
    assert done.out == "Blue.\n"


@pytest.mark.slow
async def test_a_picture_never_wipes_the_text_of_a_pipe_that_ends_on_the_same_terminal() -> None:
    async with open_server() as server:
        reader, writer = os.pipe()
        lane = server.lane("a", n=20, gap=0.1)
        async with on_terminal("race", "-m", lane, "hi", stdout=writer) as terminal:
            assert await terminal.end() == 0
        os.close(writer)
        os.close(reader)
    assert "running" not in terminal.written


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
    assert done.out.endswith("## a\n\nBlue.\n")


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
    assert "Blue." in last and "w9" in last
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
    assert re.search(r"a: cancelled(.|\n)*w9(.|\n)*no lane answered", last)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ({"fin": "length"}, "cut at max_tokens"),
        ({"fin": "content_filter"}, "cut by a content filter"),
    ],
)
@pytest.mark.parametrize("option", [None, "-q"])
async def test_an_answer_that_is_not_whole_says_so(script: dict[str, str], why: str, option: str | None) -> None:
    async with open_server() as server:
        lane = server.lane("a", n=2, **script)
        done = await fanout("race", *([option] if option else []), "-m", lane, "hi")
    assert (done.code, done.out) == (0, "w0 w1 \n")
    assert why in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ({"think": 3, "fin": "length"}, "its answer was empty: max_tokens went into reasoning"),
        ({"fin": "length"}, "its answer was empty: max_tokens was reached before any text"),
        ({"fin": "content_filter"}, "its answer was empty: a content filter held it back"),
        ({"think": 3}, "its answer was empty: all that came was reasoning"),
    ],
    ids=["thoughts cut", "cut", "filtered", "thoughts"],
)
@pytest.mark.parametrize("verb", ["race", "compare", "fallback"])
async def test_a_lane_that_gave_nothing_says_why(verb: str, script: dict[str, Any], why: str) -> None:
    async with open_server() as server:
        lanes = [server.lane(name, n=0, **script) for name in "ab"]
        done = await fanout(verb, "-m", lanes[0], "-m", lanes[1], "hi")
    assert (done.code, done.out) == (1, "")
    assert f"a: {why}" in done.err
    assert f"b: {why}" in done.err


@pytest.mark.slow
async def test_of_a_quorum_that_came_to_nothing_every_lane_says_why() -> None:
    async with open_server() as server:
        lanes = [server.lane("a"), server.lane("b", ttft=0.3, n=0, fin="length"), server.lane("c", ttft=9)]
        done = await fanout("quorum", "-k", "3", "-m", ",".join(lanes), "hi")
    assert done.code == 1
    assert "  a: finished, but too few others did\n" in done.err
    assert (
        "  b: its answer was empty: max_tokens was reached before any text; -o max_tokens N allows more\n" in done.err
    )
    assert "  c: cancelled, but only when too few others could answer\n" in done.err


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
    assert (done.out, "6 characters of text are printed" in done.err) == ("w0 w1 \n", True)
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


async def test_a_lane_that_is_waited_for_beyond_first_is_told_once_on_stderr(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = memory(a=said("x", first=100), b=[0.1, b"!broken"])
    async with (
        open_fanout("?", Race(*words("a", "b")), transport=transport, retries=0) as running,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_tell_waits, running, Screen())
        async for _ in running:
            pass
        nursery.cancel_scope.cancel()
    line = "a: no content within 60 s; waiting, since no other lane could answer; --first sets a limit"
    assert capsys.readouterr().err.splitlines() == [line]


async def test_where_the_text_of_a_lane_that_was_cut_is_shown_nothing_is_said_of_it() -> None:
    async with open_server() as server:
        lane = server.lane("cut", cut=2, n=9)
        for verb, form in (("race", "--json"), ("race", "--jsonl"), ("race", "--markdown"), ("compare", "--json")):
            done = await fanout(verb, form, "-m", lane, "hi")
            assert done.code == 1 and "w0 w1" in done.out
            assert "cut: " in done.err and "characters of text" not in done.err
        quiet = await fanout("compare", "-q", "-m", lane, "-m", lane, "hi")
    assert (quiet.out, "6 characters of text had come; --json shows them" in quiet.err) == ("", True)


@pytest.mark.slow
async def test_on_a_terminal_what_a_comparison_printed_of_lanes_that_were_stopped_is_not_offered_again() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", n=99, gap=0.3), "-m", server.lane("b", n=99, gap=0.3)]
        async with on_terminal("compare", *lanes, "hi") as terminal:
            await terminal.until("w1")
            os.kill(terminal.process.pid, signal.SIGINT)
            await terminal.end()
            assert "partial" in terminal.written and "characters of text" not in terminal.written


async def test_quiet_several_answers_have_their_lanes_names() -> None:
    async with open_server() as server:
        lanes = ["-m", server.lane("a", say="Blue."), "-m", server.lane("b", say="Red.")]
        several = await fanout("compare", "-q", *lanes, "hi")
        one = await fanout("compare", "-q", *lanes[:2], "hi")
    assert (several.out, one.out) == ("[a] Blue.\n[b] Red.\n", "Blue.\n")
