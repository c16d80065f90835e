import io
import sys
from collections.abc import Callable

import pytest

from fanout.cli import main
from tests.cli.command import Done


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls the command line in this process, without a terminal."""

    def called(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return called
