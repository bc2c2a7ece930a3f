"""A real package with a method, a metric, a classifier and a model, installed by pip, taken through every command."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.plugins import ROOT
from tests.support.small import save_tiny_unet, small_suite

SOURCE = ROOT / "tests" / "support" / "package"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package into, without a network."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "site"))
    shutil.copytree(SOURCE, source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    save_tiny_unet(source / "toy_plugin" / "model")
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, source], check=True)
    return target


@pytest.fixture(scope="module")
def work(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite that names all of the package."""
    folder = tmp_path_factory.mktemp("work")
    changes = {
        "suite": "toy",
        "model": f"path:{site / 'toy_plugin' / 'model'}",
        "n": 20,
        "tasks": [{"attributes": ["eyeglasses"]}],
        "methods": [{"name": "vanilla"}, {"name": "mirrored"}],
        "classifier": "brightness",
        "labelled": None,
        "features": ["colours"],
        "references": {"avatars-balanced": 50},
        "metrics": ["fairness_discrepancy", "largest_share", "frechet"],
    }
    (folder / "model").mkdir()  # not saved again: the package has one
    small_suite(folder, **changes)
    return folder


@pytest.fixture(scope="module")
def command(site: Path, work: Path) -> Command:
    """Run a command of the bench in `work`, with the package on Python's path; it must not show a traceback."""

    def call(*arguments: str, code: int = 0, path: Path = site) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, "-c", "from bench.cli import main; main()", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]), "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(script, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in ended.stdout + ended.stderr
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    return call


@pytest.fixture(scope="module")
def run(command: Command, work: Path) -> Path:
    """The folder of a finished run of the suite."""
    command("run", "small.yaml", "--out", "out", "--workers", "1")
    return work / "out" / "toy"


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_scores_with_the_package_and_records_it(run: Path) -> None:
    scores = rows(run)
    assert {row["method"] for row in scores} == {"vanilla", "mirrored"}
    assert {row["status"] for row in scores if row["metric"] == "largest_share"} == {"ok"}
    assert {row["classifier"] for row in scores} == {"brightness"}
    named = ("method mirrored", "metric largest_share", "extractor brightness", "extractor colours")
    assert {row["plugins"] for row in scores} == {"; ".join(f"{name}: toy-plugin 0.3" for name in named)}
    plugins = json.loads((run / "run.json").read_text())["plugins"]
    assert set(plugins) == set(named)
    assert (plugins["method mirrored"]["package"], plugins["method mirrored"]["version"]) == ("toy-plugin", "0.3")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("compare out/toy:vanilla out/toy:mirrored", "mirrored"),
        ("compare out/toy:vanilla out/toy:mirrored --metric largest_share", "largest_share"),
        ("check out/toy --baseline out/toy/results.csv", "passed"),
        ("table balancing_act out/toy", "mirrored"),
        ("plot out/toy --only pareto --out figures", "figures"),
        ("report out/toy --out toy.html", "toy.html"),
        ("verify out/toy", ""),
    ],
)
def test_commands_on_a_run_of_the_package(command: Command, run: Path, arguments: str, word: str) -> None:
    assert word in command(*arguments.split()).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        f"compare {ROOT / 'leaderboards/quick'}:vanilla {ROOT / 'leaderboards/quick'}:distribution_guidance",
        f"table balancing_act {ROOT / 'leaderboards/quick'}",
        f"report {ROOT / 'leaderboards/quick'} --out quick.html",
    ],
)
def test_commands_on_a_board_that_knows_no_package(command: Command, arguments: str) -> None:
    command(*arguments.split())


def test_lists_and_doctor_show_the_package_and_what_is_broken(command: Command) -> None:
    methods, evaluators, doctor = (command(*c.split()).stdout for c in ("list methods", "list evaluators", "doctor"))
    reason = "No module named 'no_such_library'"
    assert "mirrored" in methods
    assert reason in " ".join(methods.replace("│", " ").split())
    assert "largest_share" in evaluators
    assert "brightness" in evaluators
    assert "extractor brightness" in doctor
    assert "method unimportable" in doctor


@pytest.mark.parametrize("name", ["mirrored", "largest_share", "brightness", "colours", "model"])
def test_check_plugin_passes_all_of_the_package(command: Command, site: Path, name: str) -> None:
    printed = command("check-plugin", f"path:{site / 'toy_plugin' / 'model'}" if name == "model" else name).stdout
    assert printed.splitlines()[0].startswith({"mirrored": "method", "largest_share": "evaluator"}.get(name, ""))
    assert (name == "model") != ("of package toy-plugin 0.3" in printed)
    assert printed.strip().endswith(" 0 failed")


def test_check_plugin_fails_what_is_broken_and_refuses_what_is_unknown(command: Command) -> None:
    broken = command("check-plugin", "unimportable", code=1).stdout
    assert "failed   loads: method 'unimportable' of package toy-plugin 0.3 cannot be imported" in broken
    unknown = command("check-plugin", "mirored", code=2)
    assert unknown.stderr.startswith("error: unknown plug-in 'mirored'; did you mean 'mirrored'?")
    assert command("run", "small.yaml", "--only", "method=mirored", code=2).stderr


def test_a_changed_helper_module_samples_anew(command: Command, run: Path, site: Path) -> None:
    before, helper = rows(run), site / "toy_plugin" / "arithmetic.py"
    source = helper.read_text()
    try:
        helper.write_text(source.replace("WEIGHT = 0.5", "WEIGHT = 0.9"))
        command("run", "small.yaml", "--out", "out", "--workers", "1")
        after = rows(run)
    finally:
        helper.write_text(source)
    keys = [{row["method"]: row["sample_key"] for row in table} for table in (before, after)]
    assert keys[0]["vanilla"] == keys[1]["vanilla"]
    assert keys[0]["mirrored"] != keys[1]["mirrored"]
    verified = command("verify", "out/toy").stdout  # of the numbers that the changed source gave
    assert "method mirrored is of package toy-plugin 0.3, which may have changed" in " ".join(verified.split())


def test_a_folder_of_the_users_called_methods_is_named_in_one_sentence(command: Command, tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").write_text("")
    said = command("list", "methods", code=2, path=tmp_path).stderr
    assert f"got {tmp_path / 'methods'}; rename that folder, or take" in " ".join(said.split())
    (tmp_path / "methods" / "__init__.py").unlink()  # a folder that is no package is not in the way
    assert "distribution_guidance" in command("list", "methods", path=tmp_path).stdout
