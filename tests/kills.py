"""Runs the tests on mutants of `mutants.py`, in one pytest session that has collected them once.

A mutant that changes a function runs in a fork of that session: the function gets the mutated code there, and only the
tests run that enter it, those first that have killed a mutant of the same function, then those that reach the mutated
line. What changes a class or a module is imported anew, in an interpreter of its own, and all tests run.
"""

import faulthandler
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from attrs import define, frozen
from coverage import Coverage

ROOT = Path(__file__).parent.parent
TESTS = ("tests/policies", "tests/engine", "tests/test_api.py", "tests/test_race_laws.py")
FLAGS = ("-q", "-s", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0", f"--rootdir={ROOT}")

LIMIT, TIMES = 3, 8
"""Seconds that one test may take, and so many times what it takes without a mutant. An endless wait is cut off."""

MEMORY = 4 << 30
"""Bytes of address space; a mutant that gathers without end does not take the machine with it."""

KILLED, TIMED_OUT, SURVIVED, NO_MUTANT = "killed", "timed out", "survived", "no mutant"
PASSED, FAILED = 0, 3
OUTCOMES = {PASSED: SURVIVED, FAILED: KILLED}
"""The outcomes by the status of a process; faulthandler ends one that hangs, with 1."""


@frozen
class Mutant:
    """One change: `key` names it in the file of results, `place` and `change` tell it to people."""

    key: str
    path: str
    line: int
    place: str
    change: str
    make: Callable[[], str]
    """Returns the mutated code; not before it is wanted, because that takes longer than to find the mutant."""


@define
class Result:
    """The fate of a mutant, in how many seconds, and the test that killed it or hung."""

    key: str
    place: str
    change: str
    outcome: str
    seconds: float
    killer: str = ""


def compile_(code: str, path: str) -> CodeType:
    return compile(code, str(ROOT / path), "exec", dont_inherit=True)


def functions_of(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def own_parts(code: CodeType) -> Any:
    """Returns what Python runs of a code itself, without the numbers of lines and without the functions in it."""
    constants = [None if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable


def find_changes(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]]:
    """Returns the outermost parts that differ, before and after: functions, or what is run at import."""
    if own_parts(old) != own_parts(new):
        return [(old, new)]
    pairs = zip(functions_of(old), functions_of(new), strict=True)
    inner = [change for pair in pairs for change in find_changes(*pair)]
    is_function = old.co_qualname != "<module>" and "__qualname__" not in old.co_names
    return [(old, new)] if inner and is_function else inner


def lines_of(code: CodeType) -> set[int]:
    """Returns the numbers of a function's lines, but for the first, which runs where it is defined."""
    lines = {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}
    return lines.union(*map(lines_of, functions_of(code)))


@define
class Reach:
    """The tests by the lines that they run, and the seconds that each takes."""

    lines: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    def find(self, path: str, lines: Iterable[int]) -> set[str]:
        """Returns the tests that run any of these lines."""
        reached = self.lines.get(path, {})
        return {test for line in lines for test in reached.get(str(line), ())}


class Judge:
    """A plugin of pytest that runs, in the place of the tests, the mutants; so many `jobs` at a time until `until`."""

    def __init__(
        self, mutants: Iterable[Mutant], jobs: int, until: float, note: Callable[[Result], None], folder: Path
    ) -> None:
        self._mutants, self._jobs, self._until, self._note, self._folder = mutants, jobs, until, note, folder
        self._killers: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judges all mutants."""
        self._items = {item.nodeid: item for item in session.items}
        self._reach = self._find_reach(session)
        self._functions = find_functions()
        gc.freeze()  # what a fork need not look at, it need not copy
        running: dict[int, tuple[Mutant, float, Path, str]] = {}
        left = iter(self._mutants)
        while True:
            while len(running) < self._jobs and time.time() < self._until and (mutant := next(left, None)) is not None:
                self._start(session, mutant, running)
            if not running:
                return True
            pid, status = os.wait()
            mutant, since, log, function = running.pop(pid)
            outcome = OUTCOMES.get(os.waitstatus_to_exitcode(status), TIMED_OUT)
            killer = log.read_text("utf-8").strip() if outcome != SURVIVED and log.exists() else ""
            self._killers[function][killer] += 1
            seconds = round(time.time() - since, 1)
            self._note(Result(mutant.key, mutant.place, mutant.change, outcome, seconds, killer))

    def _start(self, session: pytest.Session, mutant: Mutant, running: dict[int, Any]) -> None:
        source, log = mutant.make(), self._folder / f"{len(running)}-{time.time()}"
        try:
            new = compile_(source, mutant.path)
        except SyntaxError:
            new = None
        old = compile_((ROOT / mutant.path).read_text("utf-8"), mutant.path)
        changes = [] if new is None else find_changes(old, new)
        if not changes:
            return self._note(Result(mutant.key, mutant.place, mutant.change, NO_MUTANT, 0.0))
        name = f"{mutant.path} {changes[0][0].co_qualname}"
        tests = self._order(mutant, name, changes[0][0])
        swaps = self._find_swaps(changes)
        since = time.time()
        if pid := os.fork():
            running[pid] = mutant, since, log, name
            return None
        try:
            if swaps:
                for function, new in swaps:
                    function.__code__ = new
                run(session, [self._items[test] for test in tests], log, self._reach.seconds)
            else:
                mutated = log.with_suffix(".py")
                mutated.write_text(source, "utf-8")
                os.execv(sys.executable, [sys.executable, "-m", "tests.kills", mutant.path, str(mutated), str(log)])
        finally:
            os._exit(FAILED)

    def _find_swaps(self, changes: list[tuple[CodeType, CodeType]]) -> list[tuple[FunctionType, CodeType]]:
        """Returns the functions to change, each with its new code; none if that cannot be done without an import."""
        swaps = []
        for old, new in changes:
            functions = self._functions.get(identify(old), [])
            if not functions or old.co_freevars != new.co_freevars:
                return []
            swaps += [(function, new) for function in functions]
        return swaps

    def _order(self, mutant: Mutant, name: str, function: CodeType) -> list[str]:
        """Returns the tests that enter the function, the likeliest killers first."""
        line, killers = self._reach.find(mutant.path, [mutant.line]), self._killers[name]
        own, seconds = find_own(mutant.path), self._reach.seconds

        def rank(test: str) -> tuple[int, bool, bool, float]:
            return -killers[test], test not in line, not test.startswith(own), seconds[test]

        return sorted(self._reach.find(mutant.path, lines_of(function)) | line, key=rank)

    def _find_reach(self, session: pytest.Session) -> Reach:
        """Runs all tests once, without a mutant, and notes which lines each of them runs."""
        found = self._folder / "reach"
        if not (pid := os.fork()):
            try:
                found.write_text(json.dumps(measure(session)))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        lines, seconds, failed = json.loads(found.read_text())
        if failed:
            raise pytest.UsageError(f"without a mutant, too, there fails {', '.join(failed)}")
        return Reach(lines, seconds)


def identify(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def find_functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """Returns all functions of this process, also those inside of decorators."""
    found = defaultdict(list)
    for function in gc.get_objects():
        if isinstance(function, FunctionType):
            found[identify(function.__code__)].append(function)
    return dict(found)


def find_own(path: str) -> str:
    """Returns the file of a module's own tests."""
    room, name = path.removeprefix("fanout/").removesuffix(".py").split("/")
    return f"tests/{room}/test_{name}.py"


def measure(session: pytest.Session) -> tuple[Any, dict[str, float], list[str]]:
    """Runs all tests: which lines each of them runs, in how many seconds, and which fail."""
    coverage, seconds, failed = Coverage(data_file=None, config_file=False, source=[str(ROOT / "fanout")]), {}, []
    coverage.start()
    for item in session.items:
        coverage.switch_context(item.nodeid)
        for _ in range(2):  # a test of times may fail by chance beside other work
            since, before = time.perf_counter(), session.testsfailed
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            seconds[item.nodeid] = time.perf_counter() - since
            if session.testsfailed == before:
                break
        else:
            failed.append(item.nodeid)
    coverage.stop()
    data = coverage.get_data()
    paths = {str(Path(file).relative_to(ROOT)): file for file in data.measured_files()}
    lines = {path: data.contexts_by_lineno(file) for path, file in paths.items()}
    return lines, seconds, failed


def run(session: pytest.Session, items: list[pytest.Item], log: Path, seconds: dict[str, float]) -> None:
    """Runs tests up to the first that fails, and ends this process; `log` says at which test it did."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = os.open(os.devnull, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    with log.open("w+", encoding="utf-8") as file:
        for item in items:
            file.seek(0)
            file.truncate()
            file.write(item.nodeid)
            file.flush()
            faulthandler.dump_traceback_later(LIMIT + TIMES * seconds.get(item.nodeid, 1.0), exit=True)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            faulthandler.cancel_dump_traceback_later()
            if session.testsfailed:
                os._exit(FAILED)
    os._exit(PASSED)


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


class Imported:
    """A plugin of pytest that runs the tests on the mutant that was imported, those of its module first."""

    def __init__(self, path: str, log: Path) -> None:
        self._own, self._log = find_own(path), log

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Runs them."""
        run(session, sorted(session.items, key=lambda item: not item.nodeid.startswith(self._own)), self._log, {})


def judge(mutants: Iterable[Mutant], jobs: int, until: float, note: Callable[[Result], None]) -> None:
    """Tests mutants until all are done, or no new one from `until` on; tells each result to `note`."""
    with TemporaryDirectory() as folder:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder  # nothing that a fork leaves behind stays there
        if status := pytest.main([*FLAGS, *TESTS], plugins=[Judge(mutants, jobs, until, note, Path(folder))]):
            raise SystemExit(status)


def main(path: str, mutated: str, log: str) -> None:
    """Imports one mutant in this interpreter, and runs the tests."""
    assert not [name for name in sys.modules if name.partition(".")[0] == "fanout"], "the mutant would come too late"
    sys.meta_path.insert(0, Finder(path, Path(mutated).read_text("utf-8")))
    pytest.main([*FLAGS, *TESTS], plugins=[Imported(path, Path(log))])
    os._exit(FAILED)  # not even the collection went well


if __name__ == "__main__":
    main(*sys.argv[1:])
