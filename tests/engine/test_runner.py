"""The runner and the store: the same tables however the run went, and nothing sampled twice."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.engine import runner, worker
from bench.engine.cell_job import CellJob
from bench.engine.options import Options
from bench.engine.resources import Resources
from bench.report.markdown import leaderboard_markdown
from bench.report.terminal import show_leaderboard
from bench.storage.files import _spread, read_arrays, remember
from bench.storage.store import Rows, Store
from tests.support.small import small_suite

TABLES = ("results.csv", "leaderboard.csv")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite file, and the output folder of its undisturbed run on one worker."""
    folder = tmp_path_factory.mktemp("small")
    suite = small_suite(folder)
    outcome = run(read_suite(str(suite)), Options(folder / "out", workers=1))
    assert not outcome.problems
    return suite, folder / "out"


def tables(out: Path) -> list[bytes]:
    return [(out / "small" / name).read_bytes() for name in TABLES]


def rows(out: Path, name: str = "results.csv") -> list[dict[str, str]]:
    with (out / "small" / name).open(newline="") as f:
        return list(csv.DictReader(f))


def shards(out: Path) -> list[Path]:
    return sorted(p.parent for p in (out / "store" / "samples").rglob("manifest.json"))


def test_one_row_a_cell_and_score_with_provenance(finished: tuple[Path, Path]) -> None:
    found = rows(finished[1])
    ranking_metric = [r for r in found if r["metric"] == "fd_l2_hard"]
    assert [(r["attributes"], r["method"]) for r in ranking_metric] == [
        (task, method)
        for task in ("eyeglasses", "skin_tone")
        for method in ("vanilla", "sample_guidance", "distribution_guidance")
    ]
    for r in ranking_metric:
        assert r["status"] == "ok"
        assert 0 <= float(r["ci_low"]) <= float(r["value"]) <= float(r["ci_high"])
        assert r["n"] == "25"
        assert r["nfe_per_image"] == "3.0"
        assert r["backward_per_image"] == "0.0"
        assert len(r["sample_key"]) == len(r["model_sha256"]) == 64


def test_the_tables_merge_by_task_method_and_seed(finished: tuple[Path, Path]) -> None:
    results, leaderboard, costs = (
        pd.read_csv(finished[1] / "small" / f"{name}.csv") for name in ("results", "leaderboard", "costs")
    )
    assert set(results["task"]) == {"eyeglasses uniform", "skin_tone 20/30/50"}
    ranked = results[(results["metric"] == "fd_l2_hard") & (results["scope"] == results["attributes"])]
    merged = ranked.merge(leaderboard, on=["task", "method"], validate="one_to_one")
    assert len(merged) == len(ranked) == len(leaderboard)
    assert np.array_equal(merged["value"], merged["fd_l2_hard"])
    both = results.merge(costs, on=["task", "method", "seed"], validate="many_to_one", suffixes=("", "_of_costs"))
    assert len(both) == len(results)
    assert np.array_equal(both["nfe_per_image"], both["nfe_per_image_of_costs"])


def test_discrepancy_in_the_table_is_that_of_the_classified_images(finished: tuple[Path, Path]) -> None:
    from evaluators.attribute_cnn import Extractor

    row = next(
        r
        for r in rows(finished[1])
        if (r["metric"], r["attributes"], r["method"]) == ("fd_l2_hard", "skin_tone", "distribution_guidance")
    )
    folder = finished[1] / "store" / "samples" / row["sample_key"][:2] / row["sample_key"]
    images = np.concatenate([np.load(p / "images.npy") for p in sorted(folder.iterdir())])
    labels = Extractor().extract(torch.from_numpy(images))["skin_tone"].argmax(1)
    share = np.bincount(labels, minlength=3) / 25
    assert float(row["value"]) == pytest.approx(np.linalg.norm(share - [0.2, 0.3, 0.5]), abs=1e-12)


def test_vanilla_shares_its_samples_among_tasks(finished: tuple[Path, Path]) -> None:
    keys = {(r["method"], r["attributes"]): r["sample_key"] for r in rows(finished[1])}
    assert keys["vanilla", "eyeglasses"] == keys["vanilla", "skin_tone"]
    assert keys["distribution_guidance", "eyeglasses"] != keys["distribution_guidance", "skin_tone"]


def test_guiding_with_the_classifier_is_said_in_every_table(tmp_path: Path) -> None:
    fields = {"classifier": "attribute_cnn"}
    methods = [{"name": "vanilla"}, {"name": "universal_guidance", "with": fields}]
    tasks = [{"attributes": ["eyeglasses"]}]
    suite = small_suite(tmp_path, n=4, guidance_batch=4, methods=methods, tasks=tasks, classifier_may_guide=True)
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    for name in TABLES:
        flags = {(r["method"], r["guided_by_classifier"]) for r in rows(tmp_path / "out", name)}
        assert flags == {("vanilla", "False"), ("universal_guidance", "True")}
    shown = io.StringIO()
    show_leaderboard(tmp_path / "out" / "small", Console(file=shown, width=200))
    for text in (shown.getvalue(), leaderboard_markdown(tmp_path / "out" / "small")):
        assert "universal_guidance (guided by its classifier)" in text
        assert "vanilla (guided" not in text


def test_assigned_classes_reach_the_metrics_and_curves_become_pictures(tmp_path: Path) -> None:
    methods = [{"name": "vanilla"}, {"name": "attribute_switching", "with": {"minibatch": 2, "minibatches": 2}}]
    tasks = [{"attributes": ["eyeglasses"]}]
    suite = small_suite(
        tmp_path, n=60, guidance_batch=30, model="avatars-unet", sampler={"steps": 2}, methods=methods, tasks=tasks,
        features=["efficientnet_lite0"], metrics=["fairness_discrepancy", "epsilon_fairness"],
    )  # fmt: skip
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    found = {r["method"]: r for r in rows(tmp_path / "out") if r["metric"] == "epsilon_efficientnet_lite0"}
    assert (found["vanilla"]["status"], found["vanilla"]["reason"]) == ("undefined", "no class was asked for")
    assert found["attribute_switching"]["status"] == "ok"
    curves = list((tmp_path / "out" / "small" / "curves").iterdir())
    assert [p.name for p in curves] == ["eyeglasses-uniform-attribute-switching-seed0.png"]
    with Image.open(curves[0]) as picture:
        assert picture.size[0] > 400


def test_a_rerun_does_nothing(finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out = finished
    before = tables(out)
    monkeypatch.setattr("bench.engine.runner.execute", lambda *_: pytest.fail("a finished suite was run again"))
    assert not run(read_suite(str(suite)), Options(out, workers=1)).problems
    assert tables(out) == before


def test_two_workers_give_the_bytes_of_one(finished: tuple[Path, Path], tmp_path: Path) -> None:
    run(read_suite(str(finished[0])), Options(tmp_path, workers=2))
    assert tables(tmp_path) == tables(finished[1])
    for ours, theirs in zip(shards(tmp_path), shards(finished[1]), strict=True):
        assert (ours / "images.npy").read_bytes() == (theirs / "images.npy").read_bytes()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_shard_is_noticed_and_made_again(
    finished: tuple[Path, Path], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, out = finished
    before, victim = tables(out), shards(out)[2] / "images.npy"
    whole = victim.read_bytes()
    if damage == "flip":
        victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "truncate":
        victim.write_bytes(whole[:100])
    else:
        victim.unlink()
    run(read_suite(str(suite)), Options(out, workers=1))
    assert "damaged, made again" in capsys.readouterr().err
    assert victim.read_bytes() == whole
    assert tables(out) == before


def test_a_table_edited_by_hand_is_written_again(finished: tuple[Path, Path]) -> None:
    suite, out = finished
    before = tables(out)
    (out / "small" / "results.csv").write_text("nonsense")
    run(read_suite(str(suite)), Options(out, workers=1))
    assert tables(out) == before


def test_more_samples_keep_those_that_are_there(finished: tuple[Path, Path], tmp_path: Path) -> None:
    suite, out = finished
    times = {p: p.stat().st_mtime_ns for p in shards(out)}
    longer = small_suite(suite.parent, n=30)
    run(read_suite(str(longer)), Options(out, workers=1, only={"method": {"vanilla"}}))
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert len(shards(out)) == len(times) + 1  # the third batch, now of 10
    small_suite(suite.parent)


def test_changing_a_metric_samples_nothing_again(finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out = finished
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled again"))
    monkeypatch.setattr(
        "bench.engine.job_graph.scores_key", lambda job, *_: f"changed {job.cell.task} {job.sample_key}"
    )
    (out / "small" / "finished.json").unlink()
    run(read_suite(str(suite)), Options(out, workers=1))
    assert len(rows(out, "leaderboard.csv")) == 6


def test_nan_in_the_denoiser_fails_its_cells_and_spares_the_others(tmp_path: Path) -> None:
    """A weight that is NaN makes every sample NaN: all cells fail, each with its reason, and the run ends."""
    suite = small_suite(tmp_path)
    weights = tmp_path / "model" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    state["conv_out.bias"][0] = torch.nan
    save_file(state, weights, metadata={"format": "pt"})
    outcome = run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert outcome.failed
    assert len(outcome.problems) == 6
    assert all("NaN or infinity at timestep 999" in reason for _, _, reason in outcome.problems)
    assert {r["status"] for r in rows(tmp_path / "out")} == {"failed"}
    assert not (tmp_path / "out" / "small" / "finished.json").exists()


def test_a_method_whose_needs_are_not_met_is_skipped_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    suite, resources = read_suite(str(small_suite(tmp_path))), Resources()
    monkeypatch.setattr(resources.model(suite.model.spec, "cpu").model, "bottleneck_shape", None)
    outcome = runner.run(suite, Options(tmp_path / "out", workers=1), resources=resources)
    assert not outcome.failed
    assert {status for status, _, _ in outcome.problems} == {"skipped"}
    assert len(outcome.problems) == 4
    good = [r for r in rows(tmp_path / "out") if r["metric"] == "fd_l2_hard"]
    assert [r["method"] for r in good] == ["vanilla", "vanilla"]


def test_kills_at_random_moments_leave_the_same_tables(finished: tuple[Path, Path], tmp_path: Path) -> None:
    suite, out = finished
    command = [sys.executable, "run_bench.py", "run", str(suite), "--out", str(tmp_path), "--workers", "2"]
    rng = random.Random(0)
    for _ in range(3):
        child = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(3, 10))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert tables(tmp_path) == tables(out)


def test_rows_read_several_arrays_as_one() -> None:
    parts = [np.arange(3), np.arange(3, 4), np.arange(4, 9)]
    rows_ = Rows([p[:, None] for p in parts])
    whole = np.arange(9)[:, None]
    assert rows_.shape == (9, 1)
    for piece in (slice(None), slice(2, 5), slice(3, 4), slice(8, 20), slice(5, 5), slice(0, 9, 2)):
        assert np.array_equal(rows_[piece], whole[piece])


def test_scores_that_were_tampered_with_are_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_scores("abc", [{"value": 0.5}])
    assert store.read_scores("abc") == [{"value": 0.5}]
    path = tmp_path / "scores" / "ab" / "abc.json"
    path.write_text(path.read_text().replace("0.5", "0.1"))
    assert store.read_scores("abc") is None


def test_records_of_cells_are_spread_over_folders_and_old_ones_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    new = store.record("ab" + "0" * 62)
    assert new == tmp_path / "fits" / "records" / "ab" / ("record-ab" + "0" * 22)
    old = tmp_path / "fits" / ("record-cd" + "0" * 22)
    store.write(old, {}, {"seconds": 1.0})
    assert store.record("cd" + "0" * 62) == old
    store.write(new, {}, {"seconds": 2.0})
    assert store.record("ab" + "0" * 62) == new


MANY = [5_000, pytest.param(1_000_000, marks=pytest.mark.soak)]


def entries(paths: Iterable[Path], root: Path) -> Counter[str]:
    """How many names are in each folder from `root` on, once all paths are there."""
    found, seen = Counter(), set()
    for path in paths:
        name = str(path)
        while name != str(root) and name not in seen:
            seen.add(name)
            name = name.rpartition("/")[0]
            found[name] += 1
    return found


@pytest.mark.parametrize("count", MANY)
def test_no_folder_has_more_than_some_thousand_entries(count: int, tmp_path: Path) -> None:
    store = Store(tmp_path)
    shards_ = entries((store.shard("ab" * 32, i, 64) for i in range(count)), tmp_path)
    assert sum(shards_.values()) == count + (count - 1) // 1000 + 3, "each shard has a folder of its own"
    assert max(shards_.values()) <= 2000
    fits = entries((_spread(store.fits / f"adp-{i:024x}") for i in range(count)), tmp_path)
    assert max(fits.values()) <= 2000, "a lock beside each: 4,000"
    cells = entries((store.record(f"{i * 40503 % 2**32:08x}" * 8) for i in range(count)), tmp_path)
    assert max(cells.values()) <= 4096


def test_shards_and_fits_of_older_stores_are_found_where_they_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    worker = tmp_path / "samples" / "ab" / "ab12"
    assert store.shard("ab12", 999, 8) == worker / "000999-8", "where it always was"
    assert store.shard("ab12", 4123, 8) == worker / "004" / "004123-8"
    images = {"images": np.arange(3)}
    store.write(worker / "004124-8", images, {})
    assert store.shard("ab12", 4124, 8) == worker / "004124-8"
    name = "adp-" + "0" * 24
    new, old = tmp_path / "new", tmp_path / "old"
    store.write(old / name, images, {"of": "old"})
    for folder, note in ((new, {"of": "new"}), (old, {"of": "old"}), (new, {"of": "new"})):
        assert remember(folder / name, lambda: (images, {"of": "new"}))[1] == note
    assert [p.parent.name for p in sorted(tmp_path.rglob(name))] == [_spread(new / name).parent.name, "old"]


def test_entries_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.shard("key", 3, 10)
    with pytest.raises(ZeroDivisionError):
        store.write(folder, {"images": np.zeros(3), "late": 1 / 0}, {})  # type: ignore[dict-item]
    assert read_arrays(folder) is None
    assert not folder.exists()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError("CUDA")]
)
def test_out_of_memory_halves_the_compute_batch_once_and_says_so(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = read_suite(
        str(small_suite(tmp_path, tasks=[{"attributes": ["eyeglasses"]}], methods=[{"name": "vanilla"}]))
    )
    drawn: list[int] = []
    draw = worker.draw

    def hungry(resources: Resources, job: CellJob, index: int, size: int) -> Any:
        drawn.append(job.sampling.compute_batch)
        if job.sampling.compute_batch > limit:
            raise error
        return draw(resources, job, index, size)

    monkeypatch.setattr(worker, "draw", hungry)
    limit = 4
    assert not run(suite, Options(tmp_path / "enough", workers=1, compute_batch=8)).problems
    assert drawn == [8, 4] * 3
    assert capsys.readouterr().err.count("out of memory with a compute batch of 8: once more with 4") == 3
    drawn.clear()
    limit = 3
    [(status, _, reason)] = run(suite, Options(tmp_path / "short", workers=1, compute_batch=8)).problems
    assert (status, drawn) == ("failed", [8, 4] * 3), "no further than once a shard"
    assert reason == "out of memory; use a smaller --compute-batch or fewer --workers"
