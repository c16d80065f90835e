import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.command import ENVIRONMENT, Done


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_s_script_is_printed_with_how_to_install_it(call: Callable[..., Done], shell: str) -> None:
    done = call("completion", shell)
    assert done.code == 0
    assert "_FANOUT_COMPLETE" in done.out
    assert f"fanout completion {shell} > " in done.err


@pytest.mark.slow
def test_without_an_argument_the_shell_is_the_user_s(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "fish" in call("completion").out
    monkeypatch.setenv("SHELL", "/bin/dash")
    assert call("completion").code == 2


@pytest.mark.slow
def test_the_shell_s_question_is_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from fanout.cli import main; sys.exit(main())"],
        env={**ENVIRONMENT, "_FANOUT_COMPLETE": "bash_complete", "COMP_WORDS": "fanout race -m gro", "COMP_CWORD": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "plain,groq/\n"
