"""The project's sources as data: who imports whom, and the measures of plain language.

`python -m tests.support.source [FOLDER ...]` prints the measures of bench, methods and evaluators, and each offender.
Everything takes the folders to read, so that a test can show on a planted example that a check fails.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = ("bench", "methods", "evaluators")

# Names that say that something happened to a value, not what it holds.
EMPTY_NAMES = frozenset(
    [
        *("found", "kept", "made", "one", "own", "each", "seen", "said", "told", "known", "part", "place", "rest"),
        *("more", "of", "other", "mine", "asked", "given", "wanted", "todo", "about", "kin", "ran", "news", "body"),
    ]
)
OPENING = re.compile(r"(What|Whether|As|Of|Where|How|Why)\b")
NOUN = (
    "batch|block|call|cell|class|column|entry|file|folder|group|image|job|line|method|metric|number|pair|part|plot|point|"
    "process|prompt|record|row|run|sample|score|seed|share|sheet|shard|step|suite|table|task|test|thread|value|worker|year"
)
RATE = re.compile(rf"\b(?:one|an?|\d+) (?:{NOUN}) an? (?:{NOUN})\b")


def modules(root: Path = ROOT, top: tuple[str, ...] = TOP) -> dict[str, Path]:
    """Return every module below the top-level packages: dotted name to file."""
    names = {}
    for package in top:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what a file imports, at its top or within a function: `module` or `module.name`.

    Raises:
        ValueError: a relative import, which hides the layer that is meant.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: relative imports hide which layer is meant")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which module imports which, among `files`; imports within functions count."""
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
            module = target if target in files else target.rpartition(".")[0]
            if module in files and module != name:
                graph[name].add(module)
    return graph


def package_of(module: str) -> str:
    """Return the package whose row of the allow-table a module obeys: `bench.X`, `methods` or `evaluators`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "bench" else parts[0]


def package_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which package imports which."""
    packages: dict[str, set[str]] = {package_of(name): set() for name in graph}
    for name, targets in graph.items():
        packages[package_of(name)] |= {package_of(target) for target in targets} - {package_of(name)}
    return packages


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return every set of nodes that reach one another (strongly connected components of two nodes or more)."""
    reachable = {node: _reachable(graph, node) for node in graph}
    groups = {frozenset(b for b in reachable[a] if a in reachable.get(b, ())) for a in graph if a in reachable[a]}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    queue = list(graph[start])
    while queue:
        node = queue.pop()
        if node not in reached:
            reached.add(node)
            queue.extend(graph.get(node, ()))
    return reached


@dataclass(frozen=True)
class Measures:
    """Counts over sources, and where each offender stands ("file:line what").

    Attributes:
        names: variables, parameters and attributes that are bound; a comprehension's throw-away names are left out.
        empty_names: those of them in `EMPTY_NAMES`.
        docstrings: of modules, classes and functions.
        openings: docstrings that open with `OPENING`.
        rates: "one X a Y" for "per" in comments and docstrings.
        any_types: uses of `Any` as a type.
        long_functions: functions over 60 lines.
        long_files: files over 400 lines.
    """

    names: int
    docstrings: int
    empty_names: tuple[str, ...]
    openings: tuple[str, ...]
    rates: tuple[str, ...]
    any_types: tuple[str, ...]
    long_functions: tuple[str, ...]
    long_files: tuple[str, ...]


def measure(files: Mapping[str, Path], root: Path = ROOT) -> Measures:
    """Measure the language and the size of some sources."""
    names = docstrings = 0
    lists: dict[str, list[str]] = {
        key: [] for key in ("empty_names", "openings", "rates", "any_types", "long_functions", "long_files")
    }
    for path in files.values():
        text = path.read_text(encoding="utf-8")
        tree, where = ast.parse(text), path.relative_to(root).as_posix()
        for line, name in _bound(tree):
            names += 1
            if name.lstrip("_") in EMPTY_NAMES:
                lists["empty_names"].append(f"{where}:{line} {name}")
        for line, docstring in _docstrings(tree):
            docstrings += 1
            if OPENING.match(docstring):
                lists["openings"].append(f"{where}:{line} {docstring.splitlines()[0]}")
        lists["rates"] += [f"{where}:{line} {rate}" for line, rate in _rates(tree, text)]
        lists["any_types"] += [f"{where}:{n.lineno} Any" for n in ast.walk(tree) if _is_any(n)]
        lists["long_functions"] += [f"{where}:{n.lineno} {n.name}" for n in _functions(tree) if _length(n) > 60]
        if len(text.splitlines()) > 400:
            lists["long_files"].append(f"{where} {len(text.splitlines())} lines")
    return Measures(names, docstrings, **{key: tuple(items) for key, items in lists.items()})


def _bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    throwaway = {
        id(name) for node in ast.walk(tree) if isinstance(node, ast.comprehension) for name in ast.walk(node.target)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in throwaway:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield getattr(node, "lineno", 1), docstring


def _rates(tree: ast.AST, text: str) -> Iterator[tuple[int, str]]:
    """Yield the rates in docstrings and comments, with their lines."""
    for line, docstring in _docstrings(tree):
        yield from ((line, rate[0]) for rate in RATE.finditer(" ".join(docstring.split())))
    for number, line in enumerate(text.splitlines(), 1):
        _, mark, comment = line.partition("# ")
        if mark:
            yield from ((number, rate[0]) for rate in RATE.finditer(comment))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _is_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any" and isinstance(node.ctx, ast.Load)


def main() -> None:
    """Print the measures."""
    top = tuple(sys.argv[1:]) or TOP
    measured = measure(modules(ROOT, top))
    for title, count, of in (
        ("content-free names", len(measured.empty_names), measured.names),
        ("docstrings that open with What/Whether/As/Of/Where/How/Why", len(measured.openings), measured.docstrings),
        ("rates written with an article", len(measured.rates), None),
        ("Any as a type", len(measured.any_types), None),
        ("functions over 60 lines", len(measured.long_functions), None),
        ("files over 400 lines", len(measured.long_files), None),
    ):
        share = f" of {of:,} ({count / max(of, 1):.1%})" if of is not None else ""
        print(f"{title}: {count}{share}")
    for offenders in (measured.empty_names, measured.openings, measured.rates, measured.long_functions):
        print(*offenders, *measured.long_files, sep="\n")


if __name__ == "__main__":
    main()
