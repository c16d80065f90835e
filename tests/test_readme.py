"""What README shows, done: its Python against a scripted server, its commands parsed by the command itself."""

import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import fanout
import fanout.cli
from fanout import catalog
from fanout.catalog.config import load
from tests.servers.openai import open_server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LANE = re.compile(r'"(?:\w+=)?(?:groq|openai|mistral)/[\w.-]+(?:\?\w+=\w+)?"|"(?:b=)?local"')


def test_the_first_block_runs_the_main_job_and_the_second_the_tests() -> None:
    (first_kind, first), (second_kind, second) = BLOCKS[:2]
    assert first_kind == second_kind == "sh"
    assert first.count("\n") == 1
    assert ".venv/bin/fanout race" in first
    assert second == "./check\n"
    check = (ROOT / "check").read_text("utf-8")
    assert "exec .venv/bin/pytest" in check
    for lock in re.findall(r"-r (\S+)", first + check):
        assert (ROOT / lock).exists()
    assert (ROOT / ".ci" / "run").read_text("utf-8").endswith("\n./check\n")


async def test_the_program_runs() -> None:
    code = next(text for kind, text in BLOCKS if kind == "python" and "async def main" in text)
    async with open_server() as server:
        numbers = iter(range(100))
        code = LANE.sub(lambda _: repr(server.lane(f"lane{next(numbers)}")), code)
        assert "groq" not in code
        printed: list[Any] = []
        space: dict[str, Any] = {"print": lambda *words: printed.append(words)}
        exec(code.replace("trio.run(main)", ""), space)
        await space["main"]()
        assert isinstance(space["trio"], ModuleType)
    assert printed[0][2] == printed[1][0].text == "w0 w1 w2 "
    assert len(printed) > 10


def test_the_one_line_plans_are_plans() -> None:
    plans = [text.strip() for kind, text in BLOCKS if kind == "python" and "async def" not in text]
    assert plans
    for plan in plans:
        assert isinstance(eval(plan, {"fanout": fanout}), fanout.abc.Policy)


COMMANDS = [block for kind, block in BLOCKS[2:] if kind == "sh"]


@pytest.mark.parametrize(
    "line",
    re.findall(r"fanout (?:race|compare|hedge|fallback|quorum|models|providers|login|auth)\b.*", "".join(COMMANDS)),
)
def test_the_commands_are_commands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "question.txt").write_text("?")
    monkeypatch.chdir(tmp_path)
    _, verb, *arguments = shlex.split(line, comments=True)
    context = click.Context(fanout.cli.fanout)
    found = fanout.cli.fanout.get_command(context, verb)
    assert found
    found.make_context(verb, arguments, parent=context)


def test_the_configuration_is_one(tmp_path: Path) -> None:
    (text,) = [text for kind, text in BLOCKS if kind == "toml"]
    (tmp_path / "fanout.toml").write_text(text)
    config = load(tmp_path, tmp_path / "nowhere")
    quick = catalog.resolve("quick", config)
    assert isinstance(quick, fanout.Race)
    assert [lane.name for lane in quick.lanes] == ["fast", "openai/gpt-5-mini", "mine"]
    assert config.defaults.idle == 20


def test_readme_says_nothing_that_only_this_machine_knows() -> None:
    assert not re.search(r"/(root|tmp|home|work)/", README)


def test_the_table_of_clients_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "conformance.json").read_text())
    for name, client in results["clients"].items():
        row = next(line for line in README.splitlines() if line.startswith(f"| {name} | {results['versions'][name]} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][2:]
        assert cells == [str(client["passed"].get(kind, "")) for kind in results["cases"]]


@pytest.mark.parametrize("name", [entry.name for entry in catalog.providers() if entry.unofficial])
def test_the_table_of_web_chats_says_what_the_providers_say(name: str) -> None:
    (entry,) = [entry for entry in catalog.providers() if entry.name == name]
    (row,) = [line for line in README.splitlines() if re.match(rf"\| `{name}[`/]", line)]
    assert entry.evidence in row
    assert ("presumed" in row) is (entry.status == "presumed-offline")
