"""The cost model: its arithmetic by hand, and what it says of a run held against the run."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.engine.options import Options
from bench.estimate import costs, forecast
from bench.estimate.costs import Expected, Measured, Pace
from bench.estimate.forecast import Forecast, forecast_run
from bench.estimate.show import show_forecast
from methods.universal_guidance import Method as UniversalGuidance
from tests.support.runs import Call, caller
from tests.support.small import save_tiny_unet, small_suite


def row(
    method: str, task: str = "a uniform", source: str = "here", title: str = "", seconds: float = 0.2, fit: float = 0.0
) -> Measured:
    return Measured(source, method, title or method, task, calls=20.0, seconds=seconds, fit_seconds=fit)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def test_calls_are_images_times_steps_times_what_a_method_declares() -> None:
    # 200 images x 20 steps x 2 takes x 1 call; backward at the 19 steps that see something of the image
    assert costs.expected(200, 20, 19, 2, calls=1, backward=1) == Expected(8000, 7600)
    assert costs.expected(10, 50, 50, 1, calls=2, backward=0) == Expected(1000, 0)


def test_seconds_are_calls_times_those_measured_of_the_method_or_of_the_network() -> None:
    rows = [row("x", seconds=0.2), row("x", seconds=0.4)]  # 0.01 and 0.02 s a call
    assert costs.seconds(Expected(1000, 900), rows, None) == pytest.approx(1000 * 0.015)
    pace = Pace(forward=0.01, backward=0.02, source="now")
    assert costs.seconds(Expected(1000, 900), [], pace) == pytest.approx(1000 * 0.01 + 900 * 0.02)
    with pytest.raises(ValueError, match="rows or a pace"):
        costs.seconds(Expected(1, 0), [], None)


def test_the_nearest_measurement_is_of_the_same_run_title_and_task() -> None:
    rows = [
        row("y", source="first"),
        row("x", "a uniform", "second", title="x"),
        row("x", "b uniform", "second", title="x"),
        row("x", "b uniform", "second", title="strong x"),
        row("x", "b uniform", "third", title="x"),
    ]
    assert costs.nearest(rows, "x", "x", "b uniform") == [rows[2]]
    assert costs.nearest(rows, "x", "strong x", "a uniform") == [rows[3]]
    assert costs.nearest(rows, "x", "weak x", "c uniform") == rows[1:4]  # never of two runs, which differ in their load
    assert costs.nearest(rows, "z", "z", "a uniform") == []


def test_a_run_elsewhere_tells_what_a_method_costs_beside_vanilla() -> None:
    run = [row("vanilla", seconds=0.2), row("x", seconds=0.5, fit=30.0), row("vanilla", source="another", seconds=9.0)]
    # vanilla's call took 0.01 s there and takes 0.02 here: everything takes twice as long
    (here,) = costs.rescaled([run[1]], run, Pace(0.02, 0.05, "now"))
    assert (here.seconds, here.fit_seconds, here.calls) == (1.0, 60.0, 20.0)
    assert costs.rescaled([run[1]], [run[1]], Pace(0.02, 0.05, "now")) == [run[1]]


def test_a_fit_that_cells_share_counts_once() -> None:
    one, other = row("x", fit=30.0), row("y", fit=12.5)
    assert costs.fit_seconds([[one], [one], [other, one], []]) == 42.5


def test_bytes_are_those_of_the_files() -> None:
    # 100 rows x (3 x 32 x 32 + 8) bytes, a header for either array, a manifest
    assert costs.entry_bytes({"images": 3072, "assigned_class": 8}, 100) == 100 * 3080 + 2 * 128 + 400


def test_hours_are_spread_over_workers_but_no_shorter_than_the_longest_job() -> None:
    assert costs.wall_hours(7200, longest=100, workers=2) == 1
    assert costs.wall_hours(7200, longest=7200, workers=8) == 2


METHODS = [{"name": "vanilla"}, {"name": "universal_guidance"}]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def suite_of(folder: Path, **changes: Any) -> str:
    return str(small_suite(folder, methods=METHODS, labelled=None, **changes))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Forecast, Path]:
    """A suite's folder, what was foreseen of its run, and the output of that run."""
    folder = tmp_path_factory.mktemp("small")
    suite, options = read_suite(suite_of(folder)), Options(folder / "out", workers=1)
    forecast = forecast_run(suite, options)
    assert not (folder / "out").exists(), "nothing is written, not even the folder"
    assert not run(suite, options).problems
    return folder, forecast, folder / "out"


def test_calls_foreseen_are_the_calls_made(told: tuple[Path, Forecast, Path]) -> None:
    _, forecast, out = told
    with (out / "small" / "costs.csv").open(newline="") as f:
        made = {(r["task"], r["method"]): r for r in csv.DictReader(f)}
    assert len(forecast.rows) == len(made) == 4
    for r in forecast.rows:
        actual = made[r.task, r.method]
        if r.shared:
            assert (r.method, r.left) == ("vanilla", 0)
            continue
        assert r.left == 25
        assert r.work.calls == 25 * float(actual["nfe_per_image"])
        assert r.work.backward == 25 * float(actual["backward_per_image"])
        assert r.source.startswith("timed now")
        assert r.seconds > 0
    repeats = UniversalGuidance().repeats
    assert sum(r.work.backward for r in forecast.rows) == 2 * 25 * 2 * repeats  # two of three steps see the image
    assert forecast.unmeasured == (), "neither of the two learns anything"


def test_the_classes_of_a_target_are_shown_in_label_order(told: tuple[Path, Forecast, Path]) -> None:
    _, forecast, _ = told
    console = Console(file=io.StringIO(), width=200)
    show_forecast("small", forecast, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if line.startswith("target of")] == [
        "target of eyeglasses uniform: absent 0.5, present 0.5",
        "target of skin_tone 20/30/50: light 0.2, medium 0.3, dark 0.5",
    ]


def test_bytes_foreseen_are_the_bytes_written(told: tuple[Path, Forecast, Path]) -> None:
    _, forecast, out = told
    written = sum(p.stat().st_size for kind in ("samples", "features") for p in files(out / "store" / kind))
    assert forecast.store_bytes == pytest.approx(written, rel=0.02)
    assert forecast.gib == forecast.store_bytes / 2**30


def test_of_a_finished_run_nothing_is_left(told: tuple[Path, Forecast, Path]) -> None:
    folder, _, out = told
    before = [(p, p.stat().st_mtime_ns) for p in files(out)]
    again = forecast_run(read_suite(str(folder / "small.yaml")), Options(out, workers=1))
    assert {r.stored for r in again.rows} == {25}
    assert (again.seconds, again.store_bytes, again.fit_seconds, again.unmeasured) == (0, 0, 0, ())
    assert [(p, p.stat().st_mtime_ns) for p in files(out)] == before


def test_a_finished_run_of_the_same_model_says_the_seconds_of_another_suite(told: tuple[Path, Forecast, Path]) -> None:
    folder, _, out = told
    suite = read_suite(suite_of(folder, suite="longer", n=50, sampler={"name": "ddim", "steps": 6}))
    with (out / "small" / "costs.csv").open(newline="") as f:
        seconds = {(r["task"], r["method"]): float(r["seconds_per_image"]) for r in csv.DictReader(f)}
    for r in forecast_run(suite, Options(out, workers=1)).rows:
        assert r.stored == 0
        if not r.shared:
            assert r.source == str(out / "small")
            assert r.seconds == pytest.approx(50 * 2 * seconds[r.task, r.method])  # twice the steps


def test_a_committed_run_is_taken_at_the_pace_of_this_machine(
    told: tuple[Path, Forecast, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, out = told
    suite = read_suite(suite_of(folder))
    committed = tmp_path / "leaderboards"
    shutil.copytree(out / "small", committed / "small")
    shutil.copytree(out / "small", committed / "other")
    (committed / "broken").mkdir()
    (committed / "broken" / "costs.csv").write_text("method\n")
    with (out / "small" / "costs.csv").open(newline="") as f:
        each = {(r["task"], r["method"]): float(r["seconds_per_image"]) for r in csv.DictReader(f)}
    vanilla = next(s for (_, method), s in each.items() if method == "vanilla") / 3  # a call
    monkeypatch.setattr(forecast, "ROOT", tmp_path)
    monkeypatch.setattr(forecast, "_pace", lambda *_: Pace(10 * vanilla, 0.0, "now"))
    for r in forecast_run(suite, Options(tmp_path / "out", workers=1)).rows:
        if not r.shared:
            assert r.source.startswith("leaderboards/small, at the pace of this machine")
            assert r.seconds == pytest.approx(25 * 10 * each[r.task, r.method])


def test_the_command_shows_it_and_runs_nothing(
    told: tuple[Path, Forecast, Path], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled"))
    suite = told[0] / "small.yaml"
    small_suite(told[0], methods=METHODS, labelled=None)
    code, shown, _ = call(
        "run", suite, "--out", tmp_path / "out", "--workers", 2, "--dry-run", "--only", "method=vanilla"
    )
    assert code == 0
    assert "to do: 25 images, 75 denoiser calls, 0 backward passes" in shown
    assert "cells: 2, finished 0, sharing another's samples 1" in shown
    assert "of sampling on 2 workers" in shown
    assert "GiB: " in shown
    assert not (tmp_path / "out").exists()


def test_cells_that_will_be_skipped_are_told_with_the_reason_and_count_for_nothing(call: Call, tmp_path: Path) -> None:
    """Without a label the model cannot be asked for a class, and without a middle block there is no bottleneck."""
    save_tiny_unet(tmp_path / "model", mid_block_type=None)
    names = ("vanilla", "attribute_switching", "class_gap_guidance")
    path = small_suite(tmp_path, methods=[{"name": n} for n in names], n=4, guidance_batch=2)
    told = forecast_run(read_suite(str(path)), Options(tmp_path / "out", workers=1))
    done = run(read_suite(str(path)), Options(tmp_path / "out", workers=1))
    skipped = {(f"{r.task}, {r.method}, seed {r.seed}", r.skipped) for r in told.rows if r.skipped}
    assert skipped == {(cell, reason) for status, cell, reason in done.problems if status == "skipped"}
    assert len(skipped) == 4
    assert {r.method for r in told.rows if r.left} == {"vanilla"}
    assert all((r.work, r.seconds, r.left) == (Expected(0, 0), 0.0, 0) for r in told.rows if r.skipped)
    written = sum(p.stat().st_size for p in files(tmp_path / "out" / "store" / "samples"))
    assert told.store_bytes >= written > 0.5 * told.store_bytes
    code, shown, _ = call("run", path, "--out", tmp_path / "new", "--workers", 1, "--dry-run")
    assert code == 0
    assert shown.count("skipped:") == 4
    assert "cells: 2, finished 0, sharing another's samples 1; skipped 4" in shown
    assert "memory: about " in shown
