"""The rules that a tool can check: the direction of imports, sizes, types, words, and a test for every plug-in."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fanout
from tests import tools

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fanout"
MODULES = sorted(PACKAGE.rglob("*.py"))
CHATS = ("chats", "chats/huggingchat")
TRANSPORTS = ("transports", "transports/curl")
BENCH = tuple(f"bench/{room}" for room in ("records", "analysis", "load", "load/design", "calibration"))
PURE_BENCH = ("bench/records", "bench/analysis", "bench/report", "bench/load/design")
SHARED = ("storage", "ledger", "learning")
PLUG_INS = ("engine", "wire", "providers", *CHATS, *TRANSPORTS, "policies", "formats", "local", "login")
TESTED = (*PLUG_INS, *SHARED, "facades", *BENCH)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines without the docstring."""
    assert function.end_lineno
    body = function.body
    if ast.get_docstring(function) is not None:
        assert body[0].end_lineno
        docstring = body[0].end_lineno - body[0].lineno + 1
    else:
        docstring = 0
    return function.end_lineno - function.lineno + 1 - docstring


@pytest.mark.slow
@pytest.mark.parametrize("name", tools.TOOLS)
def test_checker_finds_nothing(name: str) -> None:
    done = tools.start()[name].result()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_in_one_sentence_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(parse(path))
    assert docstring
    first = docstring.split("\n\n")[0].replace("\n", " ")
    assert first.endswith(".")


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Classes, functions and methods without an underscore; what is inside a function is nobody's business."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_name_is_documented(path: Path) -> None:
    assert [node.name for node in public(parse(path).body) if ast.get_docstring(node) is None] == []


def test_files_and_functions_keep_to_their_sizes() -> None:
    files = {name_of(path): sum(bool(line.strip()) for line in path.read_text().splitlines()) for path in MODULES}
    lengths = {f"{name_of(path)}:{f.name}": length(f) for path in MODULES for f in functions(path)}
    assert statistics.median(files.values()) <= 120
    assert {name: n for name, n in files.items() if n > 400} == {}
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert statistics.median(lengths.values()) <= 7
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 25


def attributes(found: ast.ClassDef) -> set[str]:
    """Returns what its objects hold: the fields that it declares, and what its methods set in self."""
    declared = {node.target.id for node in found.body if isinstance(node, ast.AnnAssign) and node.simple}  # type: ignore[union-attr]  # simple says so
    stored = {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    return declared | stored


def test_no_object_of_the_engine_holds_too_much() -> None:
    classes = {
        node.name: node
        for path in sorted((PACKAGE / "engine").glob("*.py"))
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
    }
    counts = {name: len(attributes(node)) for name, node in classes.items()}
    assert {name: n for name, n in counts.items() if n > 16} == {}
    assert counts["Attempt"] <= 14
    lane = classes["Attempt"]
    assert lane.end_lineno and lane.end_lineno - lane.lineno + 1 <= 200


@pytest.mark.parametrize("folder", TESTED)
def test_every_plug_in_has_its_test(folder: str) -> None:
    modules = {path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    assert modules - tests == set()


def test_the_public_names_are_sorted_complete_and_importable() -> None:
    assert fanout.__all__ == sorted(fanout.__all__)
    assert set(fanout.__all__) == set(fanout._HOME_OF)
    for name in fanout.__all__:
        assert getattr(fanout, name) is not None
    text = (PACKAGE / "__init__.py").read_text()
    typed = re.findall(r"^    from (\S+) import (?:\(([^)]+)\)|(.+))$", text, re.MULTILINE)
    assert {module: tuple(re.findall(r"\w+", many or few)) for module, many, few in typed} == fanout._HOMES


def test_importing_fanout_imports_neither_trio_nor_an_http_client() -> None:
    code = "import sys, fanout; print(*sorted(set(sys.modules) & {'trio', 'httpx', 'httpx2', 'attrs', 'curl_cffi'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_there_is_no_async_generator_but_under_asynccontextmanager() -> None:
    found = []
    for path in MODULES:
        for function in functions(path):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            inner = {
                node
                for f in ast.walk(function)
                if isinstance(f, Function) and f is not function
                for node in ast.walk(f)
            }
            yields = any(isinstance(node, ast.Yield) for node in ast.walk(function) if node not in inner)
            managed = any("asynccontextmanager" in ast.dump(decorator) for decorator in function.decorator_list)
            if yields and not managed:
                found.append(f"{name_of(path)}:{function.name}")
    assert not found


@pytest.mark.parametrize(
    "folder", ["wire", "providers", "chats", "policies", "formats", "learning", "gateway/dialects", *PURE_BENCH]
)
def test_pure_code_has_no_async(folder: str) -> None:
    kind = ast.AsyncFunctionDef
    modules = (PACKAGE / folder).rglob("*.py")
    assert [name_of(path) for path in modules for f in functions(path) if isinstance(f, kind)] == []


def test_the_committed_locks_name_versions_with_hashes_and_no_hosts() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = re.sub(r"^[#-].*\n", "", lock.read_text(), flags=re.MULTILINE)
        entries = re.split(r"\n(?=\S)", text.rstrip())
        assert len(entries) > 20
        version = r"[\w.-]+==[\w.]+( ; [^\n\\]+)?"
        assert all(re.fullmatch(version + r"( \\\n    --hash=sha256:[0-9a-f]{64})+", entry) for entry in entries)
        assert "://" not in lock.read_text()


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    question = re.compile(r"(?:What|Whether|How|Where|When|Who|Which|Why)\b")
    texts = [
        (f"{name_of(path)}:{node.lineno}", node.value.value)
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    assert len(texts) > 1000  # those of modules, classes and functions, and those below constants and fields
    assert [place for place, text in texts if question.match(text.lstrip())] == []


def test_names_that_say_nothing_are_not_used() -> None:
    empty = re.compile("Manager|Handler|Helper|Utils|Service|Orchestrator|Pipeline|^Base")
    classes = [node.name for path in MODULES for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if empty.search(name)] == []
    assert [name_of(path) for path in MODULES if path.stem in ("utils", "helpers", "common", "base", "misc")] == []
