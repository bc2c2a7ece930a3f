"""Files are whole or absent, whatever happens to the process or the disk."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.storage.files import (
    MANIFEST,
    cache_root,
    read_arrays,
    read_note,
    remember,
    write_arrays,
    write_bytes,
    write_json,
    write_pieces,
)

ARRAYS = {"a": np.arange(2000, dtype=np.int64), "b": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "deep" / "arrays"
    write_arrays(path, ARRAYS, {"seconds": 3})
    return path


def same(found, wanted):
    assert found is not None
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_round_trip(folder):
    same(read_arrays(folder), ARRAYS)
    assert read_note(folder) == {"seconds": 3}
    assert isinstance(read_arrays(folder)["a"], np.memmap)
    assert os.listdir(folder.parent) == ["arrays"], "no temporary folder is left"


def test_transposed_arrays_keep_their_order(tmp_path):
    array = np.arange(6).reshape(2, 3).T
    write_arrays(tmp_path / "t", {"x": array})
    same(read_arrays(tmp_path / "t"), {"x": array})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "absent": lambda f: f.rename(f.with_name("elsewhere")),
    "one bit flipped": lambda f: flip(f / "a.npy"),
    "cut short": lambda f: os.truncate(f / "a.npy", 500),
    "array missing": lambda f: (f / "b.npy").unlink(),
    "manifest missing": lambda f: (f / MANIFEST).unlink(),
    "manifest half written": lambda f: os.truncate(f / MANIFEST, 20),
    "manifest of another form": lambda f: (f / MANIFEST).write_text("[1]"),
    "manifest without sums": lambda f: (f / MANIFEST).write_text("{}"),
    "manifest with a number for sums": lambda f: (f / MANIFEST).write_text('{"sha256": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_no_folder_and_is_replaced(folder, damage):
    damage(folder)
    assert read_arrays(folder) is None
    write_arrays(folder, ARRAYS)
    same(read_arrays(folder), ARRAYS)


def test_without_verification_a_flipped_bit_goes_unseen(folder):
    flip(folder / "a.npy")
    assert read_arrays(folder, verify=False) is not None
    assert read_arrays(folder) is None


def test_pickles_are_refused(folder):
    np.save(folder / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    sums = json.loads((folder / MANIFEST).read_text())
    sums["sha256"]["a"] = file_digest(folder / "a.npy")
    (folder / MANIFEST).write_text(json.dumps(sums))
    assert read_arrays(folder) is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left on device; choose a folder"):
        write_bytes(path, b"new")
    with pytest.raises(ConfigError, match="No space left on device; choose a folder"):
        write_arrays(tmp_path / "arrays", ARRAYS)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_source: object, _destination: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"x")
    with pytest.raises(KeyboardInterrupt):
        write_arrays(tmp_path / "arrays", ARRAYS)
    assert os.listdir(tmp_path) == []


def test_pieces_of_which_one_cannot_be_made_leave_the_old_file(tmp_path):
    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise ConfigError("the second cannot be made")

    path = tmp_path / "file"
    write_pieces(path, [b"o", b"ld"])
    with pytest.raises(ConfigError, match="the second cannot be made"):
        write_pieces(path, pieces())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [lambda p: write_bytes(p, b"x"), lambda p: write_arrays(p, ARRAYS)])
def test_a_folder_that_cannot_be_written(tmp_path, write):
    (tmp_path / "plain").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"cannot write .*choose a folder that can be written"):
        write(tmp_path / "plain" / "inside" / "x")


def test_the_second_writer_keeps_the_first_ones_folder(folder):
    before = (folder / "a.npy").stat().st_ino
    write_arrays(folder, ARRAYS)
    assert (folder / "a.npy").stat().st_ino == before
    assert os.listdir(folder.parent) == ["arrays"]


def _write_often(folder: Path) -> None:
    for _ in range(20):
        write_arrays(folder, ARRAYS)


def test_two_writers_and_a_reader_at_once(tmp_path):
    folder = tmp_path / "arrays"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(folder,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found = read_arrays(folder)
        if found is not None:
            same(found, ARRAYS)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    same(read_arrays(folder), ARRAYS)
    assert os.listdir(tmp_path) == ["arrays"]


def test_digest_ignores_the_order_of_keys_and_sees_every_value():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1, "b": [1, 2]}) != digest_of({"a": 1, "b": [2, 1]})
    with pytest.raises(ValueError, match="JSON"):
        digest_of(float("nan"))


def test_json_is_sorted_and_refuses_nan(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": None})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": null,\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("inf"))


def test_where_caches_live(monkeypatch, tmp_path):
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"
    monkeypatch.delenv("FAIRDIFF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "fairdiff-bench"


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_an_object_with_a_number_that_json_has_not_is_refused(number: str, tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.json").write_text('{"beta_end": ' + number + "}")
    with pytest.raises(ConfigError, match=r"cannot read .*scheduler_config.json: Out of range float .*; copy it again"):
        read_object(tmp_path / "scheduler_config.json", "save it")


def test_what_is_remembered_is_made_once_and_again_where_it_was_damaged(tmp_path: Path) -> None:
    made = []

    def make() -> tuple[dict[str, np.ndarray], dict[str, object]]:
        made.append(1)
        return {"a": np.arange(3.0)}, {"pair": (1, 2)}

    folder = tmp_path / "cache" / "key"
    for times in (1, 1):
        arrays, note = remember(folder, make)
        assert np.array_equal(arrays["a"], [0.0, 1.0, 2.0])
        assert note == {"pair": [1, 2]}, "as JSON has it, whether it was made or read"
        assert len(made) == times
    (kept,) = folder.parent.glob("*/key")
    (kept / "a.npy").write_bytes(b"half of it")
    arrays, _ = remember(folder, make)
    assert np.array_equal(arrays["a"], [0.0, 1.0, 2.0])
    assert len(made) == 2
    assert remember(None, make)[1] == {"pair": [1, 2]}
    assert remember(None, make)[1] == {"pair": [1, 2]}
    assert len(made) == 4, "without a folder nothing is kept"
