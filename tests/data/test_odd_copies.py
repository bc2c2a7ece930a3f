"""Copies of image sets as unpacking, spreadsheets and other programs leave them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.config.data_source import DataSource
from bench.core.errors import ConfigError
from bench.data import load_data
from bench.data.decode import Shape, check, decode
from bench.data.formats import celeba, fairface, utkface
from bench.protocols.images import LabelledImages
from tests.support import copies

UTKFACE = (
    "100_0_4_20170112213500903.jpg.chip.jpg", "116_1_0_20170120134921760.jpg.chip.jpg",
    "1_0_0_20161219140623097.jpg.chip.jpg", "24_0_1_20170116220224657 .jpg.chip.jpg",
    "26_1_2_20170116184024662.jpg.chip.jpg", "35_0_3_20170104201735987.jpg.chip.jpg",
    "39_1_20170116174525125.jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg",
    "61_1_20170109142408075.jpg.chip.jpg", "61_1_20170109150557335.jpg.chip.jpg",
)  # fmt: skip
CSV = {"with": {"labels": "labels.csv"}}


def load(format: str, root: Path, attributes: Any, **changes: Any) -> LabelledImages:
    return load_data(
        DataSource.model_validate({"name": format, "root": str(root), "attributes": attributes, **changes})
    )


def test_parquet_files_of_several_splits_are_never_mixed(tmp_path: Path) -> None:
    root = copies.parquet(tmp_path / "x")
    shutil.copy(root / "train-00001-of-00002.parquet", root / "test-00000-of-00001.parquet")
    with pytest.raises(ConfigError, match=r"Parquet files of 2 splits, test, train; choose by `with: \{split: test\}`"):
        load("parquet", root, ["label"])
    whole = len(load("parquet", root, ["label"], **{"with": {"split": "train"}}))
    test = len(load("parquet", root, ["label"], tolerate=99, **{"with": {"split": "test"}}))
    assert (whole, test) == (20, 10)
    assert len(load("parquet", root, ["label"], **{"with": {"pattern": "train-*.parquet"}})) == whole
    (root / "val").mkdir()
    (root / "test-00000-of-00001.parquet").rename(root / "val" / "0000.parquet")
    assert len(load("parquet", root, ["label"])) == whole
    assert len(load("parquet", root, ["label"], **{"with": {"split": "val"}})) == test
    with pytest.raises(ConfigError, match=r"must hold dev.parquet or dev-\*.parquet or dev/\*.parquet files, got none"):
        load("parquet", root, ["label"], **{"with": {"split": "dev"}})
    with pytest.raises(ConfigError, match="`split` or `pattern`, got both"):
        load("parquet", root, ["label"], **{"with": {"split": "val", "pattern": "*"}})


def test_what_programs_leave_behind_is_neither_a_class_nor_damage(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    before = load("image_folder", root, ["class"])
    for name in (".DS_Store", "cat/.DS_Store", "cat/.ipynb_checkpoints/0.jpg", "__MACOSX/cat/._0.jpg", "cat/Thumbs.db"):
        copies.put(root / name, b"left behind")
    (root / ".ipynb_checkpoints").mkdir()
    after = load("image_folder", root, ["class"])
    assert (after.digest, after.attributes, after.left_out) == (before.digest, before.attributes, ())


@pytest.mark.parametrize(
    ("in_csv", "on_disk", "difference"),
    [
        ("images/Zoe.png", "images/zoe.PNG", "case"),
        ("images\\3.png", "images/3.png", "slashes"),
        ("images/Ze\u0301.png", "images/Z\u00e9.png", "Unicode form"),
    ],
)
def test_names_that_nearly_match_are_told_apart(tmp_path: Path, in_csv: str, on_disk: str, difference: str) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    (root / "images/3.png").rename(root / on_disk)
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(text.replace("images/3.png", in_csv))
    with pytest.raises(ConfigError, match=f"is there, which differs in {difference}.*: rename one"):
        load("image_folder", root, ["gender"], **CSV)


def test_one_round_names_the_problems_of_labels_and_of_files(tmp_path: Path) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    (root / "images/3.png").unlink()
    (root / "images/5.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"got 2 of 12: images/3.png \(named .*images/5.png \(not an image\)"):
        load("image_folder", root, ["gender"], **CSV)
    assert len(load("image_folder", root, ["gender"], tolerate=2, **CSV)) == 10


def test_identical_files_with_other_labels_are_unusable(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    shutil.copy(root / "cat/0.jpg", root / "cat/again.jpg")  # the same label: no contradiction
    assert len(load("image_folder", root, ["class"])) == 13
    shutil.copy(root / "cat/1.jpg", root / "dog/9.jpg")
    with pytest.raises(ConfigError, match=r"got 2 of 14: .*the same file as .*, with another label"):
        load("image_folder", root, ["class"])
    data = load("image_folder", root, ["class"], tolerate=2)
    assert (len(data), len(data.left_out)) == (12, 2)


def test_two_of_the_odd_names_of_utkface_carry_all_labels(tmp_path: Path) -> None:
    for i, name in enumerate(UTKFACE):
        copies.put(tmp_path / name, copies.picture(i))
    table = utkface.Format(str(tmp_path)).table()
    assert sorted(table.columns["age"], key=int) == ["1", "24", "26", "35", "55", "100", "116"]
    assert sorted(table.problems) == [name for name in UTKFACE if name.startswith(("39_", "61_"))]


def test_celeba_as_kaggle_has_it(tmp_path: Path) -> None:
    root = copies.celeba(tmp_path)
    before = celeba.Format(str(root), "train").table()
    folder = root / "celeba" if (root / "celeba").is_dir() else root
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    (folder / "inner").rename(folder / "img_align_celeba" / "img_align_celeba")
    _, header, *lines = (folder / "list_attr_celeba.txt").read_text().splitlines()
    rows = [",".join(line.split()) for line in lines]
    (folder / "list_attr_celeba.csv").write_text("\n".join(["image_id," + ",".join(header.split()), *rows, ""]))
    splits = [",".join(line.split()) for line in (folder / "list_eval_partition.txt").read_text().splitlines()]
    (folder / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *splits, ""]))
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (folder / name).unlink()
    after = celeba.Format(str(root), "train").table()
    assert [after.pictures.name(i) for i in range(len(after.pictures))] == [
        before.pictures.name(i) for i in range(len(before.pictures))
    ]
    assert all(list(after.columns[key]) == list(before.columns[key]) for key in before.columns)


def test_fairface_has_the_column_of_the_service_test(tmp_path: Path) -> None:
    table = fairface.Format(str(copies.fairface(tmp_path))).table()
    assert table.classes["service_test"] == ("False", "True")
    assert set(table.columns["service_test"]) <= {"False", "True"}


def test_whole_numbers_are_values_of_classes(tmp_path: Path) -> None:
    rows = [("file", "age"), *((f"{i}.png", i % 3) for i in range(6))]
    copies.write_csv(tmp_path / "labels.csv", rows)
    for i in range(6):
        copies.put(tmp_path / f"{i}.png", copies.picture(i))
    data = load("image_folder", tmp_path, {"age": {"classes": {"young": [0, 1], "old": [2]}}}, **CSV)
    assert data.labels[:, 0].tolist().count(1) == 2
    assert load("image_folder", tmp_path, {"age": [0, 1, 2]}, **CSV).attributes[0].classes == ("0", "1", "2")


def test_sixteen_bits_of_grey_keep_their_upper_eight() -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 256 + 7
    pgm = b"P5 16 16 65535\n" + levels.astype(">u2").tobytes()
    check(pgm, Shape(16))
    assert np.array_equal(decode(pgm, Shape(16))[0], levels >> 8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", transparency=int(levels[0, 3]))
    expected = np.where(levels == levels[0, 3], 255, levels >> 8)
    assert np.array_equal(decode(file.getvalue(), Shape(16))[1], expected)
