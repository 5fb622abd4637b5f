"""Mutation test: small faults are put into modules, and their tests must notice.

    python scripts/mutate.py --json benchmarks/results/mutation.json

One fault at a time (another comparison, sign, operator or number, "and" for "or", "max" for "min"),
at places drawn by a seed, each in a process of its own that runs only the tests of its module.
Kernels of the module are compiled again, those of others are taken from a run without a fault. A
fault that no test notices survives.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIME_LIMIT = 300  # seconds; a fault that makes tests endless is noticed

# Modules and their tests; further words are options of pytest.
TARGETS = {
    "benchmarks/decide.py": ("tests/benchmarks/test_decide.py",),
    "benchmarks/compare.py": ("tests/benchmarks/test_compare.py", "-k", "not false_alarms"),
    "export/parity.py": (
        "tests/export/test_parity.py",
        "tests/export/test_onnx_writer.py::test_size_and_anchors",
    ),
    "jdetrt/evaluation/average_precision.py": ("tests/evaluation/test_average_precision.py",),
    "runtime/tracking/costs.py": ("tests/runtime/test_costs.py",),
    "runtime/tracking/assignment.py": ("tests/runtime/test_costs.py",),
    "runtime/decode.py": ("tests/runtime/test_decode.py",),
    "calibration/quantize/qdq.py": ("tests/calibration/test_qdq.py",),
}
HEAVY = ("numpy", "msgspec", "scipy.stats", "scipy.optimize", "torch", "onnx", "cv2")

# Faults that change nothing that could be asked for, and why: by module, code before and after.
REASONS: dict[tuple[str, str, str], str] = {
    ("benchmarks/decide.py", "mine > yours", "mine >= yours"): "equal scores do not get here",
    ("runtime/tracking/assignment.py", "1", "2"): "any negative number stands for no index",
    ("runtime/tracking/costs.py", "w <= 0.0", "w < 0.0"): "no width is no overlap either way",
    ("runtime/decode.py", "width <= 0", "width < 0"): "no width is no overlap either way",
    ("export/parity.py", "height - h", "height + h"): "where blocks of a synthetic image lie",
}

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
FUNCTIONS = {
    "max": "min",
    "min": "max",
    "any": "all",
    "all": "any",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
}


@dataclass
class Fault:
    """One change in one module."""

    module: str
    line: int
    before: str
    after: str
    tree: ast.Module = field(repr=False)
    noticed: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Key of its reason: module, code before and after."""
        return self.module, self.before, self.after


def changed(node: ast.AST) -> ast.AST | None:
    """A node with a small fault in it; None where this kind of node has none."""
    other: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        other.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        other.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        return copy.deepcopy(node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        other.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
        other.attr = FUNCTIONS[node.attr]
    elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
        other.id = FUNCTIONS[node.id]
    else:
        return None
    return ast.fix_missing_locations(ast.copy_location(other, node))


def places(node: ast.AST, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], ast.AST]]:
    """Nodes that can have a fault, with the way to them; not in annotations, texts or messages."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc"):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":  # of zip: a check alone
                continue
            here = (*path, (name, index if isinstance(value, list) else None))
            if changed(child) is not None:
                yield here, child
            yield from places(child, here)


def put(tree: ast.Module, path: Sequence[Any], node: ast.AST) -> ast.Module:
    """A copy of a tree with another node at the end of a way."""
    tree = copy.deepcopy(tree)
    parent: Any = tree
    for name, index in path[:-1]:
        parent = getattr(parent, name) if index is None else getattr(parent, name)[index]
    name, index = path[-1]
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node
    return tree


def faults(module: str, count: int, seed: int) -> list[Fault]:
    """Draw places of a module, and put a fault into each."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    everywhere = list(places(tree))
    drawn = random.Random(f"{seed} {module}").sample(everywhere, min(count, len(everywhere)))
    drawn.sort(key=lambda one: one[1].lineno)  # type: ignore[attr-defined]
    made = []
    for path, node in drawn:
        other = changed(node)
        assert other is not None
        texts = ast.unparse(node), ast.unparse(other)
        made.append(Fault(module, node.lineno, *texts, put(tree, path, other)))  # type: ignore[attr-defined]
    return made


class Mutant(MetaPathFinder, SourceFileLoader):
    """Import one module from a changed tree."""

    def __init__(self, name: str, file: Path, tree: ast.Module) -> None:
        super().__init__(name, str(file))
        self._tree = tree

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Take over this one module."""
        if fullname != self.name:
            return None
        return spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> Any:
        """Compile the changed tree; nothing of it is kept on disk."""
        return compile(self._tree, self.path, "exec")


def start(module: str, tree: ast.Module | None, cache: str) -> int:
    """Run a module's tests in a process of their own; returns its id. Exit code 0: all passed."""
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(TIME_LIMIT)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        kept = Path(cache) / "kept"
        own = kept if tree is None else Path(cache, str(os.getpid()))
        os.environ["NUMBA_CACHE_DIR"] = str(own)
        if tree is not None:
            shutil.copytree(kept, own, ignore=shutil.ignore_patterns(f"{Path(module).stem}.*"))
            parts = module.removeprefix("jdetrt/").removesuffix(".py").split("/")
            sys.meta_path.insert(0, Mutant(".".join(("jdetrt", *parts)), ROOT / module, tree))
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TARGETS[module]])))
    finally:
        os._exit(99)


def judge(work: Sequence[tuple[str, Fault | None]], jobs: int, cache: str) -> dict[int, int]:
    """Exit code of each piece of work, by its place."""
    waiting, running, codes = list(enumerate(work)), {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            place, (module, fault) = waiting.pop(0)
            running[start(module, None if fault is None else fault.tree, cache)] = place
        child, status = os.wait()
        place = running.pop(child)
        shutil.rmtree(Path(cache, str(child)), ignore_errors=True)
        codes[place] = os.waitstatus_to_exitcode(status)
        module, fault = work[place]
        if fault is not None:
            word = "survives" if codes[place] == 0 else "noticed "
            say(f"{word}  {module}:{fault.line}  {fault.before}  ->  {fault.after}")
    return codes


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Judge all faults; exit code 3 where fewer than --least are noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--each", type=int, default=8, help="number of faults in each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="judge only modules whose name has this in it")
    parser.add_argument("--again", type=Path, help="judge only survivors of this result again")
    parser.add_argument("--least", type=float, default=0.9, help="share that must be noticed")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.chdir(ROOT)
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    for name in HEAVY:
        importlib.import_module(name)
    with TemporaryDirectory(prefix="jdetrt-mutate-") as cache:
        return run(given, cache)


def run(given: argparse.Namespace, cache: str) -> int:
    """Judge with kernels in a folder of their own."""
    Path(cache, "kept").mkdir()
    begin, total, noticed, rows = time.time(), 0, 0, []
    before = None if given.again is None else json.loads(given.again.read_text())
    survivors = None if before is None else _survivors(before)
    judged = [row["module"] for row in before["rows"]] if before else list(TARGETS)
    for module in judged:
        if (given.only or "") not in module:
            continue
        if judge([(module, None)], 1, cache)[0] != 0:
            say(f"{module}: its tests fail without a fault")
            return 1
        here = faults(module, given.each, given.seed)
        open_ones = [one for one in here if survivors is None or one.key in survivors]
        for one in here:
            one.noticed = one not in open_ones
        for place, code in judge([(module, one) for one in open_ones], given.jobs, cache).items():
            open_ones[place].noticed = code != 0
        rows.append(_row(module, here))
        total, noticed = (sum(row[name] for row in rows) for name in ("faults", "noticed"))
        if given.json is not None:  # after each module: what was done is not lost
            _write(given, rows, noticed / total)
    say(f"{noticed} of {total} noticed in {time.time() - begin:.0f} s")
    return 0 if noticed >= given.least * total else 3


def _survivors(result: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Survivors of a result, by module and code before and after."""
    return {
        (row["module"], one["before"], one["after"])
        for row in result["rows"]
        for one in row["survivors"]
    }


def _row(module: str, here: Sequence[Fault]) -> dict[str, Any]:
    survivors = [
        {
            "line": one.line,
            "before": one.before,
            "after": one.after,
            "reason": REASONS.get(one.key, "no test asks for it"),
        }
        for one in here
        if not one.noticed
    ]
    return {
        "module": module,
        "tests": " ".join(TARGETS[module]),
        "faults": len(here),
        "noticed": len(here) - len(survivors),
        "survivors": survivors,
    }


def _write(given: argparse.Namespace, rows: list[dict[str, Any]], share: float) -> None:
    from jdetrt.benchmarks.result import write_result
    from jdetrt.machine.manifest import manifest

    settings = {"each": given.each, "seed": given.seed}
    result = {"benchmark": "mutation", "machine": manifest(), "settings": settings}
    write_result(given.json, {**result, "share": share, "rows": rows})


if __name__ == "__main__":
    raise SystemExit(main())
