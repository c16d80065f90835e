import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fanout.local import child


def start(*, settings: dict[str, object] | None = None) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-P", child.__file__], stdin=pipe, stdout=pipe, stderr=pipe)
    if settings:
        assert process.stdin
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
    return process


def settings_for(model: Path) -> dict[str, object]:
    return {"model": str(model), "slots": 1, "context": 512, "threads": 1, "key": "the key"}


def test_without_settings_it_leaves_at_once() -> None:
    out, err = (process := start()).communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_it_is_light_to_import_and_needs_no_runtime_for_it() -> None:
    loads = "import sys, runpy; runpy.run_path(sys.argv[1]); print({'fanout', 'trio', 'xllamacpp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", loads, child.__file__], capture_output=True, check=True)
    assert done.stdout.strip() == b"set()"


@pytest.mark.slow
def test_it_says_its_address_and_nothing_else_and_leaves_when_stdin_ends(model: Path) -> None:
    with start(settings=settings_for(model)) as process:
        assert process.stdout
        address = json.loads(process.stdout.readline())["address"]
        with urllib.request.urlopen(f"{address}/health", timeout=20) as reply:
            assert json.load(reply) == {"status": "ok"}
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, b"")


@pytest.mark.slow
def test_stdin_that_ends_while_it_loads_ends_it_too(model: Path) -> None:
    process = start(settings=settings_for(model))
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_broken_model_file_ends_it_with_a_line_on_stderr(tmp_path: Path) -> None:
    (broken := tmp_path / "broken.gguf").write_text("this is no model")
    process = start(settings=settings_for(broken))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, b"")
    assert b"invalid magic characters" in err
    assert b"Traceback" not in err
