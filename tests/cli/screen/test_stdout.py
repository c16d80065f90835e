import os
import subprocess
import sys

import pytest

from fanout.cli.screen.stdout import encode, write


def test_text_goes_out_in_utf_8_whatever_is_in_it() -> None:
    assert encode("né 你") == "né 你".encode()
    assert encode("\ud83d\ude00") == "😀".encode()
    assert encode("a\ud83db") == "a\ufffdb".encode()


async def test_a_stand_in_for_stdout_is_written_to(capsys: pytest.CaptureFixture[str]) -> None:
    await write("Blue.\n")
    assert capsys.readouterr().out == "Blue.\n"


async def test_a_file_is_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    await write("x" * 10_000)
    assert capfd.readouterr().out == "x" * 10_000


@pytest.mark.slow
def test_a_reader_who_waits_does_not_stop_the_writer_s_other_tasks() -> None:
    script = (
        "import trio, sys\n"
        "from fanout.cli.screen.stdout import write\n"
        "async def main():\n"
        "    with trio.move_on_after(0.2) as scope:\n"
        "        await write('x' * 1_000_000)\n"
        "    print(scope.cancelled_caught, file=sys.stderr)\n"
        "trio.run(main)\n"
    )
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, check=True, timeout=10
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert done.stderr == b"True\n"
