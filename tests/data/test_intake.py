"""Reading: by content and order, once, without holding the set in memory, and never behind the user's back."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.config.data_source import DataSource
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.progress import console
from bench.data import intake, load_data, print_left_out
from bench.data.assembly import stamp
from tests.support import copies


def source(root: Path, **more: Any) -> DataSource:
    return DataSource.model_validate({"name": "image_folder", "root": str(root), "attributes": ["class"], **more})


def test_images_are_decoded_when_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copies.class_folders(tmp_path / "x")
    seen: list[int] = []
    real = intake._decode_one
    monkeypatch.setattr(intake, "_decode_one", lambda p, i, s: (seen.append(i), real(p, i, s))[1])
    data = load_data(source(root))
    assert (len(data), len(data.digest), data.joint.tolist(), seen) == (12, 64, [0.5, 0.5], [])
    assert data.images.shape == (12, 3, 32, 32)
    assert (data.images.dtype, data.labels.dtype, data.labels.shape) == (np.uint8, np.int64, (12, 1))
    assert len(seen) == 12
    assert isinstance(load_data(source(root)).images, np.memmap)
    assert len(seen) == 12, "a second look reads the cache"


def test_each_image_stands_beside_its_label(tmp_path: Path) -> None:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        for i in range(5):
            copies.put(tmp_path / f"x/{name}/{i}.png", b"").unlink()
            Image.new("RGB", (40, 40 + i), colour).save(tmp_path / f"x/{name}/{i}.png")
    data = load_data(source(tmp_path / "x"))
    assert np.array_equal(data.images[:, 0, 5, 5] == 255, data.labels[:, 0] == 1)
    assert set(data.labels[:5, 0].tolist()) == {0, 1}, "the beginning of a set is no class folder"


def test_a_folder_without_labels_is_a_set_without_attributes(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    (root / "loose.jpg").write_bytes(next(root.rglob("*.jpg")).read_bytes()[:-2] + b"\xff\xd9")
    data = load_data(source(root, attributes=[]))
    assert (len(data), data.attributes, data.joint.tolist(), data.labels.shape) == (13, (), 1.0, (13, 0))
    assert data.images.shape == (13, 3, 32, 32)
    assert data.digest != load_data(source(root, attributes=[], n=12)).digest
    with pytest.raises(ConfigError, match="must have class with classes cat, dog, got no labels; declare it as"):
        data.column((Attribute("class", ("cat", "dog")),))
    with pytest.raises(ConfigError, match=r"loose.jpg \(not in a class folder\)"):
        load_data(source(root))


def test_the_hash_is_of_content_order_labels_and_pixels(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    first = load_data(source(root)).digest
    for file in root.rglob("*.jpg"):
        os.utime(file, (1, 1))
    assert load_data(source(root)).digest == first, "dates do not matter"
    moved = root.rename(tmp_path / "y")
    assert load_data(source(moved)).digest == first, "nor does the place"
    others = [source(moved, **{key: value}) for key, value in (("size", 24), ("seed", 1), ("n", 11), ("crop", 36))]
    others.append(source(moved, attributes={"class": ["dog", "cat"]}))
    others.append(source(moved, resample="box"))
    found = {load_data(other).digest for other in others} | {first}
    assert len(found) == 7
    copies.put(moved / "cat/0.jpg", copies.picture(999, 40, 40))
    assert load_data(source(moved)).digest not in found


def test_a_longer_set_begins_with_the_shorter_one(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    short, long = load_data(source(root), 5), load_data(source(root))
    assert np.array_equal(short.images, long.images[:5])
    assert np.array_equal(short.labels, long.labels[:5])


def test_a_file_that_is_changed_in_place_is_noticed(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    declared = source(root, size=20)  # a size of its own, so that no other test has left these images in the cache
    before, marked = load_data(declared), stamp(declared)
    file = root / "cat/0.jpg"
    old = file.stat()
    data = bytearray(file.read_bytes())
    data[15] ^= 1  # of the density in a JPEG's header: as long as it was, and no pixel differs
    file.write_bytes(data)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert stamp(declared) != marked
    assert load_data(declared).digest != before.digest
    with pytest.raises(ConfigError, match=r"cat/0.jpg of image_folder changed while it was read; run again"):
        before.images  # noqa: B018 -- looking is what reads


def test_unusable_files_are_replaced_in_a_subsample(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x", n=8)
    plan = {"subsample": {"target": "uniform"}, "n": 10}
    whole = load_data(source(root, **plan))
    order = np.random.default_rng(0).permutation(16)
    first = order[order < 8][0]  # the first of the cats, which are read first
    (root / f"cat/{first}.jpg").write_bytes(b"")
    data = load_data(source(root, **plan, tolerate=1))
    assert data.joint.tolist() == whole.joint.tolist() == [0.5, 0.5]
    assert data.left_out == (f"cat/{first}.jpg: zero bytes",)
    with console.capture() as said:
        print_left_out([data, data])
    assert said.get() == f"left out of image_folder: cat/{first}.jpg: zero bytes\n"
    with pytest.raises(ConfigError, match=r"must have 8 usable images of class = cat .* got 7"):
        load_data(source(root, **{**plan, "n": 16}, tolerate=1))


def test_what_takes_the_place_of_an_unusable_file_is_checked_as_well(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x", n=8)
    order = np.random.default_rng(0).permutation(16)
    cats = order[order < 8].tolist()
    for i in cats[:3]:
        (root / f"cat/{i}.jpg").write_bytes(b"")
    data = load_data(source(root, subsample={"target": "uniform"}, n=4, tolerate=3))  # two cats, then one more
    assert data.joint.tolist() == [0.5, 0.5]
    assert len(data.left_out) == 3


def test_memory_does_not_grow_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BLOCK", 16)
    peaks = []
    for n in (40, 160):
        root = copies.class_folders(tmp_path / str(n), n=n // 2, side=128)
        data = load_data(source(root, size=128))
        tracemalloc.start()
        assert data.images.shape == (n, 3, 128, 128)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 60 * 3 * 128**2, "of 120 images more, less than half are held"


def test_a_task_about_what_a_set_does_not_know_is_refused(tmp_path: Path) -> None:
    data = load_data(source(copies.class_folders(tmp_path / "x")))
    for other in (Attribute("class", ("dog", "cat")), Attribute("age", ("young", "old"))):
        with pytest.raises(ConfigError, match=rf"data set image_folder must have {other.name} with classes"):
            data.column((other,))
        with pytest.raises(ConfigError, match=r"got class: cat, dog; declare it as"):
            data.declared((other,))


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copies.class_folders(tmp_path / "x")
    copies.put(tmp_path / "file", "")
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(ConfigError, match=r"cannot write .*; choose a folder that can be written"):
        load_data(source(root))


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "imagefolder"}, "unknown data set 'imagefolder'; did you mean 'image_folder'"),
        ({"root": None}, "image_folder is a format of files; give its `root`"),
        ({"attributes": [], "subsample": {"target": "uniform"}}, "subsample needs the set's `attributes`; give them"),
        ({"attributes": ["a", "a"]}, "the attributes must have different names, got ['a', 'a']"),
        ({"attributes": list("abcdefghi")}, "a set can have at most 8 attributes, got 9"),
        ({"attributes": {"a": ["x"]}}, "classes must be two or more different names, got ['x']"),
        ({"attributes": {"a": {"classes": {"x": ["1"], "y": ["1"]}}}}, "a value must belong to one class"),
        ({"attributes": {"a": {"edges": [3, 2]}}}, "edges must be one or more ascending numbers, got [3.0, 2.0]"),
        ({"attributes": {"a": {"edges": [3], "classes": ["x", "y", "z"]}}}, "1 edges make 2 classes; name as many"),
        ({"attributes": {"a": {"colum": "b"}}}, "Extra inputs are not permitted"),
        ({"subsample": {}}, "subsample must have either `target` or `long_tail`"),
        ({"subsample": {"target": "uniform", "long_tail": 0.1}}, "subsample must have either `target` or `long_tail`"),
        ({"subsample": {"target": "uniform", "largest": 3}}, "`largest` belongs to `long_tail`"),
        ({"subsample": {"target": [0.5, 0.4]}}, "target must sum to 1, got [0.5, 0.4]"),
        (
            {"subsample": {"over": ["age"], "target": "uniform"}},
            "subsample.over must name attributes of the set (class)",
        ),
        ({"name": "avatars-biased"}, "avatars-biased is a shipped set, without attributes, root; leave that out"),
        ({"max_pixels": 90_000_000}, "less than or equal to 89000000"),
    ],
)
def test_a_wrong_declaration_is_refused(form: dict[str, Any], sentence: str) -> None:
    good = {"name": "image_folder", "root": "x", "attributes": ["class"]}
    with pytest.raises(ValueError, match=r".") as refused:
        DataSource.model_validate({**good, **form})
    assert sentence in str(refused.value)


def test_numbers_and_sizes_beyond_the_declared_are_refused(tmp_path: Path) -> None:
    root = copies.class_folders(tmp_path / "x")
    with pytest.raises(ConfigError, match="is declared with n = 5, got n = 6"):
        load_data(source(root, n=5), 6)
    with pytest.raises(ConfigError, match="must have the size of the images it is compared with, 32, got 24"):
        load_data(source(root, size=24), size=32)
    with pytest.raises(ConfigError, match="has 12 usable images, got n = 13"):
        load_data(source(root), 13)
    with pytest.raises(
        ConfigError, match=r"celeba is a format of files, not a set; declare one, such as data: \{mine: "
    ):
        load_data("celeba")
