"""Breaks the engine and the policies in one place after the other, and tells which of these mutants no test kills.

    .venv/bin/pip install mutmut==3.8.1 && nice .venv/bin/python -m tests.mutants

Most operators are mutmut's; its own runner is not used, because it leaves out constants, properties and all else that
has a decorator. Messages, annotations and assertions are not mutated. No file is changed: each mutant runs in a fork of
a process that has imported the libraries but nothing of fanout, and finds the mutated module in the place of the true
one. The tests of the module run first, then the others of TESTS; the first failure, or a test that hangs, is enough.

Each result is kept in a file: a run goes on where the last one stopped, and `--again` repeats what survived.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf, sqrt
from pathlib import Path
from tempfile import gettempdir
from types import CodeType, ModuleType
from typing import Any

import libcst as cst
import pytest
from attrs import asdict, define, frozen
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parent.parent
ROOMS = ("fanout/engine", "fanout/policies")
TESTS = ("tests/policies", "tests/engine", "tests/test_api.py", "tests/test_race_laws.py")

LIBRARIES = ("trio.testing", "cattrs", "httpx", "orjson", "curl_cffi", "click", "rich.console", "platformdirs")
"""Imported once, for all mutants."""

LIMIT = 10
"""Seconds that one test may take; the longest takes less than one. An endless loop or wait is cut off."""

KILLED, TIMED_OUT, SURVIVED, NO_MUTANT = "killed", "timed out", "survived", "no mutant"
PASSED, FAILED, NO_CHANGE = 0, 3, 4
OUTCOMES = {PASSED: SURVIVED, FAILED: KILLED, NO_CHANGE: NO_MUTANT}
"""The outcomes by the status of a fork; faulthandler ends one that hangs, with 1."""


@frozen
class Mutant:
    """One change: `key` names it in the file of results, `place` and `change` tell it to people."""

    key: str
    path: str
    place: str
    change: str
    make: Callable[[], str]
    """Returns the mutated code; not before it is wanted, because that takes longer than to find the mutant."""


@define
class Result:
    """The fate of a mutant, and in how many seconds."""

    key: str
    place: str
    change: str
    outcome: str
    seconds: float


def remove_statement(node: cst.SimpleStatementLine) -> Iterable[cst.CSTNode]:
    """Puts `pass` in the place of a statement."""
    kept = cst.Pass | cst.Assert | cst.Import | cst.ImportFrom | cst.Nonlocal | cst.AnnAssign
    said = isinstance(node.body[0], cst.Expr) and isinstance(node.body[0].value, cst.BaseString)
    if not said and not isinstance(node.body[0], kept):
        yield node.with_changes(body=[cst.Pass()])


def negate(node: cst.If | cst.While | cst.CompIf) -> Iterable[cst.CSTNode]:
    """Turns a condition into its opposite."""
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def drop_operand(node: cst.BooleanOperation) -> Iterable[cst.CSTNode]:
    """Leaves one side of `and` or `or` out."""
    for side in (node.left, node.right):
        yield side.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def swap_extreme(node: cst.Call) -> Iterable[cst.CSTNode]:
    """Takes the least for the greatest, and the other way round."""
    other = {"min": "max", "max": "min"}.get(getattr(node.func, "value", ""))
    if isinstance(node.func, cst.Name) and other is not None:
        yield node.with_changes(func=cst.Name(other))


OPERATORS: list[tuple[Any, Callable[[Any], Iterable[cst.CSTNode]]]] = [
    *mutation_operators,
    (cst.SimpleStatementLine, remove_statement),
    (cst.If | cst.While | cst.CompIf, negate),
    (cst.BooleanOperation, drop_operand),
    (cst.Call, swap_extreme),
]


def is_left_out(node: cst.CSTNode) -> bool:
    """Tells whether a node is for readers or for the type checker: no test could tell its mutants apart."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Assert | cst.Import | cst.ImportFrom):
        return True
    if isinstance(node, cst.SimpleString):  # words for people; a name, as of a clock, has no spaces
        return " " in node.value or node.value.startswith('"""')
    if isinstance(node, cst.Call):
        return getattr(node.func, "value", "") in ("len", "isinstance", "TypeVar", "ParamSpec", "TypeVarTuple")
    return isinstance(node, cst.Assign) and isinstance(node.value, cst.Subscript)  # the name of a type


def is_the_same(before: str, after: str) -> bool:
    """Tells whether a change makes no difference: None is as false as False, and nobody gives what has `init=False`."""
    plain = [re.sub(r", (init=\w+)?\)", ")", text).replace("False", "None") for text in (before, after)]
    return plain[0].replace("field(default=None)", "None") == plain[1].replace("field(default=None)", "None")


def find_mutants(path: str) -> Iterator[Mutant]:
    """Makes all mutants of one module, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module((ROOT / path).read_text("utf-8")))
    positions = wrapper.resolve(PositionProvider)
    seen: Counter[str] = Counter()

    def make(node: cst.CSTNode, mutated: cst.CSTNode) -> str:
        module = wrapper.module.deep_replace(node, mutated)
        assert isinstance(module, cst.Module)
        return module.code

    def visit(node: cst.CSTNode, scope: str, in_function: bool) -> Iterator[Mutant]:
        if is_left_out(node) or (isinstance(node, cst.Arg) and node.keyword and node.keyword.value == "init"):
            return
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            scope = f"{scope}.{node.name.value}" if scope else node.name.value
            in_function = in_function or isinstance(node, cst.FunctionDef)
        for kind, operator in OPERATORS:
            if isinstance(node, kind) and (in_function or operator is not remove_statement):
                for mutated in operator(node):
                    before, after = (wrapper.module.code_for_node(n).strip() for n in (node, mutated))
                    change = f"{before} -> {after}"
                    seen[scope + change] += 1
                    if not is_the_same(before, after):
                        line = positions[node].start.line if node in positions else 0
                        key = f"{path}:{scope}: {change} #{seen[scope + change]}"
                        yield Mutant(key, path, f"{path}:{line} {scope}", change, partial(make, node, mutated))
        for child in node.children:
            yield from visit(child, scope, in_function)

    yield from visit(wrapper.module, "", in_function=False)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Imports the mutated code in the place of one module."""

    def __init__(self, path: str, code: str) -> None:
        self._name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._path, self._code = str(ROOT / path), code

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_source(self, fullname: str) -> str:
        return self._code


def compile_(code: str) -> CodeType:
    return compile(code, "mutant", "exec", dont_inherit=True)


def fingerprint(code: CodeType) -> Any:
    """Returns all that Python runs, without the numbers of lines."""
    constants = [fingerprint(c) if isinstance(c, CodeType) else (type(c), c) for c in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable


def run_tests(mutant: Mutant) -> int:
    """Runs the tests in this process, a fork, and returns its status."""
    code = mutant.make()
    try:
        if fingerprint(compile_(code)) == fingerprint(compile_((ROOT / mutant.path).read_text("utf-8"))):
            return NO_CHANGE
    except SyntaxError:
        return NO_CHANGE
    room, name = mutant.path.removeprefix("fanout/").removesuffix(".py").split("/")
    own = f"tests/{room}/test_{name}.py"
    sys.meta_path.insert(0, Finder(mutant.path, code))
    flags = ["-x", "-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={LIMIT}", f"--rootdir={ROOT}"]
    runs = [[own], [*TESTS, f"--deselect={own}"]] if (ROOT / own).exists() else [list(TESTS)]
    return FAILED if any(pytest.main([*flags, *tests]) for tests in runs) else PASSED


def start(mutant: Mutant, log: Path) -> int:
    """Forks a process that tests a mutant and writes to `log`, and returns its id."""
    if pid := os.fork():
        return pid
    code = FAILED
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = run_tests(mutant)
    finally:
        os._exit(code)


def judge(mutants: Iterable[Mutant], jobs: int, until: float) -> Iterator[Result]:
    """Tests so many mutants at a time until all are done, or no new one from `until` on."""
    for library in LIBRARIES:
        importlib.import_module(library)
    assert not [name for name in sys.modules if name.partition(".")[0] == "fanout"], "a mutant would come too late"
    log = Path(gettempdir()) / "mutant.log"
    running: dict[int, tuple[Mutant, float]] = {}
    left = iter(mutants)
    while True:
        while len(running) < jobs and time.time() < until and (mutant := next(left, None)) is not None:
            running[start(mutant, log)] = mutant, time.time()
        if not running:
            return
        pid, status = os.wait()
        mutant, since = running.pop(pid)
        outcome = OUTCOMES.get(os.waitstatus_to_exitcode(status), TIMED_OUT)
        yield Result(mutant.key, mutant.place, mutant.change, outcome, round(time.time() - since, 1))


def read_results(path: Path) -> dict[str, Result]:
    """Returns the last result of each mutant."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {result.key: result for line in lines if (result := Result(**json.loads(line)))}


def report(mutants: list[Mutant], results: dict[str, Result]) -> Iterator[str]:
    """The survivors and the score, with the 95 % interval (Wilson) that it has as a sample of all mutants."""
    found = [result for mutant in mutants if (result := results.get(mutant.key))]
    yield from (f"{result.place}: {result.change}" for result in found if result.outcome == SURVIVED)
    counts = Counter(result.outcome for result in found)
    n = len(found) - counts[NO_MUTANT]
    yield f"{n} of {len(mutants)}: " + ", ".join(f"{counts[o]} {o}" for o in (KILLED, TIMED_OUT, SURVIVED))
    if n:
        p, z = 1 - counts[SURVIVED] / n, 1.96
        middle, width = p + z * z / 2 / n, z * sqrt(p * (1 - p) / n + (z / 2 / n) ** 2)
        low, high = ((middle + side) / (1 + z * z / n) for side in (-width, width))
        yield f"score {p:.1%}; as a sample, {low:.1%} to {high:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Tells which mutants of the engine and the policies no test kills.")
    parser.add_argument("only", nargs="*", help="parts of the modules' paths; all modules without")
    parser.add_argument("--sample", type=int, help="so many mutants at random, the same each time")
    parser.add_argument("--seconds", type=float, default=inf, help="start no mutant after so many seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    parser.add_argument("--again", action="store_true", help="repeat what has survived")
    parser.add_argument("--results", type=Path, default=ROOT / ".mutants.jsonl", help="the file of results")
    wish = parser.parse_args()
    os.chdir(ROOT)
    paths = [str(path.relative_to(ROOT)) for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]
    mutants = [m for path in paths if not wish.only or any(o in path for o in wish.only) for m in find_mutants(path)]
    random.Random(0).shuffle(mutants)  # so that what is done at any time is a sample
    mutants = mutants[: wish.sample]
    results = read_results(wish.results)
    left = [m for m in mutants if m.key not in results or (wish.again and results[m.key].outcome == SURVIVED)]
    with wish.results.open("a", encoding="utf-8") as file:
        for result in judge(left, wish.jobs, time.time() + wish.seconds):
            results[result.key] = result
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
    for line in report(mutants, results):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
