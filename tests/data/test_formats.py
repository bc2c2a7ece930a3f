"""Every format of image sets, read from a small copy in exactly its format, and held against other readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from bench.config.data_source import DataSource
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.plugins import names
from bench.data import list_formats, load_data
from bench.data.formats import celeba, celeba_hq, cifar10, fairface, ffhq, image_folder, utkface
from bench.protocols.images import LabelledImages
from tests.support import copies


def load(format: str, root: Path, attributes: Any, **more: Any) -> LabelledImages:
    form = {"name": format, "root": str(root), "attributes": attributes, **more}
    return load_data(DataSource.model_validate(form))


def counts(data: LabelledImages) -> dict[str, int]:
    (attribute,) = data.attributes
    return dict(zip(attribute.classes, np.bincount(data.labels[:, 0], minlength=attribute.n_classes), strict=True))


def test_every_layout_says_in_a_line_what_lies_where() -> None:
    shown = list_formats()
    assert set(shown) == set(names("data format"))
    assert {"image_folder", "celeba", "celeba_hq", "ffhq", "fairface", "utkface", "cifar10", "parquet"} <= set(shown)
    assert all(10 < len(line) < 120 for line in shown.values())
    assert "img_align_celeba/*.jpg" in shown["celeba"]


def test_class_folders_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x", classes=("dog", "cat", "eel"))
    theirs = torchvision.datasets.ImageFolder(str(root))
    table = image_folder.Format(str(root)).table()
    ours = {table.pictures.name(i): table.columns["class"][i] for i in range(len(table.pictures))}
    assert ours == {str(Path(path).relative_to(root)): theirs.classes[k] for path, k in theirs.samples}
    assert table.classes["class"] == tuple(theirs.classes) == ("cat", "dog", "eel")
    data = load("image_folder", root, ["class"])
    assert (len(data), counts(data)) == (18, {"cat": 6, "dog": 6, "eel": 6})


def test_a_csv_of_labels(tmp_path: Path) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    how = {"sex": {"column": "gender", "classes": ["male", "female"]}, "age": {"edges": [20, 40]}}
    data = load("image_folder", root, how, **{"with": {"labels": "labels.csv"}})
    sex = Attribute("sex", ("male", "female"))
    assert data.attributes == (sex, Attribute("age", ("below 20", "20 to 40", "from 40")))
    table = image_folder.Format(str(root), "labels.csv").table()
    assert [table.pictures.name(i) for i in range(3)] == ["images/0.png", "images/1.png", "images/2.png"]
    # ages 10, 15 | 20 to 35 | 40 to 65, the genders in turn
    assert np.allclose(data.joint * 12, [[1, 2, 3], [1, 2, 3]])
    kept = root.rename(tmp_path / "elsewhere") / "labels.csv"
    outside = kept.rename(tmp_path / "mine.csv")
    again = load("image_folder", tmp_path / "elsewhere", how, **{"with": {"labels": str(outside)}})
    assert again.digest == data.digest


def test_celeba_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copies.celeba(tmp_path)
    # its own check is of the MD5 of the released label files
    monkeypatch.setattr(torchvision.datasets.CelebA, "_check_integrity", lambda self: True)
    seen = 0
    for split in ("all", "train", "valid", "test"):
        theirs = torchvision.datasets.CelebA(str(root), split)
        table = celeba.Format(str(root), split).table()
        assert [table.pictures.name(i) for i in range(len(table.pictures))] == list(theirs.filename)
        values = np.array([[v == "present" for v in table.columns[name]] for name in copies.CELEBA]).T
        assert np.array_equal(values, theirs.attr.numpy())
        assert not table.problems
        assert Image.open(root / "celeba/img_align_celeba" / table.pictures.name(0)).tobytes() == theirs[0][0].tobytes()
        seen += len(theirs)
    assert seen == 24
    data = load("celeba", root / "celeba", {"sex": {"column": "Male", "classes": ["female", "male"]}}, size=64)
    assert data.attributes == (Attribute("sex", ("female", "male")),)
    assert counts(data)["male"] == sum(v == "present" for v in celeba.Format(str(root)).table().columns["Male"])


def test_celeba_hq_and_its_splits_at_their_edges(tmp_path: Path) -> None:
    root = copies.celeba_hq(tmp_path)
    found = {}
    for split in ("all", "train", "valid", "test"):
        table = celeba_hq.Format(str(root), split=split).table()
        found[split] = [table.pictures.name(i) for i in range(len(table.pictures))]
    assert found["train"] == ["0.jpg", "1.jpg", "2.jpg"]
    assert found["valid"] == ["3.jpg", "4.jpg"]
    assert found["test"] == ["5.jpg", "6.jpg"]
    _, values = copies.attribute_rows(found["all"], gaps=False)
    young = celeba_hq.Format(str(root)).table().columns["Young"]
    assert [v == "present" for v in young] == list(values[:, copies.CELEBA.index("Young")] == 1)


def test_ffhq_with_a_json_an_image(tmp_path: Path) -> None:
    root = copies.ffhq(tmp_path)
    beard = {"column": "facialHair.beard", "edges": [0.5]}
    how = {"gender": ["male", "female"], "age": {"edges": [20, 50]}, "beard": beard}
    data = load("ffhq", root, how, tolerate=1)
    assert data.left_out == ("00000/00007.png: no face in json",)
    assert data.attributes[0] == Attribute("gender", ("male", "female"))
    assert np.allclose(data.joint.sum(axis=2) * 7, [[1, 2, 1], [1, 1, 1]])  # ages 5, 15, ..., 65 in turn
    table = ffhq.Format(str(root)).table()
    assert set(table.columns) >= {"glasses", "headPose.roll", "makeup.eyeMakeup"}
    assert "accessories" not in table.columns
    assert table.columns["makeup.eyeMakeup"][:2] == ["False", "True"]


def test_ffhq_with_a_csv(tmp_path: Path) -> None:
    root = copies.ffhq(tmp_path)
    data = load("ffhq", root, {"age": {"column": "age_group"}}, **{"with": {"labels": "ffhq_aging_labels.csv"}})
    assert counts(data) == {"20-29": 4, "3-6": 4}


def test_fairface(tmp_path: Path) -> None:
    root = copies.fairface(tmp_path)
    data = load("fairface", root, ["gender", "race"], **{"with": {"split": "val"}})
    assert data.attributes[0].classes == ("Male", "Female")
    assert data.attributes[1].classes == fairface.CLASSES["race"]
    assert np.allclose(data.joint.sum(axis=1) * 9, [4, 5])
    groups = {"young": ["0-2", "3-9", "10-19"], "old": list(fairface.CLASSES["age"][3:])}
    assert counts(load("fairface", root, {"age": {"classes": groups}})) == {"young": 3, "old": 6}


def test_utkface_counts_the_names_that_lack_the_race(tmp_path: Path) -> None:
    root = copies.utkface(tmp_path)
    table = utkface.Format(str(root)).table()
    assert list(table.columns["age"]) == ["100", "1", "26", "35"]
    assert list(table.columns["race"]) == ["White", "Others", "Asian", "Indian"]
    assert list(table.columns["gender"]) == ["male", "male", "female", "female"]
    assert sorted(table.problems) == [
        "UTKFace/39_1_20170116174525125.jpg.chip.jpg",
        "UTKFace/61_1_20170109150557335.jpg.chip.jpg",
    ]
    data = load("utkface", root, {"gender": None, "age": {"edges": [18, 60], "classes": ["c", "a", "s"]}}, tolerate=2)
    assert len(data) == 4
    assert len(data.left_out) == 2
    assert np.allclose(data.joint * 4, [[1, 0, 1], [0, 2, 0]])


def plain_pickle(value: Any) -> bytes:
    """A value in the oldest protocol, which is text: what the Python version of CIFAR-10 must be made of."""
    if isinstance(value, dict):
        return b"(d" + b"".join(plain_pickle(k) + plain_pickle(v) + b"s" for k, v in value.items())
    if isinstance(value, list):
        return b"(l" + b"".join(plain_pickle(v) + b"a" for v in value)
    return b"S'%s'\n" % value.encode() if isinstance(value, str) else b"I%d\n" % value


def test_cifar10_is_what_torchvision_reads_of_the_python_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, images, labels = copies.cifar(tmp_path / "ours")
    for b, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        rows = slice(3 * b, 3 * b + 3)
        batch = {"data": images[rows].reshape(3, -1).tolist(), "labels": labels[rows].tolist()}
        copies.put(tmp_path / "theirs/cifar-10-batches-py" / name, plain_pickle(batch) + b".")
    copies.put(
        tmp_path / "theirs/cifar-10-batches-py/batches.meta", plain_pickle({"label_names": [*copies.CIFAR]}) + b"."
    )
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for split, train in (("train", True), ("test", False)):
        theirs = torchvision.datasets.CIFAR10(str(tmp_path / "theirs"), train)
        table = cifar10.Format(str(root), split).table()
        assert list(table.columns["label"]) == [theirs.classes[k] for k in theirs.targets]
        data = load("cifar10", root, ["label"], **{"with": {"split": split}})
        order = np.random.default_rng(0).permutation(len(theirs))  # the set's own, from its seed
        expected = np.asarray(theirs.data)[order].transpose(0, 3, 1, 2)
        assert np.array_equal(data.images, expected)
        assert np.array_equal(data.labels[:, 0], np.array(theirs.targets)[order])
    tail = load("cifar10", root, ["label"], subsample={"long_tail": 0.5, "largest": 2, "over": ["label"]}, seed=3, n=4)
    assert len(tail) == 4
    with pytest.raises(ConfigError, match="Python version, which is pickles; get the binary version"):
        cifar10.Format(str(tmp_path / "theirs")).table()


def test_parquet_files_with_class_names_in_their_metadata(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    root = copies.parquet(tmp_path / "x", kind=[json.dumps(i % 5 == 0) for i in range(20)])
    data = load("parquet", root, ["label", "kind"])
    assert data.attributes == (Attribute("label", ("no", "yes")), Attribute("kind", ("false", "true")))
    order = np.random.default_rng(0).permutation(20)
    assert np.array_equal(data.labels, np.stack([order % 2, order % 5 == 0], axis=1))
    one = load("parquet", root / "train-00001-of-00002.parquet", {"label": None, "score": {"edges": [3.75]}})
    assert len(one) == 10
    assert np.allclose(one.joint.sum(axis=0), 0.5)  # scores 2.5 to 4.75
    same = copies.class_folders(tmp_path / "y")
    for name in ("cat", "dog"):  # the same images from files
        for old in (same / name).rglob("*.jpg"):
            old.unlink()
    for i in range(20):
        copies.put(same / ("cat", "dog")[i % 2] / f"{i}.png", copies.picture(i, format="PNG"))
    folder = load("image_folder", same, ["class"])
    assert {im.tobytes() for im in folder.images} == {im.tobytes() for im in data.images}


def test_the_datasets_library_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    root = copies.parquet(tmp_path / "x")
    data = load("hub", root, ["label"])
    other = load("parquet", root, ["label"])
    assert data.digest == other.digest
    assert np.array_equal(data.images, other.images)
