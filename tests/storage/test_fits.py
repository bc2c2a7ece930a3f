"""The cache of methods: an entry is made once per key, shipped entries come first, checkpoints survive a failure."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.core.digest import digest_of
from bench.protocols.cache import Arrays, NoCache, Note
from bench.storage.fits import FitCache

KEY = ["adp 2", (999, 0), "model digest"]


def make() -> tuple[Arrays, Note]:
    return {"weight": np.arange(3.0)}, {"cost": {"seconds": 1.5}, "timesteps": (999, 0)}


def refuse() -> tuple[Arrays, Note]:
    raise AssertionError("the entry was made again")


def test_an_entry_is_made_once_per_key_and_records_what_made_it(tmp_path: Path) -> None:
    cache = FitCache(tmp_path)
    for maker in (make, refuse):
        arrays, note = cache.get("adp", KEY, maker)
        assert arrays["weight"].tolist() == [0, 1, 2]
        assert note["cost"] == {"seconds": 1.5}
        assert note["key"] == digest_of(KEY)
        assert note["recipe"] == ["adp 2", [999, 0], "model digest"]
        assert "torch" in note["made_with"]["versions"]
    for name, key in (("adp", [*KEY, 1]), ("unguided", KEY)):
        with pytest.raises(AssertionError, match="made again"):
            cache.get(name, key, refuse)


def test_a_shipped_entry_is_used_under_any_folder_name(tmp_path: Path) -> None:
    FitCache(tmp_path / "store").get("adp", KEY, make)
    (entry,) = (path for path in (tmp_path / "store").glob("*/*") if path.is_dir())
    shutil.copytree(entry, tmp_path / "shipped" / "adp" / "faces")
    (tmp_path / "shipped" / "adp" / "not an entry").mkdir()
    cache = FitCache(tmp_path / "new", shipped=tmp_path / "shipped")
    arrays, note = cache.get("adp", KEY, refuse)
    assert arrays["weight"].tolist() == [0, 1, 2]
    assert note["key"] == digest_of(KEY)
    assert not (tmp_path / "new").exists()
    with pytest.raises(AssertionError, match="made again"):
        cache.get("adp", [*KEY, 1], refuse)


def test_a_checkpoint_survives_a_failure_and_goes_when_the_training_is_done(tmp_path: Path) -> None:
    cache = FitCache(tmp_path)

    def interrupted() -> None:
        with cache.checkpoint("reweighting", KEY) as checkpoint:
            assert checkpoint.read() is None
            checkpoint.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with cache.checkpoint("reweighting", KEY) as checkpoint:
        assert checkpoint.read() == b"half"
        assert str(checkpoint).endswith(".checkpoint.pt")
    with cache.checkpoint("reweighting", KEY) as checkpoint:
        assert checkpoint.read() is None


def test_without_a_store_every_entry_is_made_again_and_reads_the_same() -> None:
    cache = NoCache()
    for _ in range(2):
        arrays, note = cache.get("adp", KEY, make)
        assert arrays["weight"].tolist() == [0, 1, 2]
        assert note["timesteps"] == [999, 0], "as JSON reads it back"
    with pytest.raises(AssertionError, match="made again"):
        cache.get("adp", KEY, refuse)
    with cache.checkpoint("adp", KEY) as checkpoint:
        checkpoint.write(b"half")
        assert checkpoint.read() == b"half"
