"""Completion, asked for as the shells ask: sourced by bash, zsh and fish themselves where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.cli import VERBS
from tests.cli.command import ENVIRONMENT, Done

CONFIG = """
[lanes.fast]
spec = "openai/m"
[lanes.fancy]
spec = "openai/m"
[groups.quick]
policy = "race"
lanes = ["fast", "fancy"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a fanout.toml, a command `fanout` on the path, and the three scripts."""
    (tmp_path / "fanout.toml").write_text(CONFIG)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "fanout"
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom fanout.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([command, "completion", shell], capture_output=True, text=True, check=True, cwd=tmp_path)
        (tmp_path / f"completion.{shell}").write_text(done.stdout)
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {
        **ENVIRONMENT,
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
    }


BASH = """
source completion.bash
COMP_LINE=$1; COMP_POINT=${#1}
eval set -- "$2"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { echo "option ${*: -1}"; }
_fanout_completion fanout
printf '%s\\n' "${COMPREPLY[@]}"
"""


def ask_bash(home: Path, line: str) -> list[str]:
    """The words that bash would put in place of the last word, of which it has cut off what is before = and :."""
    words = line.replace("=", " = ").replace(":", " : ").split() + ([""] if line.endswith((" ", "=")) else [])
    quoted = " ".join(f"'{word}'" for word in words)
    arguments = ["bash", "--norc", "-c", BASH, "bash", line, quoted]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=home, env=environment(home))
    assert done.stderr == ""
    return [reply for reply in done.stdout.splitlines() if reply]


def ask_fish(home: Path, line: str) -> list[str]:
    """The words that fish offers for a line, without the descriptions."""
    script = f"source completion.fish; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
        env=environment(home),
    )
    return [found.partition("\t")[0] for found in done.stdout.splitlines()]


def is_absent(shell: str) -> bool:
    """True where a shell is not installed, and may be: where all tests are to run, it must be there."""
    return shutil.which(shell) is None and not os.environ.get("CI")


needs_fish = pytest.mark.skipif(is_absent("fish"), reason="no fish here")
needs_zsh = pytest.mark.skipif(is_absent("zsh"), reason="no zsh here")

WHOLE = [
    ("fanout race -m fa", ["fast", "fancy"]),
    ("fanout race -m qui", ["quick"]),
    ("fanout race -m gro", ["groq/"]),
    ("fanout race -m loc", ["local"]),
    ("fanout race -m fast,gro", ["fast,groq/"]),
    ("fanout compare -m a/b?stop=1,fa", ["a/b?stop=1,fast", "a/b?stop=1,fancy"]),
    ("fanout ask ", ["fast", "fancy", "quick"]),
    ("fanout ask q", ["quick"]),
    ("fanout models fa", ["fast", "fancy"]),
    ("fanout models pu", ["pull"]),
    ("fanout models gro", ["groq"]),
    ("fanout keys gro", ["groq"]),
    ("fanout bench -m fan", ["fancy"]),
    ("fanout co", ["compare", "completion", "consensus"]),
    ("fanout race --transport ", ["curl", "httpx"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "words"), WHOLE)
def test_fish_completes_lanes_groups_providers_verbs_and_choices(home: Path, line: str, words: list[str]) -> None:
    if is_absent("fish"):
        pytest.skip("no fish here")
    assert sorted(ask_fish(home, line)) == sorted(words)


@pytest.mark.slow
@pytest.mark.parametrize(("line", "words"), [case for case in WHOLE if "=" not in case[0]])
def test_bash_completes_lanes_groups_providers_verbs_and_choices(home: Path, line: str, words: list[str]) -> None:
    replies = ask_bash(home, line)
    assert sorted(reply for reply in replies if not reply.startswith("option ")) == sorted(words)
    assert ("option nospace" in replies) == any(word.endswith("/") for word in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "reply"),
    [("fanout race -m a=gro", "groq/"), ("fanout race -m a=fas", "fast"), ("fanout race -m b,a=gro", "groq/")],
)
def test_bash_completes_a_lane_with_a_label_of_which_it_sees_only_the_end(home: Path, line: str, reply: str) -> None:
    assert [word for word in ask_bash(home, line) if not word.startswith("option ")] == [reply]


@needs_fish
@pytest.mark.slow
def test_fish_completes_a_lane_with_a_label(home: Path) -> None:
    assert ask_fish(home, "fanout race -m a=gro") == ["a=groq/"]
    assert ask_fish(home, "fanout race -m a=quick") == []


@pytest.mark.slow
def test_files_are_left_to_the_shell(home: Path) -> None:
    assert "option default" in ask_bash(home, "fanout race -f comp")


def press_tab(home: Path, line: str, until: str) -> str:
    """The text that an interactive zsh shows after a line and a TAB."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**environment(home), "TERM": "dumb", "COLUMNS": "120", "PS1": "> "})
    setup = "autoload -U compinit; compinit -u; setopt no_beep; source ./completion.zsh; echo set''tled\n"
    shown = ""

    def read(wanted: str) -> None:
        nonlocal shown
        end = time.monotonic() + 20
        while wanted not in shown and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")

    try:
        os.write(terminal, setup.encode())
        read("settled")
        shown = ""
        os.write(terminal, f"{line}\t".encode())
        read(until)
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return shown


@needs_zsh
@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("fanout race -m gro", "fanout race -m groq/"),
        ("fanout race -m a=gro", "a=groq/"),
        ("fanout race -m fast,gro", "fast,groq/"),
        ("fanout race -m qui", "quick"),
        ("fanout race -m fa", "fancy"),
        ("fanout ask q", "quick"),
        ("fanout models pu", "pull"),
        ("fanout fal", "fallback"),
    ],
)
def test_zsh_completes_lanes_groups_providers_and_verbs(home: Path, line: str, shown: str) -> None:
    assert shown in press_tab(home, line, shown)


@needs_zsh
@pytest.mark.slow
def test_zsh_shows_each_verb_with_its_own_help(home: Path) -> None:
    shown = press_tab(home, "fanout ", VERBS["completion"])
    for verb, help_ in VERBS.items():
        assert f"{verb} " in shown
        assert help_[:30] in shown


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
def test_plug_ins_are_completed_and_a_broken_configuration_says_nothing(home: Path) -> None:
    (home / "fanout.toml").write_text("[lanes")
    metadata = home / "echo-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[fanout.providers]\necho = nowhere:Echo\n")
    command = home / "bin" / "fanout"
    command.write_text(command.read_text().replace("import sys\n", f"import sys\nsys.path.append({str(home)!r})\n", 1))
    assert [word for word in ask_bash(home, "fanout race -m ech") if not word.startswith("option ")] == ["echo/"]
