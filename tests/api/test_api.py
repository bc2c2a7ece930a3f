"""The Python interface: each verb gives what the command line gives, and refuses with the same sentence."""

from __future__ import annotations

import csv
import doctest
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import bench
from bench import api
from bench.core.errors import BenchError, UnknownName
from bench.core.plugins import ROOT
from tests.support.runs import caller
from tests.support.small import small_suite

QUICK = ROOT / "leaderboards" / "quick"
DOCUMENTED = ("bench.api", "bench.api.finished", "bench.protocols", "bench.report.plots.figures", "bench.results.run")
EXAMPLES = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SECONDS = 0.3  # that `import bench` may take
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def tiny(folder: Path, **changes: Any) -> Path:
    """A suite file of one task and vanilla, which runs in a moment."""
    small = {"n": 4, "guidance_batch": 2, "sampler": {"steps": 1}, "tasks": [{"attributes": ["eyeglasses"]}]}
    return small_suite(folder, **{**small, "methods": [{"name": "vanilla"}], "labelled": None, **changes})


@pytest.mark.parametrize("module", DOCUMENTED)
def test_the_examples_of_the_docstrings_run(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(importlib.import_module(module), extraglobs={"bench": bench}, optionflags=EXAMPLES)
    assert result.failed == 0
    assert result.attempted or module == "bench.results.run"


def test_the_page_of_the_interface_is_up_to_date() -> None:
    from docs.make_api import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m docs.make_api`"


def test_every_public_name_is_documented() -> None:
    for name in bench.__all__:
        assert getattr(bench, name).__doc__, name


def test_importing_bench_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import bench; took = time.perf_counter() - start; "
        "assert not {'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules); bench.load_suite('quick'); "
        "bench.open_run('leaderboards/quick'); assert 'torch' not in sys.modules; print(took)"
    )
    took = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(took) < SECONDS


def test_a_name_that_is_not_public_says_which_are() -> None:
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'compete'; it has BenchError, check"):
        bench.compete  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (("run", "quik"), lambda: bench.run("quik")),
        (("run", "quick", "--workers", "0"), lambda: bench.run("quick", workers=0)),
        (("run", "quick", "--compute-batch", "0"), lambda: bench.run("quick", compute_batch=0)),
        (("run", "quick", "--job-timeout", "-1"), lambda: bench.run("quick", job_seconds=-1)),
        (("run", "quick", "--ranks", "2", "--workers", "1"), lambda: bench.run("quick", processes=2, workers=1)),
        (("run", "quick", "--executor", "slurm"), lambda: bench.run("quick", executor="slurm")),
        (("run", "quick", "--gpus", "1"), lambda: bench.run("quick", gpus=1)),
        (("run", "quick", "--executor", "ray", "--cpus", "-1"), lambda: bench.run("quick", executor="ray", cpus=-1)),
        (("run", "quick", "--out", "s3://bucket/x"), lambda: bench.run("quick", out="s3://bucket/x")),
        (("run", "quick", "--device", "cuda:99"), lambda: bench.run("quick", device="cuda:99")),
        (("run", "quick", "--only", "method=vanila"), lambda: bench.run("quick", only={"method": "vanila"})),
        (("run", "quick", "--only", "methods=a"), lambda: bench.run("quick", only={"methods": "a"})),
        (("run", "gate", "--dry-run", "--workers", "0"), lambda: bench.plan("gate", workers=0)),
        (("compare", "vanilla", "vanila"), lambda: _quick("vanilla", "vanila")),
        (("compare", "vanilla", "vanilla"), lambda: _quick("vanilla", "vanilla")),
        (("compare", "vanilla", "tiw_dsm", "--task", "glasses"), lambda: _quick("vanilla", "tiw_dsm", task="glasses")),
        (("compare", "vanilla", "tiw_dsm", "--metric", "fid"), lambda: _quick("vanilla", "tiw_dsm", metric=["fid"])),
        (("check", "leaderboards/no", "--baseline", "x"), lambda: bench.check("leaderboards/no", "x")),
        (("table", "balancing", "leaderboards/quick"), lambda: bench.paper_table("leaderboards/quick", "balancing")),
        (("table", "costs", "--format", "pdf"), lambda: bench.paper_table(QUICK, "costs").to("pdf")),
        (("report", "leaderboards/quick", "--out", "x.pdf"), lambda: bench.write_page("leaderboards/quick", "x.pdf")),
        (("plot", "leaderboards/quick", "--only", "par"), lambda: bench.write_plots("leaderboards/quick", "x", "par")),
        (("verify", "leaderboards/quick", "--resample", "-1"), lambda: bench.verify("leaderboards/quick", resample=-1)),
        (("sweep", "vanilla"), lambda: bench.sweep("vanilla", {})),
        (("sweep", "vanila", "--set", "a=1,2"), lambda: bench.sweep("vanila", {"a": [1, 2]})),
        (("sweep", "vanilla", "--set", "a=1,1"), lambda: bench.sweep("vanilla", {"a": [1, 1]})),
        (("profile", "quick", "--rounds", "0"), lambda: bench.profile("quick", rounds=0)),
        (("profile", "quick", "--batch", "1,1"), lambda: bench.profile("quick", batches=(1, 1))),
        (("train", "avatars-une"), lambda: bench.train("avatars-une")),
        (("prepare", "quick", "--mirror", "nowhere"), lambda: bench.prepare("quick", mirror="nowhere")),
    ],
)
def test_python_refuses_what_the_command_line_refuses_with_the_same_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], verb: Callable[[], object]
) -> None:
    monkeypatch.chdir(ROOT)
    code, _, said = call(*arguments)
    with pytest.raises(BenchError) as refusal:
        verb()
    assert code == 2
    assert said == f"error: {' '.join(line.strip() for line in str(refusal.value).splitlines())}\n"


def _quick(a: str, b: str, **options: Any) -> object:
    return bench.compare("leaderboards/quick", a, b, **options)


def test_a_suite_is_a_name_a_path_or_its_keys(tmp_path: Path) -> None:
    file = tiny(tmp_path)
    keys = yaml.safe_load(file.read_text())
    assert bench.load_suite(keys) == bench.load_suite(file) == bench.load_suite(str(file))
    assert bench.load_suite(bench.load_suite("quick")) == bench.load_suite("quick")
    with pytest.raises(UnknownName, match="did you mean 'quick'"):
        bench.load_suite("quik")
    with pytest.raises(BenchError, match=r"the suite: unknown key 'sed'; did you mean 'seeds'\?"):
        bench.load_suite(keys | {"sed": [1]})


def test_a_run_is_the_run_of_the_command_line(call: Call, tmp_path: Path) -> None:
    file = tiny(tmp_path)
    keys = yaml.safe_load(file.read_text())
    forecast = bench.plan(keys, out=tmp_path / "a", workers=1).forecast()
    assert [row.left for row in forecast.rows] == [4]
    run = bench.run(keys, out=tmp_path / "a", workers=1, only={"seed": 0})
    code, *_ = call("run", file, "--out", tmp_path / "b", "--workers", "1", "--only", "seed=0")
    assert code == 0
    assert run.file == tmp_path / "a" / "small" / "results.csv"
    for name in ("results.csv", "leaderboard.csv"):
        assert (run.file.parent / name).read_bytes() == (tmp_path / "b" / "small" / name).read_bytes()
    assert bench.run(keys, out=tmp_path / "a", workers=1, only={"seed": [0]}).methods == ["vanilla"]
    assert [row.stored for row in bench.plan(keys, out=tmp_path / "a", workers=1).forecast().rows] == [4]
    assert bench.verify(run, suite=str(file)).passed


def test_a_comparison_is_that_of_the_command_line(call: Call, tmp_path: Path) -> None:
    code, *_ = call("compare", f"{QUICK}:vanilla", f"{QUICK}:tiw_dsm", "--out", tmp_path / "ab.csv")
    assert code == 0
    frame = bench.compare(QUICK, "vanilla", "tiw_dsm").to_frame()
    with (tmp_path / "ab.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == list(frame.columns)
    assert [row["verdict"] for row in rows] == frame["verdict"].tolist()
    values = pd.to_numeric(pd.Series([row["difference"] for row in rows]))
    assert values.tolist() == pytest.approx(frame["difference"].astype(float).tolist(), nan_ok=True, abs=0)
    one = bench.compare(bench.open_run(QUICK), "vanilla", "tiw_dsm", task="eyeglasses", metric="fd_l2_hard").to_frame()
    assert set(one["metric"]) == {"fd_l2_hard"}


def test_a_check_is_that_of_the_command_line(call: Call) -> None:
    gate = ROOT / "leaderboards" / "gate" / "results.csv"
    outcome = bench.check(QUICK, baseline=QUICK)
    assert outcome.passed
    assert set(outcome.to_frame()["verdict"]) == {"same"}
    assert len(outcome.to_frame()) == len(outcome.items)
    code, out, _ = call("check", QUICK, "--baseline", QUICK / "results.csv")
    assert (code, out) == (0, f"passed: {len(outcome.items)} same\n")
    assert not bench.check(QUICK, baseline=gate).passed
    assert call("check", QUICK, "--baseline", gate)[0] == 1


def test_tables_and_pages_are_those_of_the_command_line(call: Call, tmp_path: Path) -> None:
    run = bench.open_run(QUICK)
    table = bench.paper_table(run, "balancing_act")
    for name in ("latex", "markdown", "html", "csv"):
        code, out, _ = call("table", "balancing_act", QUICK, "--format", name)
        assert (code, out) == (0, getattr(table, f"to_{name}")())
    assert table._repr_html_() == table.to_html()
    assert call("report", QUICK, "--out", tmp_path / "a.html")[0] == 0
    assert bench.write_page(run, tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_plots_are_those_of_the_command_line(call: Call, tmp_path: Path) -> None:
    run = bench.open_run(QUICK)
    figures = bench.plots.pareto(run)
    files = figures.save(tmp_path / "a")
    assert call("plot", QUICK, "--only", "pareto", "--out", tmp_path / "b")[0] == 0
    assert sorted(f.name for f in files) == sorted(f.name for f in (tmp_path / "b").iterdir())
    assert all(f.read_bytes() == (tmp_path / "b" / f.name).read_bytes() for f in files)
    assert figures._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(BenchError, match=r"cannot draw prompts of .*results\.csv: "):
        bench.plots.prompts(run)


def test_every_plot_has_a_function() -> None:
    from bench.report.plots.gallery import list_plots

    assert {"Figures", *list_plots()} == set(bench.plots.__all__)


def test_the_options_of_a_run_are_those_of_the_command_line() -> None:
    from bench.cli.run import run
    from bench.engine.run_options import RunOptions

    names = {"memory": "memory_gib", "ranks": "processes", "job_timeout": "job_seconds"}
    options = set(run.__annotations__) - {"return", "suite", "dry_run"}
    assert {names.get(name, name) for name in options} == set(RunOptions.__annotations__)
    with pytest.raises(UnknownName, match="unknown option of a run 'worker'; did you mean 'workers'"):
        bench.run("quick", worker=2)  # type: ignore[call-arg]
    assert str(api.OUT) == "leaderboards"
