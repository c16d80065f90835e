import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.local import weights
from tests.cli.command import Done, fanout, on_terminal
from tests.servers.openai import open_server


def test_without_an_argument_the_embedded_model_is_told(call: Callable[..., Done]) -> None:
    done = call("models")
    assert done.code == 0
    assert done.out.startswith("local  ")
    assert "weights: " in done.out
    assert "fanout models PROVIDER" in done.err
    assert set(json.loads(call("models", "--json").out)) == {"name", "note", "weights"}


@pytest.mark.slow
async def test_a_provider_s_models_are_asked_for() -> None:
    async with open_server() as server:
        env = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "k"}
        done = await fanout("models", "openai", env=env)
        assert (done.code, sorted(done.out.split()), done.err) == (0, ["m-1", "m-2"], "")
        assert sorted(json.loads((await fanout("models", "openai", "--json", env=env)).out)) == ["m-1", "m-2"]


def test_a_provider_without_a_key_names_the_variable(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    done = call("models", "groq")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("fanout: ")
    assert "GROQ_API_KEY" in done.err
    assert done.err.count("\n") == 1


def test_pull_prints_where_the_weights_are(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def pull(report: weights.Report) -> Path:
        report(1, 2)
        return tmp_path

    monkeypatch.setattr(weights, "pull", pull)
    assert call("models", "pull") == Done(0, f"{tmp_path}\n", "")


def test_on_a_terminal_the_pull_is_drawn_and_nothing_of_it_is_left(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def pull(report: weights.Report) -> Path:
        report(1_000_000, 2_000_000)
        return tmp_path

    monkeypatch.setattr(weights, "pull", pull)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    done = call("models", "pull")
    assert done.out == f"{tmp_path}\n"
    assert "1.0/2.0 MB" in done.err
    assert done.err.endswith("\x1b[2K") and "\x1b[?25h" in done.err


@pytest.mark.slow
async def test_on_a_terminal_the_list_is_the_same() -> None:
    async with on_terminal("models", "--json") as terminal:
        assert await terminal.end() == 0
        assert '"name": "local"' in terminal.written
