import io
import sys
from collections.abc import Callable

import pytest

from fanout.cli import main
from tests.cli.command import STATE, Done


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps commands that run in this process away from the user's last run and logins."""
    monkeypatch.setenv("XDG_STATE_HOME", STATE.name)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls the command line in this process, without a terminal."""

    def called(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return called
