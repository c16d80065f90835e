"""Breaks the engine and the policies in one place after the other, and tells which of these mutants no test kills.

    .venv/bin/pip install mutmut==3.8.1 && nice .venv/bin/python -m tests.mutants

Most operators are mutmut's; its own runner is not used, because it leaves out constants, properties and all else that
has a decorator. Messages, annotations and assertions are not mutated. No file is changed: `kills.py` runs each mutant
in a process of its own, with the tests that reach it; the first failure, or a test that hangs, is enough.

Each result is kept in a file: a run goes on where the last one stopped, and `--again` repeats what survived.
"""

import argparse
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
from typing import Any

import libcst as cst
from attrs import asdict
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

from tests.kills import KILLED, NO_MUTANT, ROOT, SURVIVED, TIMED_OUT, Mutant, Result, judge

ROOMS = ("fanout/engine", "fanout/policies")


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
                        yield Mutant(key, path, line, f"{path}:{line} {scope}", change, partial(make, node, mutated))
        for child in node.children:
            yield from visit(child, scope, in_function)

    yield from visit(wrapper.module, "", in_function=False)


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

        def note(result: Result) -> None:
            results[result.key] = result
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()

        if left:
            judge(left, wish.jobs, time.time() + wish.seconds, note)
    for line in report(mutants, results):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
