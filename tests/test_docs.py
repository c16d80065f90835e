"""The pages of docs/ and those beside README: what they show is done, what they name is there."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest

import fanout
import fanout.cli
from benchmarks import tables
from fanout import catalog
from fanout.catalog.config import load
from tests.again import again
from tests.pages import PAGES, ROOT, anchors, blocks, code_words, links, plain, run_python
from tests.servers.voices import open_voices

GUIDE = ROOT / "docs" / "guide.md"
SNIPPETS = [block for block in blocks(GUIDE) if block.kind == "python"]
HEADINGS = list(dict.fromkeys(block.heading for block in SNIPPETS))
PICTURE = ROOT / "docs" / "pictures" / "race.svg"
LONGEST = 140
"""Characters of a line of prose."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.slow
@again
@pytest.mark.parametrize("heading", HEADINGS)
async def test_the_recipe_prints_what_it_says(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    space: dict[str, Any] = {"__name__": "recipe"}
    async with open_voices(hurry=4) as voices:
        for name, value in voices.environment.items():
            monkeypatch.setenv(name, value)
        for block in SNIPPETS:
            if block.heading == heading:
                assert plain(await run_python(block.text, space)) == plain(block.output or "")


def test_nearly_every_recipe_shows_what_it_prints() -> None:
    assert len(HEADINGS) >= 14
    assert [block.heading for block in SNIPPETS if "print(" in block.text and not block.output] == []


def commands(path: Path) -> list[str]:
    """The lines of a page's shell blocks that are commands of ours, without what a pipe brings them."""
    lines = [line for block in blocks(path) if block.kind == "sh" for line in block.text.splitlines()]
    return [line[line.index("fanout ") :] for line in lines if re.match(r"(\w+ \S+ \| )?fanout \w", line)]


@pytest.mark.parametrize(("path", "line"), [(p, line) for p in PAGES for line in commands(p)], ids=str)
def test_a_command_is_one(path: Path, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(fanout.cli.fanout)
    found: click.Command | None = fanout.cli.fanout
    while isinstance(found, click.Group) and words and found.get_command(context, words[0]):
        found, words = found.get_command(context, words[0]), words[1:]
    assert found
    found.make_context(found.name, words, parent=context)


@pytest.mark.parametrize(
    "block",
    [b for path in PAGES for b in blocks(path) if b.kind == "toml" and "entry-points" not in b.text],
    ids=lambda b: str(b.line),
)
def test_a_configuration_is_one(block: Any, tmp_path: Path) -> None:
    (tmp_path / "fanout.toml").write_text(block.text)
    config = load(tmp_path, tmp_path / "nowhere")
    assert config.lanes or config.groups or config.defaults


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_relative_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), link
        assert page.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_is_led_to_from_readme_or_contributing(path: Path) -> None:
    starts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    led = {(start.parent / link.partition("#")[0]).resolve() for start in starts for link in links(start)}
    assert path in led or path in starts


MODULE = re.compile(r"(fanout(?:\.\w+)+)(?:\(.*)?")
FOLDERS = ("fanout", "tests", "docs", "benchmarks", "examples", ".ci")
PLACES = (ROOT, *(ROOT / name for name in ("fanout", "docs", "tests", "tests/data", "benchmarks")))
ROOMS = {folder.name for folder in (ROOT / "fanout").rglob("*") if folder.is_dir()} | {*FOLDERS}
A_PATH = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|md|toml|css|jsonl?|lock|svg)|(?:[\w.-]+/)+")
MADE_BY_US = {"fanout.toml", "report.html", "summary.json", "requests.jsonl", "run.json", "x.py"}
"""Files that the programs write, and those whose names stand for any."""


def missing(word: str) -> bool:
    """Tells whether a word names a module of ours, or a path, that does not exist."""
    word = word.rstrip(",.:;")
    if word in MADE_BY_US:
        return False
    if module := MODULE.fullmatch(word):
        return not resolves(module[1])
    if not A_PATH.fullmatch(word):
        return False
    first = word.split("/")[0]
    if "/" in word and first not in ROOMS:
        return False
    found = any((place / word).exists() for place in PLACES)
    return not found and not list((ROOT / "fanout").rglob(word.rstrip("/")))


def resolves(dotted: str) -> bool:
    """Tells whether a dotted name is a module of ours, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            if find_spec(".".join(parts[:count])) is None:
                continue
        except ModuleNotFoundError:
            continue
        thing: Any = import_module(".".join(parts[:count]))
        for part in parts[count:]:
            thing = getattr(thing, part, None)
        return thing is not None
    return False


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=name_of)
def test_a_page_names_no_module_and_no_path_that_is_not_there(path: Path) -> None:
    assert [word for word in code_words(path) if missing(word)] == []


def test_a_name_that_is_not_there_is_seen() -> None:
    gone = [
        "fanout.api.nothing",
        "wire/repeats.py",
        "cli/bench_run.py",
        "bench/load.py",
        "docs/nowhere.md",
        "engine/x/",
    ]
    assert [word for word in gone if not missing(word)] == []
    assert not any(map(missing, ["fanout.race", "wire/sse.py", "engine/", "openai/gpt-5-mini", "fanout.abc.Provider"]))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_lines_of_prose_are_of_a_sensible_length(path: Path) -> None:
    text = path.read_text("utf-8")
    for block in blocks(path):
        text = text.replace(block.text, "").replace(block.output or "\0", "")
    lines = [line for line in text.splitlines() if not line.startswith(("|", "![", "<!--")) and "://" not in line]
    assert [line for line in lines if len(line) > LONGEST] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_says_nothing_that_only_this_machine_knows(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/(root|tmp|home|work)/", path.read_text("utf-8"))


@pytest.mark.parametrize("page", tables.PAGES)
def test_a_page_has_the_figures_that_were_measured_and_no_others(page: str) -> None:
    assert page not in [name_of(path) for path, _ in tables.stale(ROOT, tables.measured())]


@pytest.mark.parametrize("name", [entry.name for entry in catalog.providers() if entry.unofficial])
def test_the_table_of_web_chats_says_what_the_providers_say(name: str) -> None:
    (entry,) = [entry for entry in catalog.providers() if entry.name == name]
    text = (ROOT / "docs" / "web-chats.md").read_text("utf-8")
    (row,) = [line for line in text.splitlines() if re.match(rf"\| `{name}[`/]", line)]
    assert [cell.strip() for cell in row.split("|")][2:4] == [entry.status, entry.evidence]
    assert f"* **{entry.status}**:" in text


def test_the_picture_moves_without_a_script_and_takes_nothing_from_elsewhere() -> None:
    picture = PICTURE.read_text("utf-8")
    assert len(picture.encode()) < 200_000
    assert "<script" not in picture
    assert re.findall(r'(?:href|src)="(?!#)|url\(', picture) == []
    assert "://" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")
    for wanted in ("@keyframes", "prefers-color-scheme:light", "prefers-reduced-motion"):
        assert wanted in picture


@pytest.mark.slow
def test_the_picture_can_be_recorded_anew(tmp_path: Path) -> None:
    out = tmp_path / "race.svg"
    command = [sys.executable, "docs/pictures/record.py", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    shown = [re.sub(r"<[^>]+>", " ", picture.read_text("utf-8").replace("\u00a0", " ")) for picture in (out, PICTURE)]
    for wanted in (
        "running · TTFT",
        "fast     finished",
        "careful  cancelled",
        "quota (402): Insufficient credits",
        "wasted: ",
    ):
        assert [wanted in words for words in shown] == [True, True], wanted


REFERENCE = ROOT / "docs" / "reference.md"


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, "docs/reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_has_every_variable_that_is_read() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "fanout").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', code)) | set(
        re.findall(r'"(\w+)" (?:not )?in os\.environ', code)
    )
    assert {"FANOUT_UNOFFICIAL", "NO_COLOR", "TERM"} <= read
    page = REFERENCE.read_text("utf-8")
    assert {name for name in read if f"`{name}`" not in page} == set()


def test_the_reference_has_every_exit_code_and_public_name() -> None:
    page = REFERENCE.read_text("utf-8")
    for code in (0, 1, 2, 3, 124, 130, 141):
        assert f"| {code} | " in page
    shown = {name for name in fanout.__all__ if re.search(rf"\b{name}\b", page)}
    assert set(fanout.__all__) - shown <= {"Event", "Fanout", "Status", "Wasted"}


def test_what_contributing_says_to_edit_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    pairs = re.findall(r"`(\w+)`(?: and `(\w+)`)? in `((?:\w+/)*\w+\.(?:py|toml))`", text)
    assert len(pairs) >= 12
    for first, second, path in pairs:
        code = next(place / path for place in (ROOT, ROOT / "fanout") if (place / path).exists()).read_text("utf-8")
        assert re.search(rf"\b{first}\b", code) and re.search(rf"\b{second}\b", code), (first, second, path)


def test_the_map_has_every_room_on_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["fanout"]]
    floors = {name: len(layers) - i for i, layer in enumerate(layers) for name in layer.split(" | ")}
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", text, re.MULTILINE)
    shown = {name: int(floor) for floor, rooms in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", rooms)}
    assert {name: floors[name] for name in shown} == shown
    rooms = {path.name for path in (ROOT / "fanout").iterdir() if (path / "__init__.py").exists()}
    assert rooms - shown.keys() == set()


FIRST = ROOT / "docs" / "first-plugin.md"
EXAMPLE = ROOT / "examples" / "fanout-echo"


def test_the_first_plug_in_is_the_example() -> None:
    theirs = (EXAMPLE / "fanout_echo" / "__init__.py").read_text("utf-8")
    quoted = [block.text for block in blocks(FIRST) if block.kind == "python" and "import" not in block.text]
    assert len(quoted) == 3
    assert [text for text in quoted if text not in theirs] == []
    (entry_points,) = [block.text for block in blocks(FIRST) if "entry-points" in block.text]
    assert entry_points in (EXAMPLE / "pyproject.toml").read_text("utf-8")


async def test_the_first_plug_in_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    (block,) = [block for block in blocks(FIRST) if block.kind == "python" and "import" in block.text]
    assert plain(await run_python(block.text, {"__name__": "plugin"})) == plain(block.output or "")


def test_the_pictures_of_hedges_are_those_of_the_results(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "docs/pictures/hedge.py", "--out", str(tmp_path)], check=True, cwd=ROOT)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ROOT / "docs" / "pictures" / path.name).read_bytes()
    assert len([*tmp_path.iterdir()]) == 2
