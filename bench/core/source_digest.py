"""The digest of a plug-in's source: its module and all that this imports from its own package, without their prose."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import io
import itertools
import tokenize
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

BETWEEN = (tokenize.ENCODING, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
BENCH = {"bench", "methods", "evaluators"}  # one distribution, but a method does not depend on evaluators
PLAIN = (int, float, complex, str, bytes, bool, type(None))


@functools.cache
def source_digest(module: ModuleType) -> str:
    """Return the SHA-256 of the code that decides what a plug-in computes.

    The code is that of the module, of every module of its own distribution that it imports, directly or through others,
    at the top or within a function, and the plain constants that these import from the bench. Comments, docstrings and
    blank lines do not count. What else the bench computes is not in it: `bench.engine.keys` has version numbers for
    that. Neither are other libraries, nor data files that a plug-in reads.
    """
    inside = _packages(module)
    queue, files, constants = [module.__name__], {}, set()
    while queue:
        name = queue.pop()
        path = _file(name)
        if name in files or path is None:
            continue
        source = path.read_text(encoding="utf-8")
        files[name] = source
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        for origin, member in _imports(ast.parse(source), package):
            if origin.partition(".")[0] in inside:
                queue += [*_parents(origin), origin, f"{origin}.{member}"]
            elif member and origin.partition(".")[0] in BENCH:
                constants.add((origin, member))
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\n{code(files[name])}\n".encode())
    for origin, member in sorted(constants):
        value = _constant(origin, member)
        if value is not None:
            total.update(f"{member} = {value}\n".encode())
    return total.hexdigest()


def code(source: str) -> str:
    r"""Return a module's source without strings that are statements, comments, blank lines and spaces at ends of lines.

    >>> code('"About."\nA = 1  # why\n\ndef f():\n    "Return 2."\n    return 2\n')
    'A = 1\ndef f():\n    return 2'
    """
    lines = source.splitlines()
    statement = True  # whether a statement begins here
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, following in itertools.pairwise(tokens):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        elif token.type == tokenize.STRING and statement and following.type in (tokenize.NEWLINE, tokenize.COMMENT):
            first, last = token.start[0], token.end[0]
            lines[first - 1 : last] = [""] * (last - first + 1)
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            statement = token.type in BETWEEN
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _packages(module: ModuleType) -> set[str]:
    """Return the top-level names of the module's distribution; that of the module alone where it is not installed."""
    top = module.__name__.partition(".")[0]
    if top in BENCH:
        return {top}
    installed = packages_distributions()
    distributions = set(installed.get(top, ()))
    return {top} | {name for name, owners in installed.items() if distributions & set(owners)} - BENCH


def _imports(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of everything that a module of `package` imports; the name is empty for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(relative, package) if node.level else relative
            yield from ((origin, alias.name) for alias in node.names)


def _parents(name: str) -> list[str]:
    pieces = name.split(".")[:-1]
    return [".".join(pieces[: i + 1]) for i in range(len(pieces))]


def _file(name: str) -> Path | None:
    """Return the source file of a module; None where the name is no module, or has no source in Python."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a name in a module that is no package; `__main__`
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _constant(origin: str, member: str) -> str | None:
    """Return the text of a plain constant that a plug-in imports; None for functions, classes and modules."""
    value = getattr(importlib.import_module(origin), member, None)
    plain = value if isinstance(value, tuple) else (value,)
    return repr(value) if value is not None and all(isinstance(v, PLAIN) for v in plain) else None
