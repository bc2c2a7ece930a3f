"""Random mutants of the files that compute methods, metrics, statistics and the gate, and the tests that kill them.

    python -m tests.benchmarks.mutants --out FILE [--per-file 20] [--seed 0] [--only PATH ...] [--jobs 1]

A mutant is a file with one changed node: a comparison, an arithmetic or boolean operator, a number, a condition, an
argument that is left out. Each is tried on the tests of its own file, in a process forked from one that has loaded the
libraries; the file on disk stays as it is, and no file should change meanwhile. Results are appended to FILE as JSON
lines, and a repeated command goes on where it was. A mutant is killed if a test fails or the time limit passes; the
survivors are printed.

mutmut and cosmic-ray do not fit here: mutmut tries every mutant of the whole package, and cosmic-ray starts Python with
torch anew for each.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ("torch", "numpy", "scipy.stats", "pandas", "diffusers", "sklearn.linear_model", "typer")
LIMIT = 5.0  # of a mutant's time, in multiples of the time of the file without a change
LEAST = 60.0  # seconds that every mutant has

PYTEST = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")

# Each file with its tests: fast ones that compute in this process.
FILES: dict[str, list[str]] = {
    "bench/core/stats.py": ["tests/core/test_stats.py"],
    "bench/core/intervals.py": ["tests/core/test_stats.py", "tests/core/test_jackknife.py"],
    "bench/core/gaussian.py": ["tests/evaluators/test_frechet.py"],
    "bench/core/pareto.py": ["tests/report/test_tradeoff.py"],
    "bench/comparison/gate.py": ["tests/comparison/test_gate.py"],
    "bench/comparison/differences.py": ["tests/comparison/test_compare.py"],
    "bench/sampling/loop.py": ["tests/sampling/test_loop.py"],
    "methods/hspace/guidance.py": ["tests/methods/test_hspace.py"],
    "methods/tiw_dsm.py": ["tests/methods/test_tiw_dsm.py"],
    "methods/attribute_switching.py": ["tests/methods/test_attribute_switching.py"],
    "methods/universal_guidance.py": ["tests/methods/test_universal_guidance.py"],
    "evaluators/fairness_discrepancy.py": ["tests/evaluators/test_fairness_discrepancy.py"],
    "evaluators/classifiers/shares.py": [
        "tests/evaluators/test_fairness_discrepancy.py",
        "tests/evaluators/test_share_designs.py",
    ],
}

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the mutants of one node."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare):
        new.ops = [COMPARISONS[type(op)]() for op in new.ops]
        yield new
    elif isinstance(new, ast.BinOp | ast.AugAssign) and type(new.op) in OPERATORS:
        new.op = OPERATORS[type(new.op)]()
        yield new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub | ast.Invert):
        yield new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        yield ast.Constant(not new.value)
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        yield ast.Constant(new.value + 1)
    elif isinstance(new, ast.If | ast.While | ast.IfExp):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(new, ast.Call) and new.keywords:
        new.keywords.pop()
        yield new
    elif isinstance(new, ast.Call) and len(new.args) > 1:
        new.args.pop()
        yield new


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        path: of the file, from the root.
        line: of the change.
        change: source before and after.
        code: the compiled file.
    """

    path: str
    line: int
    change: str
    code: CodeType

    @property
    def name(self) -> str:
        """The key of the mutant among results."""
        return f"{self.path}:{self.line}: {self.change}"


def mutants(path: str) -> list[Mutant]:
    """Return every mutant of a file; annotations, docstrings and messages are left as they are."""
    tree = ast.parse((ROOT / path).read_text())
    made = []
    for parent, field, index, node in list(_sites(tree)):
        for changed in changes(node):
            ast.copy_location(changed, node)
            _put(parent, field, index, changed)
            ast.fix_missing_locations(tree)
            shown = f"{_first(node)} -> {_first(changed)}"
            made.append(Mutant(path, getattr(node, "lineno", 0), shown, compile(tree, str(ROOT / path), "exec")))
        _put(parent, field, index, node)
    return made


def _sites(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield every node that may change, with the place that holds it; what is raised or annotated is passed over."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "type_params") or isinstance(
            tree, ast.Raise | ast.Assert
        ):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST):
                yield tree, field, index, node
                yield from _sites(node)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _first(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0][:100]


class _Loader(importlib.machinery.SourceFileLoader):
    """A loader whose module is a mutant."""

    code: CodeType

    def get_code(self, _name: str) -> CodeType:
        return self.code


class Finder(importlib.abc.MetaPathFinder):
    """Finds the mutant in place of its file."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.module = mutant, mutant.path.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the mutant's spec, None for another module."""
        if name != self.module:
            return None
        loader = _Loader(name, str(ROOT / self.mutant.path))
        loader.code = self.mutant.code
        return importlib.util.spec_from_file_location(name, loader.path, loader=loader)


def survives(mutant: Mutant | None, tests: Sequence[str], limit: float) -> bool:
    """Return whether tests pass in a child with a mutant, or with the files as they are, within a limit in seconds."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.alarm(int(limit) + 1)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Finder(mutant))
        os._exit(int(pytest.main([*PYTEST, *tests])))
    return os.waitpid(child, 0)[1] == 0


def tried(untried: Sequence[Mutant], tests: Sequence[str], jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant with whether it survives, `jobs` at a time; the tests must pass without a change."""
    if not untried:
        return
    start = time.monotonic()
    if not survives(None, tests, 1200):
        sys.exit(f"{untried[0].path}: its tests fail without a change: {' '.join(tests)}")
    limit = max(LEAST, LIMIT * (time.monotonic() - start))
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(untried, pool.map(lambda m: survives(m, tests, limit), untried), strict=True)


def main() -> None:
    """Try a random sample of each file's mutants, and print how many were killed and which survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of results, appended to")
    parser.add_argument("--per-file", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(FILES))
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    results = {}
    if arguments.out.is_file():
        results = {r["name"]: r for r in map(json.loads, arguments.out.read_text().splitlines())}
    for path in arguments.only:
        sample = mutants(path)
        random.Random(f"{arguments.seed} {path}").shuffle(sample)
        digest = hashlib.sha256(b"".join((ROOT / p).read_bytes() for p in (path, *FILES[path]))).hexdigest()
        sample = sample[: arguments.per_file]
        untried = [m for m in sample if results.get(m.name, {}).get("sha256") != digest]
        for m, survived in tried(untried, FILES[path], arguments.jobs):
            results[m.name] = {"name": m.name, "sha256": digest, "survived": survived}
            with arguments.out.open("a") as out:
                out.write(json.dumps(results[m.name]) + "\n")
        alive = [m.name for m in sample if results[m.name]["survived"]]
        print(f"{path}: {len(sample) - len(alive)} of {len(sample)} killed", flush=True)
        print("".join(f"  survived {name}\n" for name in alive), end="", flush=True)


if __name__ == "__main__":
    main()
