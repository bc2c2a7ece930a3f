"""The rules of the source that no other test would notice: who imports whom, and where a thing is found."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import bench
from bench.core import plugins
from bench.core.errors import ConfigError
from tests.support.source import circles, imported, measure, module_graph, modules, package_graph

ROOT = plugins.ROOT
MODULES = modules(ROOT)
SOURCES = sorted(MODULES.values())
EVERY = [*SOURCES, ROOT / "run_bench.py", *sorted((ROOT / "tests").rglob("*.py"))]

# Package to the packages that it may import, lowest first; nobody imports what stands below its own line.
BASE = {"bench.core", "bench.assets"}
FILES = BASE | {"bench.config", "bench.protocols", "bench.storage"}
CONTENT = FILES | {"bench.models", "bench.data"}
ENGINE = CONTENT | {"bench.training", "bench.sampling", "evaluators", "bench.results", "bench.engine"}
ALLOWED: dict[str, set[str]] = {
    "bench.core": set(),
    "bench.assets": set(),
    "bench.protocols": {"bench.core"},
    "bench.storage": {"bench.core"},
    "bench.config": BASE,
    "bench.models": BASE | {"bench.protocols", "bench.storage"},
    "bench.data": BASE | {"bench.protocols", "bench.storage", "bench.config"},
    "bench.training": {"bench.core", "bench.protocols"},
    "bench.sampling": {"bench.core", "bench.protocols", "bench.models"},
    "methods": {"bench.core", "bench.protocols", "bench.training"},
    "evaluators": {"bench.core", "bench.protocols", "bench.assets", "bench.storage"},  # storage: to find weights
    "bench.results": FILES,
    "bench.comparison": FILES | {"bench.results"},
    "bench.report": FILES | {"bench.results", "bench.comparison"},
    "bench.engine": ENGINE - {"bench.engine"},
    "bench.sweeps": ENGINE | {"bench.report", "bench.estimate"},  # a sweep warns of memory as a run does
    "bench.verification": ENGINE,
    "bench.plugin_checks": ENGINE | {"bench.sweeps"},  # the search space of a method
    "bench.profiling": ENGINE | {"bench.report"},
    "bench.estimate": ENGINE,
    "bench.environment": CONTENT,
    "bench.recipes": CONTENT | {"bench.training", "evaluators"},
}
ABOVE = set(ALLOWED) - {"bench.core"}
ALLOWED |= {"bench.api": set(ALLOWED), "bench": {"bench.api", "bench.core", "bench.protocols", "bench.report"}}
ALLOWED |= {"bench.cli": {"bench.api", "bench", *ALLOWED} - {"methods", "evaluators"}}


def forbidden(packages: Mapping[str, set[str]], allowed: Mapping[str, set[str]]) -> list[str]:
    """Return the imports between packages that the table does not allow."""
    return [f"{a} -> {b}" for a, targets in sorted(packages.items()) for b in sorted(targets - allowed.get(a, set()))]


def planted(folder: Path, **files: str) -> dict[str, Path]:
    """Write modules of a small project, `bench__core__text` for bench/core/text.py, and return them as `modules`."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return modules(folder)


def test_packages_import_what_the_table_allows() -> None:
    assert not forbidden(package_graph(module_graph(MODULES)), ALLOWED)


def test_the_table_names_every_package_and_lets_none_import_in_a_circle() -> None:
    assert set(package_graph(module_graph(MODULES))) == set(ALLOWED)
    assert not circles(ALLOWED)


def test_no_file_and_no_package_imports_itself_by_way_of_others() -> None:
    graph = module_graph(MODULES)
    assert not circles(graph)
    assert not circles(package_graph(graph))


def test_a_planted_import_upwards_is_found_in_a_function_too(tmp_path: Path) -> None:
    files = planted(
        tmp_path,
        bench__core__text="def show():\n    from bench.engine import plan\n    return plan\n",
        bench__engine__plan="import bench.core.text\n",
    )
    assert forbidden(package_graph(module_graph(files)), ALLOWED) == ["bench.core -> bench.engine"]


def test_a_planted_package_that_no_row_names_may_import_nothing(tmp_path: Path) -> None:
    files = planted(tmp_path, bench__extra__new="from bench.core import text\n", bench__core__text="")
    assert forbidden(package_graph(module_graph(files)), ALLOWED) == ["bench.extra -> bench.core"]


def test_a_planted_circle_is_found_over_three_files(tmp_path: Path) -> None:
    files = planted(
        tmp_path,
        bench__core__a="from bench.core.b import x\n",
        bench__core__b="def f():\n    import bench.core.c\n",
        bench__core__c="from bench.core import a\n",
        bench__core__d="from bench.core import a\n",
    )
    assert circles(module_graph(files)) == [["bench.core.a", "bench.core.b", "bench.core.c"]]


def test_nothing_stands_loose_in_bench() -> None:
    assert sorted(path.name for path in (ROOT / "bench").glob("*.py")) == ["__init__.py"]


def test_methods_and_evaluators_import_none_of_their_own_kind_by_name() -> None:
    for folder in ("methods", "evaluators"):
        for path in (ROOT / folder).glob("*.py"):
            others = {f"{folder}.{p.stem}" for p in (ROOT / folder).glob("*.py")} - {f"{folder}.base"}
            assert not [m for m in imports(path) for other in others if is_in(m, other)]


def test_nothing_imports_the_script() -> None:
    assert not [path.name for path in EVERY for m in imports(path) if is_in(m, "run_bench")]


def imports(path: Path) -> set[str]:
    """Return what a file imports, at its top or within a function."""
    return set(imported(ast.parse(path.read_text(encoding="utf-8"))))


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_the_public_surface_is_what_bench_names() -> None:
    assert sorted(bench.__all__) == sorted(set(bench.__all__))
    assert set(bench.__all__) <= set(dir(bench))
    for name in bench.__all__:
        assert (getattr(bench, name).__doc__ or "").strip(), name


@pytest.mark.parametrize(
    "command", ["import bench", "import bench, bench.cli", "import bench.engine.runner, bench.report.terminal"]
)
def test_what_starts_without_torch_stays_so(command: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"{command}\nimport sys\nassert 'torch' not in sys.modules"], cwd=ROOT, check=True
    )


def test_names_say_what_they_hold_and_docstrings_what_a_thing_does() -> None:
    """At most 1 % of names say nothing, at most 2 % of docstrings open with What, Whether, ...; rates say "per"."""
    measured = measure(MODULES)
    assert len(measured.empty_names) <= 0.01 * measured.names, measured.empty_names
    assert len(measured.openings) <= 0.02 * measured.docstrings, measured.openings
    assert not measured.rates


def test_functions_and_files_are_short_and_types_are_known() -> None:
    measured = measure(MODULES)
    assert not measured.long_functions
    assert not measured.long_files
    assert len(measured.any_types) < 150


def test_planted_language_is_found(tmp_path: Path) -> None:
    text = (
        '"""Whether it works."""\n\n\ndef f(kept: Any, value: int) -> None:\n    """Return one row a cell."""\n'
        "    found, self.asked = kept, value\n    total = [part for part in kept]  # one score a sample\n"
    )
    measured = measure(planted(tmp_path, bench__core__text=text), tmp_path)
    where = "bench/core/text.py"
    assert measured.names == 5
    assert measured.empty_names == (f"{where}:4 kept", f"{where}:6 found", f"{where}:6 asked")
    assert measured.docstrings == 2
    assert measured.openings == (f"{where}:1 Whether it works.",)
    assert measured.rates == (f"{where}:4 one row a cell", f"{where}:7 one score a sample")
    assert measured.any_types == (f"{where}:4 Any",)


def test_a_planted_long_function_and_a_long_file_are_found(tmp_path: Path) -> None:
    body = "    pass\n" * 60
    files = planted(tmp_path, bench__core__text=f"def f():\n{body}", bench__core__more="x = 1\n" * 401)
    measured = measure(files, tmp_path)
    assert measured.long_functions == ("bench/core/text.py:1 f",)
    assert measured.long_files == ("bench/core/more.py 401 lines",)


def test_no_file_is_a_drawer() -> None:
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")]


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


def test_every_folder_of_sources_is_a_package() -> None:
    """Packages are discovered by their `__init__.py`; the wheel's own test installs and runs what is found."""
    packages = {path.parent for path in SOURCES if path.name == "__init__.py"}
    assert {path.parent for path in SOURCES} == packages


def test_a_method_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("elsewhere_methods")
    monkeypatch.setitem(sys.modules, "elsewhere_methods", module)
    source = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Method:\n    traits = None\n"
    exec(f"{source}    def build(self, task, seed): ...\n", module.__dict__)
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
