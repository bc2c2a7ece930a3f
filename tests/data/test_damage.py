"""Damaged image sets: every kind is answered in one sentence that names the file, and nothing is dropped unsaid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.config.data_source import DataSource
from bench.core.errors import ConfigError
from bench.data import load_data
from tests.support import copies

Damage = Callable[[Path], object]


def load(format: str, root: Path, attributes: Any, **more: Any) -> Any:
    return load_data(DataSource.model_validate({"name": format, "root": str(root), "attributes": attributes, **more}))


def edit(name: str, old: str, new: str) -> Damage:
    """Replace a text in a file, which must hold it."""

    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def huge(root: Path) -> None:
    Image.new("1", (9000, 9000)).save(root / "images/3.png")  # 81 million pixels in some kilobytes


def bomb(root: Path) -> None:
    Image.new("1", (20000, 20000)).save(root / "images/3.png")


def cut(root: Path) -> None:
    os.truncate(root / "images/3.png", 300)


def jpeg_cut(root: Path) -> None:
    whole = copies.picture(3, 200, 200)
    copies.put(root / "images/3.png", whole[: len(whole) * 3 // 4])


CSV_DAMAGE: dict[str, tuple[Damage, str]] = {
    "a missing file": (lambda r: (r / "images/3.png").unlink(), "images/3.png (named in labels.csv but missing)"),
    "a truncated PNG": (cut, "images/3.png (truncated or broken: "),
    "a truncated JPEG": (jpeg_cut, "images/3.png (truncated or broken: image file is truncated"),
    "not an image": (lambda r: (r / "images/3.png").write_text("<html>"), "images/3.png (not an image)"),
    "zero bytes": (lambda r: (r / "images/3.png").write_bytes(b""), "images/3.png (zero bytes)"),
    "a huge image": (huge, "images/3.png (9000 x 9000 is more than 64,000,000 pixels)"),
    "a bomb": (bomb, "images/3.png (more than 64,000,000 pixels)"),
    "too small": (
        lambda r: (r / "images/3.png").write_bytes(copies.picture(0, 48, 20)),
        "images/3.png (48 x 20 is smaller than size 32",
    ),
    "a file without a row": (
        lambda r: copies.put(r / "images/new.png", copies.picture(1)),
        "images/new.png (not labelled in labels.csv)",
    ),
    "a row without a value": (edit("labels.csv", "3.png,male,", "3.png,,"), "images/3.png (no value of gender)"),
}
SENTENCE = "data set image_folder must have at most 0 unusable files, got 1 of "


@pytest.mark.parametrize(("damage", "named"), CSV_DAMAGE.values(), ids=CSV_DAMAGE.keys())
def test_an_unusable_file_is_named_and_counted_and_may_be_tolerated(tmp_path: Path, damage: Damage, named: str) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    damage(root)
    settings: dict[str, Any] = {"with": {"labels": "labels.csv"}}
    with pytest.raises(ConfigError) as refused:
        load("image_folder", root, ["gender"], **settings)
    assert SENTENCE in str(refused.value)
    assert named in str(refused.value)
    assert "or set `tolerate: 1`" in str(refused.value)
    assert "\n" not in str(refused.value)
    data = load("image_folder", root, ["gender"], tolerate=1, **settings)
    assert len(data) == (12 if "new.png" in named else 11)
    assert len(data.images) == len(data)
    assert len(data.left_out) == 1
    assert data.left_out[0].replace(": ", " (", 1).startswith(named.split(" (")[0])


def test_many_unusable_files_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x", n=10)
    for i in range(8):
        (root / f"cat/{i}.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"got 8 of 20: .* and 3 more; mend them, or set `tolerate: 8`") as refused:
        load("image_folder", root, ["class"], tolerate=7)
    assert str(refused.value).count("(zero bytes)") == 5


REFUSED: dict[str, tuple[Damage, str]] = {
    "no folder": (lambda r: r.rename(r.with_name("y")), "no folder ROOT; give the data set's `root`"),
    "no CSV": (lambda r: (r / "labels.csv").unlink(), "cannot read labels.csv: No such file or directory"),
    "not UTF-8": (edit("labels.csv", "images/3.png", "images/\udc9f.png"), "labels.csv, line 5: not UTF-8 text"),
    "no such column": (edit("labels.csv", "gender", "sex"), "unknown column of image_folder 'gender'; known: age, sex"),
    "no column of files": (
        edit("labels.csv", "file", "path"),
        "labels.csv must have a column 'file', got path, gender, age",
    ),
    "a column twice": (edit("labels.csv", "age", "gender"), "the header names 'gender' twice"),
    "a row twice": (edit("labels.csv", "4.png", "3.png"), "line 6: images/3.png has a row on line 5 already; keep one"),
    "a value too many": (edit("labels.csv", "3.png,", "3.png,x,"), "line 5: must have 3 values as the header, got 4"),
    "a value too few": (edit("labels.csv", "3.png,", "3.png"), "line 5: must have 3 values as the header, got 2"),
    "an open quote": (edit("labels.csv", "3.png,male", '3.png,"male'), "not valid CSV: "),
    "only a header": (lambda r: (r / "labels.csv").write_text("file,gender\n"), "must have a row for each image"),
    "up and away": (
        edit("labels.csv", "images/3", "../secret/3"),
        "must lie below the data set's root, got '../secret",
    ),
    "from the root": (edit("labels.csv", "images/3", "/etc/3"), "must lie below the data set's root, got '/etc/3.png'"),
    "a drive": (edit("labels.csv", "images/3", "C:/3"), "must lie below the data set's root, got 'C:/3.png'"),
    "backslashes": (edit("labels.csv", "images/3", r"..\3"), r"must lie below the data set's root, got '..\\3.png'"),
    "out of range": (
        edit("labels.csv", "3.png,male", "3.png,robot"),
        "gender of image_folder must be one of female, male, got 'robot' for images/3.png (1 such images)",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_csv_is_refused_whatever_is_tolerated(tmp_path: Path, damage: Damage, sentence: str) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    if sentence.endswith("UTF-8 text"):
        data = (root / "labels.csv").read_bytes().replace(b"images/3.png", b"images/\x9f.png")
        (root / "labels.csv").write_bytes(data)
    else:
        damage(root)
    with pytest.raises(ConfigError) as refused:
        load("image_folder", root, {"gender": ["female", "male"]}, tolerate=12, **{"with": {"labels": "labels.csv"}})
    said = str(refused.value)
    assert sentence in said.replace(str(root), "ROOT")
    assert "\n" not in said


def test_an_age_that_is_no_number_is_refused(tmp_path: Path) -> None:
    for wrong in ("old", "nan", "inf"):
        root = copies.labelled_folder(tmp_path / wrong)
        edit("labels.csv", "male,15", f"male,{wrong}")(root)
        with pytest.raises(
            ConfigError, match=f"age of .* must be a number to have edges, got '{wrong}' for images/1.png"
        ):
            load("image_folder", root, {"age": {"edges": [30]}}, **{"with": {"labels": "labels.csv"}})


def test_an_empty_class_folder_and_files_outside_of_any(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    copies.put(root / "README.txt", "mine")
    with pytest.raises(ConfigError, match=r"got 1 of 13: README.txt \(not in a class folder\)"):
        load("image_folder", root, ["class"])
    (root / "eel").mkdir()
    with pytest.raises(ConfigError, match=r"class folder .*eel is empty; put its images there or remove it"):
        load("image_folder", root, ["class"], tolerate=1)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="must hold a folder per class, got none"):
        load("image_folder", tmp_path / "none", ["class"])


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    root, others = copies.class_folders(tmp_path / "x"), copies.class_folders(tmp_path / "y", side=44)
    (root / "ape").symlink_to(others / "cat")
    (root / "cat" / "up").symlink_to(root)
    data = load("image_folder", root, ["class"])
    assert data.attributes[0].classes == ("ape", "cat", "dog")
    assert len(data) == 18


LIST = "celeba/list_attr_celeba.txt"
CELEBA: dict[str, tuple[Damage, str]] = {
    "a wrong count": (edit(LIST, "12\n", "13\n"), "the first line says 13 images, got 12"),
    "no count": (edit(LIST, "12\n", ""), "line 1: must hold the number of images, got '5_o_Clock"),
    "an attribute less": (edit(LIST, "Male ", ""), "line 3: must have 39 values, one per attribute, got 40"),
    "a value of 0": (edit(LIST, "000001.jpg ", "000001.jpg 0"), "line 3: 5_o_Clock_Shadow must be -1 or 1, got '0"),
    "a row twice": (edit(LIST, "000002.jpg", "000001.jpg"), "line 4: 000001.jpg is listed on line 3 already"),
    "a traversal": (edit(LIST, "000002.jpg", "../02.jpg"), "line 4: a file must lie below the data set's root"),
    "no split of a file": (
        edit("celeba/list_eval_partition.txt", "000003.jpg 0\n", ""),
        "must have a line for each image, got none for 000003.jpg",
    ),
    "a split of 3": (
        edit("celeba/list_eval_partition.txt", "000003.jpg 0", "000003.jpg 3"),
        "line 3: must hold a file and 0, 1 or 2, got '000003.jpg 3'",
    ),
    "a missing image": (
        lambda r: (r / "celeba/img_align_celeba/000005.jpg").unlink(),
        "got 1 of 8: 000005.jpg (named in list_attr_celeba.txt but missing)",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), CELEBA.values(), ids=CELEBA.keys())
def test_a_damaged_celeba_is_refused(tmp_path: Path, damage: Damage, sentence: str) -> None:
    root = copies.celeba(tmp_path / "x")
    if sentence.startswith("line 3: 5_o"):
        text = (root / LIST).read_text().splitlines()
        text[2] = " ".join(["000001.jpg", "0", *text[2].split()[2:]])
        (root / LIST).write_text("\n".join(text))
    else:
        damage(root)
    with pytest.raises(ConfigError) as refused:
        load("celeba", root, ["Male"], **{"with": {"split": "train"}})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"splitt": "train"}, "unknown field of format celeba 'splitt'; did you mean 'split'?"),
        ({"split": "trian"}, "format celeba: split: input should be 'all', 'train', 'valid' or 'test', got 'trian'"),
    ],
)
def test_a_wrong_field_of_a_layout_is_refused(tmp_path: Path, fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load("celeba", tmp_path, ["Male"], **{"with": fields})
    assert sentence in str(refused.value)


def test_other_layouts_say_what_is_wrong(tmp_path: Path) -> None:
    hq = copies.celeba_hq(tmp_path / "hq")
    edit("CelebA-HQ-to-CelebA-mapping.txt", "119614.jpg", "jpg")(hq)
    with pytest.raises(ConfigError, match=r"line 3: must hold idx, orig_idx and orig_file, got '1 "):
        load("celeba_hq", hq, ["Male"], **{"with": {"split": "test"}})
    ff = copies.ffhq(tmp_path / "ff")
    (ff / "json/00002.json").write_text('[{"faceId": 1}]')
    with pytest.raises(ConfigError, match=r"00002.json must hold a list of faces with faceAttributes, got KeyError"):
        load("ffhq", ff, ["gender"], tolerate=1)
    copies.put(ff / "images1024x1024/01000/00002.png", b"")
    with pytest.raises(ConfigError, match=r"must hold an image once, got 00000/00002.png and 01000/00002.png"):
        load("ffhq", ff, ["gender"])
    fair = copies.fairface(tmp_path / "fair")
    edit("fairface_label_train.csv", "White", "Martian")(fair)
    with pytest.raises(ConfigError, match=r"race of fairface must be one of White, .*, got 'Martian' for train/1.jpg"):
        load("fairface", fair, ["race"])
    utk = copies.utkface(tmp_path / "utk")
    with pytest.raises(
        ConfigError, match=r"at most 1 unusable files, got 2 of 6: .* \(its name is not \[age\]_\[gender\]"
    ):
        load("utkface", utk, ["race"], tolerate=1)


def test_a_damaged_cifar_is_refused(tmp_path: Path) -> None:
    root, _, _ = copies.cifar(tmp_path)
    batch = root / "cifar-10-batches-bin/data_batch_2.bin"
    whole = batch.read_bytes()
    batch.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(ConfigError, match="must hold labels from 0 to 9 with a name each, got label 10"):
        load("cifar10", root, ["label"])
    batch.write_bytes(whole[:-1])
    with pytest.raises(ConfigError, match=r"data_batch_2.bin must hold rows of 3073 bytes, got 9218 bytes"):
        load("cifar10", root, ["label"])
    batch.unlink()
    with pytest.raises(ConfigError, match=r"no file .*data_batch_2.bin"):
        load("cifar10", root, ["label"])


def test_a_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    root = copies.parquet(tmp_path / "x")
    with pytest.raises(ConfigError, match=r"must have a column 'picture', got image, label, score"):
        load("parquet", root, ["label"], **{"with": {"image": "picture"}})
    with pytest.raises(ConfigError, match=r"column 'score' of .* must hold encoded images as bytes, got double"):
        load("parquet", root, ["label"], **{"with": {"image": "score"}})
    with pytest.raises(ConfigError, match=r"score of parquet must be a number|must have 2 to 50 values|unknown column"):
        load("parquet", root, ["image"])
    part = root / "train-00001-of-00002.parquet"
    os.truncate(part, part.stat().st_size - 9)
    with pytest.raises(ConfigError, match=r"cannot read .*; copy it again"):
        load("parquet", root, ["label"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"must hold \*.parquet files, got none"):
        load("parquet", empty, ["label"])
    wrong = copies.parquet(tmp_path / "y", label=[7] * 20)
    with pytest.raises(ConfigError, match="label must be 0 to 1, got 7"):
        load("parquet", wrong, ["label"])
