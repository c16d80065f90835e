"""Does what README shows: its Python and its commands against scripted services, its configuration read."""

import re
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import fanout
import fanout.cli
from benchmarks import tables
from fanout import catalog
from fanout.catalog.config import load
from tests.again import again
from tests.cli import command
from tests.pages import ROOT, blocks, links, plain, run_python
from tests.servers.voices import open_voices

PAGE = ROOT / "README.md"
README = PAGE.read_text("utf-8")
BLOCKS = blocks(PAGE)


def the(kind: str, word: str = "") -> str:
    """The only block of this language that has the word."""
    (found,) = [block.text for block in BLOCKS if block.kind == kind and word in block.text]
    return found


def output_after(word: str) -> str:
    """The output that README shows for the only block that has the word."""
    (found,) = [block.output for block in BLOCKS if word in block.text]
    assert found
    return found


def test_the_first_block_runs_the_main_job_and_the_second_the_tests() -> None:
    first, second = BLOCKS[:2]
    assert first.kind == second.kind == "sh"
    assert first.text.count("\n") == 1
    assert ".venv/bin/fanout race" in first.text
    assert second.text == "./check\n"
    check = (ROOT / "check").read_text("utf-8")
    assert "exec .venv/bin/pytest" in check
    for lock in re.findall(r"-r (\S+)", first.text + check):
        assert (ROOT / lock).exists()
    assert (ROOT / ".ci" / "run").read_text("utf-8").endswith("\n./check\n")


def test_it_is_read_in_a_minute() -> None:
    assert README.count("\n") <= 150


@pytest.mark.slow
@again
async def test_the_program_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_voices(hurry=4) as voices:
        for name, value in voices.environment.items():
            monkeypatch.setenv(name, value)
        printed = await run_python(the("python"), {"__name__": "readme"})
    assert plain(printed) == plain(output_after("import trio"))


@pytest.mark.slow
@again
async def test_the_comparison_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_voices(hurry=4) as voices:
        done = await command.run_line(the("sh", "fanout compare"), env=voices.environment)
    assert done.code == 0
    assert plain(done.out + done.err) == plain(output_after("fanout compare"))


@pytest.mark.slow
@again
async def test_the_benchmark_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("today", ignore_errors=True)  # of the time before
    async with open_voices(hurry=40) as voices:
        done = await command.run_line(the("sh", "fanout bench"), env=voices.environment)
    assert done.code == 0
    shown, printed = output_after("fanout bench").splitlines(), done.out.splitlines()
    assert printed[0].split() == shown[0].split()
    assert [line.split()[:3] for line in printed[1:3]] == [line.split()[:3] for line in shown[1:3]]
    sentence = re.compile(r"\w+ takes \d+ % less time (to .+) than \w+, 95 % CI \d+ to \d+ %, wins \d+ % of prompts")
    assert all(sentence.fullmatch(line) for line in shown[3:])
    assert any(sentence.fullmatch(line) for line in printed)
    assert (tmp_path / "today" / "report.html").exists()


@pytest.mark.parametrize("name", ["Race", "Hedge", "Fallback", "Quorum", "Consensus", "Best", "All"])
def test_the_table_of_policies_makes_plans(name: str) -> None:
    rows = [
        row for row in re.findall(r"^\| `(fanout\.)?(\w+\(.*?\))` \|", README, re.MULTILINE) if row[1].startswith(name)
    ]
    assert rows
    for _, call in rows:
        plan = eval(call, {name: getattr(fanout, name), "lanes": ["openai/a", "openai/b", "openai/c"]})
        assert isinstance(plan, fanout.abc.Policy)


def test_the_configuration_is_one(tmp_path: Path) -> None:
    (tmp_path / "fanout.toml").write_text(the("toml"))
    config = load(tmp_path, tmp_path / "nowhere")
    quick = catalog.resolve("quick", config)
    assert isinstance(quick, fanout.Race)
    assert [lane.name for lane in quick.lanes] == ["mine", "groq/llama-3.3-70b-versatile"]


def test_every_provider_that_it_names_is_there() -> None:
    (listed,) = re.findall(r"Providers are\n(.*?)\. `fanout providers`", README, re.DOTALL)
    names = re.findall(r"`(\w+)`", listed)
    assert len(names) > 8
    assert set(names) <= {entry.name for entry in catalog.providers()}
    same_wire = [entry for entry in catalog.providers() if entry.wire == "openai" and entry.name != "local"]
    assert 36 <= len(same_wire) <= 45  # "some forty"


def test_every_verb_that_it_names_is_there() -> None:
    verbs = set(re.findall(r"`fanout (\w+)", README))
    assert {"providers", "models", "ask", "bench"} <= verbs
    assert verbs <= set(fanout.cli.VERBS)
    asked = CliRunner().invoke(
        fanout.cli.fanout.get_command(click.Context(fanout.cli.fanout), "race") or click.Command(""), ["--help"]
    )
    options = set(re.findall(r"(?<!-)--?[a-z]+", asked.output))
    assert set(re.findall(r"`(--?\w+)(?: \w+)?`", README)) <= options | {"--assert"}


def test_it_says_nothing_that_only_this_machine_knows() -> None:
    assert not re.search(r"/(root|tmp|home|work)/", README)


def test_its_first_link_to_further_reading_is_the_walk() -> None:
    assert [link for link in links(PAGE) if link.endswith(".md")][-10:][0] == "docs/walk.md"


def test_its_figures_are_those_that_were_measured() -> None:
    assert not list(tables.stale(ROOT, tables.measured()))
