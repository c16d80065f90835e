"""The command as a whole: help, mistakes, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from fanout.cli import VERBS, fanout
from tests.cli.command import ENVIRONMENT, Done

Call = Callable[..., Done]
HEAVY = ("trio", "httpx", "httpx2", "rich", "attrs", "attr", "orjson", "fanout.api", "fanout.cli.race")


def test_help_lists_the_verbs(call: Call) -> None:
    done = call("--help")
    assert done.code == 0
    assert all(f"\n  {verb} " in done.out and text in done.out for verb, text in VERBS.items())


def test_every_verb_has_its_own_help(call: Call) -> None:
    for verb in VERBS:
        done = call(verb, "--help")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"Usage: fanout {verb} ")


@pytest.mark.slow
def test_help_imports_nothing_but_click_and_costs_little() -> None:
    report = (
        "import atexit, json, resource, sys\n"
        "def tell():\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print(json.dumps([used.ru_utime + used.ru_stime, list(sys.modules)]), file=sys.stderr)\n"
        "atexit.register(tell)\n"
        "from fanout.cli import main\n"
        "sys.exit(main(['--help']))\n"
    )
    told = [
        json.loads(subprocess.run([sys.executable, "-c", report], capture_output=True, check=True).stderr)
        for _ in range(5)
    ]
    assert not set(HEAVY) & set(told[0][1])
    assert min(seconds for seconds, _ in told) < 0.1


@pytest.mark.slow
def test_a_verb_s_help_imports_no_engine() -> None:
    script = (
        "import sys\nfrom fanout.cli import main\nmain(['race', '--help'])\n"
        "print([name for name in ('trio', 'httpx', 'httpx2', 'rich') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_without_a_verb_there_is_help_and_a_usage_code(call: Call) -> None:
    done = call()
    assert done.code == 2
    assert "Usage: fanout" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rce", "hi"], ["'rce'", "race"]),
        (["Why is the sky blue?"], ["fanout race PROMPT"]),
        (["race", "--frist", "1", "hi"], ["--frist", "--first"]),
        (["race", "-m", "groqq/x", "hi"], ["groqq", "groq?"]),
        (["race", "-m", "mistral", "hi"], ["which model", "fanout models mistral"]),
        (["race", "-m", "local?tempreature=1", "hi"], ["tempreature", "temperature?"]),
        (["race", "-m", ",", "hi"], ["-m names no lane"]),
        (["race", "--first", "soon", "hi"], ["--first", "'soon'", "800ms"]),
        (["race", "--first", "0", "hi"], ["--first", "off"]),
        (["race", "--on", "last", "hi"], ["--on", "first_token"]),
        (["race", "-m", "local", "-o", "temperature", "warm", "hi"], ["temperature takes a number", "'warm'"]),
        (["race"], ["no prompt"]),
        (["race", " \n"], ["no prompt"]),
        (["race", "-f", "/nowhere/prompt.txt"], ["/nowhere/prompt.txt", "No such file"]),
        (["compare", "--raw", "hi"], ["--raw", "--json"]),
        (["quorum", "--k", "2", "-m", "local", "hi"], ["k must be", "not 2"]),
        (["hedge", "--after", "-1", "hi"], ["--after"]),
        (["models", "groqq"], ["groqq", "groq?"]),
        (["completion", "tcsh"], ["bash"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_right_thing(call: Call, arguments: list[str], words: list[str]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("fanout: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words)


def test_input_that_is_no_text_is_a_mistake(call: Call) -> None:
    done = call("race", stdin=b"\xff\xfe\x00")
    assert (done.code, done.err.startswith("fanout: standard input is not text")) == (2, True)


@pytest.mark.slow
def test_closed_descriptors_are_no_reason_to_crash() -> None:
    done = subprocess.run(
        f"{sys.executable} -m fanout providers >&- 2>&- <&-; echo $?",
        shell=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fanout, "invoke", broken)
    with pytest.raises(ZeroDivisionError):
        call("providers")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()])]), 130),
        (ExceptionGroup("", [OSError(28, "No space left on device")]), 1),
    ],
)
def test_what_stops_it_is_found_inside_groups(
    monkeypatch: pytest.MonkeyPatch, call: Call, error: BaseException, code: int
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fanout, "invoke", stopped)
    done = call("providers")
    assert done.code == code
    assert "Traceback" not in done.err
