"""`run_bench.py export`: images and their metadata are those of the store, and nothing is written over."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.api import run_suite
from bench.config.suite import read_suite
from bench.engine.options import Options
from bench.results.run import Run
from bench.storage.files import MANIFEST
from tests.support.runs import Call, caller, refusal
from tests.support.small import small_suite

call = pytest.fixture(caller)
METHODS = [{"name": "vanilla"}, {"name": "vanilla", "label": "vanilla: a/b"}, {"name": "universal_guidance"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: three methods and two seeds of five samples."""
    folder = tmp_path_factory.mktemp("export")
    small = {"n": 5, "guidance_batch": 3, "sampler": {"steps": 2}, "tasks": [{"attributes": ["eyeglasses"]}]}
    suite = small_suite(folder, **small, methods=METHODS, labelled=None, seeds=[0, 7])
    assert not run_suite(read_suite(str(suite)), Options(folder / "out", workers=1)).problems
    return folder / "out" / "small"


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_the_images_and_classes_of_a_cell_are_those_of_the_store(call: Call, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    code, printed, said = call("export", run, out, "--method", "universal_guidance", "--seed", 7)
    assert (code, printed.split(" images: ")[0], said) == (0, "5", "")
    rows = lines(out)
    assert [row["file_name"] for row in rows] == [
        f"eyeglasses-uniform/universal-guidance/seed-7/{i:06d}.png" for i in range(5)
    ]
    finished = Run.open(run)
    cell = finished.cell("universal_guidance", seed=7)
    images = finished.images("universal_guidance", seed=7, n=5)
    assert np.array_equal([np.asarray(Image.open(out / row["file_name"])).transpose(2, 0, 1) for row in rows], images)
    labels = finished.stored.labels(cell, 5)
    assert labels is not None
    assert [row["predicted_class"] for row in rows] == [("absent", "present")[k] for k in labels]
    assert {(row["task"], row["method"], row["seed"]) for row in rows} == {
        ("eyeglasses uniform", "universal_guidance", "7")
    }
    assert sorted(p.name for p in out.iterdir()) == ["eyeglasses-uniform", "metadata.csv"]


def test_every_cell_is_exported_where_none_is_chosen(call: Call, run: Path, tmp_path: Path) -> None:
    assert call("export", run, tmp_path / "all")[0] == 0
    rows = lines(tmp_path / "all")
    assert len({row["file_name"] for row in rows}) == len(rows) == 3 * 2 * 5
    assert len(list((tmp_path / "all").rglob("*.png"))) == len(rows)


def test_nothing_is_written_over_and_wrong_input_is_one_sentence(call: Call, run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in ("full", "file"):
        assert "must be a new or empty folder" in refusal(call("export", run, tmp_path / taken))
    new = tmp_path / "new"
    assert "unknown method of" in refusal(call("export", run, new, "--method", "vanila"))
    assert "unknown task of" in refusal(call("export", run, new, "--task", "age"))
    assert "unknown seed of" in refusal(call("export", run, new, "--seed", 1))
    assert not new.exists()
    shutil.copytree(run, tmp_path / "alone" / "small")
    assert "run the suite again with the same --out" in refusal(call("export", tmp_path / "alone" / "small", new))
    assert not new.exists()


def test_a_cell_without_samples_is_named_and_the_others_are_exported(call: Call, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parent, tmp_path / "out")
    copy = tmp_path / "out" / "small"
    finished = Run.open(copy)
    finished.stored.shards(finished.cell("universal_guidance", seed=0))[0].joinpath(MANIFEST).unlink()
    code, printed, _ = call("export", copy, tmp_path / "some", "--method", "universal_guidance")
    assert code == 0
    assert "left out: universal_guidance on eyeglasses uniform with seed 0" in printed
    assert {row["seed"] for row in lines(tmp_path / "some")} == {"7"}
