"""Declared sets in suites and recipes: references, what methods learn from, training and held-out data; the guide."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from bench.config.suite import read_suite
from bench.data import load_data
from bench.recipes.train import train_recipe
from tests.docs.test_readme import DOCS, blocks
from tests.support import copies
from tests.support.runs import Call, caller, read_rows, refusal
from tests.support.small import small_suite

FACES = {"eyeglasses": {"column": "glasses", "classes": ["absent", "present"]}}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def faces(root: Path, n: int = 24) -> Path:
    """Drawn faces as a user's files: images/*.png with labels.csv (file, glasses)."""
    drawn = load_data("avatars-heldout", n, 48)
    rows: list[tuple[Any, ...]] = [("file", "glasses")]
    for i in range(n):
        path = copies.put(root / f"images/{i}.png", b"")
        Image.fromarray(drawn.images[i].transpose(1, 2, 0)).save(path)
        rows.append((f"images/{i}.png", ("absent", "present")[drawn.labels[i, 0]]))
    copies.write_csv(root / "labels.csv", rows)
    return root


def declared(root: Path, **more: Any) -> dict[str, Any]:
    return {"name": "image_folder", "root": str(root), "attributes": FACES, "with": {"labels": "labels.csv"}, **more}


def suite_on(folder: Path, root: Path, **changes: Any) -> Path:
    """A tiny suite whose reference and labelled set are the user's own files."""
    own = {
        "data": {"mine": declared(root), "even": declared(root, subsample={"target": "uniform"})},
        "references": {"mine": 20, "even": 10, "avatars-balanced": 20},
        "labelled": "mine",
        "tasks": [{"attributes": ["eyeglasses"]}],
        "methods": [{"name": "vanilla"}, {"name": "sample_guidance", "with": {"labels_per_class": 5, "scale": 900}}],
        "features": ["efficientnet_lite0"],
        "metrics": ["fairness_discrepancy", "frechet"],
        "n": 40,  # fewer have no Frechet distance
        "guidance_batch": 20,
        "sampler": {"steps": 2},
    }
    return small_suite(folder, **{**own, **changes})


def test_a_suite_runs_on_a_folder_of_the_users_and_notices_when_it_changes(call: Call, tmp_path: Path) -> None:
    root = faces(tmp_path / "mine")
    suite, out = suite_on(tmp_path, root), tmp_path / "out"
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(root.rglob("*")) if path.is_file()}
    code, _, said = call("run", suite, "--workers", "1", "--out", out)
    assert code == 0, said
    rows = read_rows(out / "small/results.csv")
    distances = {(r["method"], r["scope"]): r for r in rows if r["metric"].startswith("frechet") and r["value"]}
    scopes = {scope for _, scope in distances}
    assert {"mine", "even", "avatars-balanced"} <= scopes
    assert float(distances["vanilla", "mine"]["value"]) > 0
    assert {r["status"] for r in rows} == {"ok"}
    assert "nothing to do" in call("run", suite, "--workers", "1", "--out", out)[2]
    after = {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(root.rglob("*")) if path.is_file()}
    assert after == before, "the user's files are read, never written"
    first = distances["vanilla", "mine"]["value"]
    for i in range(5):  # of 24, of which 20 are taken
        Image.new("RGB", (48, 48), (250 + i, 0, 0)).save(root / f"images/{i}.png")
    code, _, said = call("run", suite, "--workers", "1", "--out", out)
    assert (code, "nothing to do" in said) == (0, False)
    again = {(r["method"], r["scope"]): r["value"] for r in read_rows(out / "small/results.csv")}
    assert again["vanilla", "mine"] != first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labelled": "mein"}, "unknown data set 'mein'; did you mean 'mine'"),
        (
            {"references": {"image_folder": 5}},
            "image_folder is a format of files, not a set; declare one, such as data: ",
        ),
        ({"references": {"mine": 25}}, "data set mine has 24 usable images, got n = 25; ask for fewer"),
        ({"data": {"mine": {"name": "celebaa"}}}, "data.mine: unknown data set 'celebaa'; did you mean 'celeba'"),
        (
            {"data": {"avatars-biased": {"name": "celeba", "root": "x", "attributes": ["Male"]}}},
            "is a shipped set; give",
        ),
        (
            {"data": {"a/b": {"name": "celeba", "root": "x", "attributes": ["Male"]}}},
            "letters, digits, '.', '_' and '-'",
        ),
        (
            {"tasks": [{"attributes": ["facial_hair"]}]},
            "data set mine must have facial_hair with classes absent, present",
        ),
        ({"data": {"mine": {"rooot": "x"}}}, "unknown key 'data.mine.rooot'; did you mean 'root'?"),
    ],
)
def test_a_suite_on_wrong_data_is_refused_in_one_sentence(
    call: Call, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    root = faces(tmp_path / "mine")
    changes.setdefault("references", {"mine": 4} if "data" not in changes else {})
    changes.setdefault("data", {"mine": declared(root)})
    suite = suite_on(tmp_path, root, **changes)
    assert sentence in refusal(call("run", suite, "--workers", "1", "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_unusable_files_are_counted_before_a_run_and_said_by_it(call: Call, tmp_path: Path) -> None:
    root = faces(tmp_path / "mine")
    (root / "images/7.png").write_bytes(b"")
    own = {"references": {"mine": 20}, "methods": [{"name": "vanilla"}], "metrics": ["frechet"]}
    suite = suite_on(tmp_path, root, data={"mine": declared(root)}, **own)
    said = refusal(call("run", suite, "--workers", "1", "--out", tmp_path / "out"))
    assert "data set mine must have at most 0 unusable files, got 1 of 24: images/7.png (zero bytes)" in said
    suite = suite_on(tmp_path, root, data={"mine": declared(root, tolerate=1)}, **own)
    code, _, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert code == 0
    assert said.count("left out of mine: images/7.png: zero bytes") == 1


def test_a_classifier_learns_from_and_is_measured_on_declared_sets(tmp_path: Path) -> None:
    root = faces(tmp_path / "mine")
    recipe = {
        "kind": "classifier",
        "data": declared(root, n=16),
        "heldout": declared(root, seed=1, subsample={"target": "uniform"}, n=8),
        "training": {"steps": 2, "batch": 4},
        "widths": [8, 8],
    }
    path = copies.put(tmp_path / "r.yaml", yaml.safe_dump({"recipe": recipe}))
    record = train_recipe(path, tmp_path / "weights")
    assert record["result"]["n"] == 16
    assert list(record["result"]["heldout_accuracy"]) == ["eyeglasses"]
    assert record["recipe"]["data"]["root"] == str(root)
    assert train_recipe(path, tmp_path / "weights") == record, "finished: nothing is trained"


def test_the_record_of_a_shipped_set_is_as_it_was(tmp_path: Path) -> None:
    recipe = {
        "kind": "classifier",
        "data": {"name": "avatars-labelled"},
        "heldout": {"name": "avatars-heldout", "n": 3},
    }
    from bench.recipes.recipe import read_recipe

    text = yaml.safe_dump({"recipe": {**recipe, "training": {"steps": 1}}})
    dumped = read_recipe(copies.put(tmp_path / "r.yaml", text)).model_dump(mode="json")
    assert dumped["data"] == {"name": "avatars-labelled", "n": None, "size": 32}
    assert dumped["heldout"] == {"name": "avatars-heldout", "n": 3, "size": 32}


def test_list_data_shows_sets_and_layouts(call: Call) -> None:
    code, shown, _ = call("list", "data")
    assert code == 0
    assert "avatars-biased" in shown
    assert "img_align_celeba/*.jpg, list_attr_celeba.txt" in shown
    assert "fairface_label_train.csv" in shown


def test_the_guides_csv_in_ten_lines_runs(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = DOCS / "data.md"
    assert len(guide.read_text(encoding="utf-8").splitlines()) <= 100
    own, *others = blocks(guide, "yaml")
    assert len(own.splitlines()) <= 10
    rows = list(csv.reader(blocks(guide, "csv")[0].splitlines()))
    assert rows[0] == ["file", "glasses"]
    faces(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    suite = small_suite(tmp_path, references={}, methods=[{"name": "vanilla"}], tasks=[{"attributes": ["eyeglasses"]}])
    text = yaml.safe_load(suite.read_text()) | yaml.safe_load(own)
    text |= {"n": 4, "guidance_batch": 2, "sampler": {"steps": 1}, "metrics": ["frechet"]}
    text["features"] = ["efficientnet_lite0"]
    text["references"] = {name: 10 for name in text["references"]}
    suite.write_text(yaml.safe_dump(text))
    code, _, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert code == 0, said
    assert {r["scope"] for r in read_rows(tmp_path / "out/small/results.csv")} >= set(text["references"])
    for other in others:  # the declarations of every format are read as they stand
        form = yaml.safe_load(suite.read_text()) | {"data": yaml.safe_load(other)["data"], "references": {}}
        form["labelled"] = None
        suite.write_text(yaml.safe_dump(form))
        assert read_suite(str(suite)).data
