"""The rules of the source that no other test would notice: who imports whom, and where a thing is found."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.core import plugins
from bench.core.errors import ConfigError

ROOT = plugins.ROOT
PACKAGES = ("bench", "methods", "evaluators")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EVERY = [*SOURCES, ROOT / "run_bench.py", *sorted((ROOT / "tests").rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or within a function."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide which layer is meant"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("methods", [*(f"bench.{m}" for m in ("cli", "runner", "report", "store", "plan", "cell", "jobs", "suite"))]),
        ("methods", ["bench.sampling.loop", "bench.core.plugins", "evaluators"]),
        (
            "evaluators",
            [
                "bench.models",
                "bench.sampling.loop",
                "bench.engine.worker",
                "bench.engine.runner",
                "bench.cli",
                "methods",
            ],
        ),
        ("evaluators", ["bench.report", "bench.storage.store", "bench.engine.plan", "bench.config.suite"]),
        (
            "bench/models",
            ["methods", "evaluators", "bench.sampling.loop", "bench.engine.runner", "bench.engine.worker", "bench.cli"],
        ),
        (
            "bench/data",
            ["methods", "evaluators", "bench.models", "bench.engine.runner", "bench.engine.worker", "bench.cli"],
        ),
        ("bench/training", ["bench.engine.runner", "bench.engine.worker", "bench.cli", "methods"]),
        ("bench", ["tests", "run_bench"]),
    ],
)
def test_imports_run_downwards_only(folder: str, above: list[str]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = [(path.name, m) for path in files for m in imports(path) for name in above if is_in(m, name)]
    assert not wrong


def test_methods_and_evaluators_import_none_of_their_own_kind_by_name() -> None:
    for folder in ("methods", "evaluators"):
        for path in (ROOT / folder).glob("*.py"):
            others = {f"{folder}.{p.stem}" for p in (ROOT / folder).glob("*.py")} - {f"{folder}.base"}
            assert not [m for m in imports(path) for other in others if is_in(m, other)]


def test_nothing_imports_the_script() -> None:
    assert not [path.name for path in EVERY for m in imports(path) if is_in(m, "run_bench")]


def test_a_run_with_nothing_to_do_and_a_report_import_no_torch() -> None:
    for path in (ROOT / "bench" / "report").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not [m for m in _imports(ast.Module(top, [])) if is_in(m, "torch")], path.name
    code = "import bench.report.terminal, bench.engine.runner, bench.config.suite, bench.cli, sys\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_file_is_a_drawer_and_none_is_long() -> None:
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")]
    long = {path.name: n for path in SOURCES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long


def test_no_pickle_is_read_or_written() -> None:
    """A pickle runs code when it is read; torch.load and numpy.load only with the argument that forbids it."""
    harmless = "pickle.UnpicklingError"  # what torch.load raises
    forbidden = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
    for path in EVERY:
        assert not [m for m in imports(path) for name in forbidden if is_in(m, name) and m != harmless], path.name
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                said = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
                if ast.unparse(call.func) == "torch.load":
                    assert said.get("weights_only") is True, f"{path.name}:{call.lineno}"
                if ast.unparse(call.func) in ("np.load", "numpy.load"):
                    assert not said.get("allow_pickle"), f"{path.name}:{call.lineno}"


def classes(path: Path) -> dict[str, set[str]]:
    """Class name to the names that its body binds."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            found[node.name] |= {ast.unparse(n.target) for n in node.body if isinstance(n, ast.AnnAssign)}
            found[node.name] |= {ast.unparse(t) for n in node.body if isinstance(n, ast.Assign) for t in n.targets}
    return found


def public(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).glob("*.py")) if path.stem not in ("base", "__init__")]


@pytest.mark.parametrize("path", public("methods"), ids=lambda path: path.stem)
def test_a_file_of_methods_holds_a_method_that_is_found(path: Path) -> None:
    assert {"traits", "build"} <= classes(path)["Method"]
    assert path.stem in plugins.names("method")


@pytest.mark.parametrize("path", public("evaluators"), ids=lambda path: path.stem)
def test_a_file_of_evaluators_holds_an_evaluator_or_an_extractor_that_is_found(path: Path) -> None:
    found = classes(path)
    assert "Evaluator" in found or "Extractor" in found
    assert {"card", "evaluate"} <= found.get("Evaluator", {"card", "evaluate"})
    assert "extract" in found.get("Extractor", {"extract"})
    assert path.stem in plugins.names("evaluator")


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES if path.name == "__init__.py"}
    assert set(listed) == there
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES} == there


def test_a_method_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("elsewhere_methods")
    exec("class Method:\n    traits = None\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "elsewhere_methods", module)
    entries = [
        EntryPoint("elsewhere", "elsewhere_methods", "fairdiff_bench.methods"),
        EntryPoint("broken", "no_such_module_at_all", "fairdiff_bench.methods"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])
    assert {"elsewhere", "vanilla"} <= set(plugins.names("method"))
    assert "elsewhere" not in plugins.names("evaluator")
    assert plugins.load("method", "elsewhere", "Method") is module.__dict__["Method"]
    with pytest.raises(ConfigError, match=r"'broken' of package no_such_module_at_all cannot be imported"):
        plugins.load("method", "broken", "Method")
