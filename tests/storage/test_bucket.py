"""A store that is the copy of a bucket: machines that share nothing else get the same entries, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine import scoring, worker
from bench.engine.options import Options
from bench.storage import files
from bench.storage.bucket import LINK, Bucket
from bench.storage.files import MANIFEST, has_arrays, read_arrays, read_note, remember, write_arrays
from bench.storage.store import Store
from tests.support.runs import Call, caller, refusal
from tests.support.small import small_suite

ARRAYS = {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2), "assigned_class": np.array([0, 1])}
TABLES = ("results.csv", "leaderboard.csv", "costs.csv")  # seconds too: they stand beside the samples in the bucket


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/there"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """One method that fits and one that does not, on few faces."""
    return small_suite(
        tmp_path, n=12, guidance_batch=4, sampler={"steps": 2}, tasks=[{"attributes": ["eyeglasses"]}],
        methods=[{"name": "vanilla"}, {"name": "sample_guidance", "with": {"labels_per_class": 4}}],
        data={"few": {"name": "avatars-heldout", "n": 80}}, labelled="few",
    )  # fmt: skip


@pytest.fixture(params=["memory", "file"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The stores of two machines, both copies of one bucket."""
    place = f"{request.param}://{tmp_path}/bucket"
    stores = tmp_path / "one" / "store", tmp_path / "two" / "store"
    for store in stores:
        Store(store).join(place)
    return stores


def there(store: Path) -> Path:
    """The folder of a bucket that is one."""
    bucket = Bucket.of(store / LINK)
    assert bucket is not None
    return Path(bucket.url.removeprefix("file://"))


def test_what_one_machine_writes_the_other_reads(machines: tuple[Path, Path]) -> None:
    one, two = (store / "samples" / "ab" / "entry" for store in machines)
    assert not has_arrays(two)
    assert read_arrays(two) is None
    write_arrays(one, ARRAYS, {"seconds": 1.5})
    assert has_arrays(two)
    assert read_note(two) == {"seconds": 1.5}
    assert not two.exists(), "neither question fetches the arrays"
    found = read_arrays(two)
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert sorted(p.name for p in two.iterdir()) == ["assigned_class.npy", "images.npy", MANIFEST]


def test_what_is_fitted_is_fitted_once(machines: tuple[Path, Path]) -> None:
    made: list[int] = []

    def make() -> tuple[dict[str, Any], dict[str, Any]]:
        made.append(1)
        return {"weights": np.ones(3)}, {"calls": 9}

    for store in (*machines, *machines):
        arrays, note = remember(store / "fits" / "adp-1", make)
        assert (arrays["weights"].tolist(), note) == ([1.0, 1.0, 1.0], {"calls": 9})
    assert made == [1]


def test_scores_travel(machines: tuple[Path, Path]) -> None:
    one, two = map(Store, machines)
    assert two.read_scores("ab" * 32) is None
    one.write_scores("ab" * 32, [{"metric": "fd", "value": 0.25}])
    assert two.read_scores("ab" * 32) == [{"metric": "fd", "value": 0.25}]


def cut(folder: Path) -> None:
    data = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(data[:-1])


def flip(folder: Path) -> None:
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "images.npy").write_bytes(bytes(data))


def escape(folder: Path) -> None:
    """A manifest that would have a file written beside the entry; its array is there to be fetched."""
    shutil.copy(folder / "assigned_class.npy", folder.parent / "outside.npy")
    sums = json.loads((folder / MANIFEST).read_text())["sha256"]
    (folder / MANIFEST).write_text(json.dumps({"sha256": {"../outside": sums["assigned_class"]}, "note": {}}))


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        flip,
        escape,
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text("[]"),
    ],
)
def test_what_is_damaged_there_is_absent_and_made_again(harm: Callable[[Path], None], url: str, tmp_path: Path) -> None:
    one, two, three = (tmp_path / name / "store" for name in ("one", "two", "three"))
    for store in (one, two, three):
        Store(store).join(url)
    write_arrays(one / "samples" / "entry", ARRAYS)
    harm(there(one) / "samples" / "entry")
    entry = two / "samples" / "entry"
    assert Store(two).read(entry) is None
    assert not entry.exists()
    assert not (two / "samples" / "outside.npy").exists()
    write_arrays(entry, ARRAYS)
    assert read_arrays(three / "samples" / "entry") is not None, "the bucket's is whole again"


def test_what_is_damaged_here_is_fetched_again(machines: tuple[Path, Path]) -> None:
    one = machines[0] / "samples" / "entry"
    write_arrays(one, ARRAYS)
    cut(one)
    found = read_arrays(one)
    assert found is not None
    np.testing.assert_array_equal(found["images"], ARRAYS["images"])


def test_what_is_here_is_there(machines: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that fails at the manifest leaves nothing here, so that another run makes and sends the entry."""
    entry, send = machines[0] / "samples" / "entry", Bucket.send

    def failing(self: Bucket, path: Path, data: bytes | Path) -> None:
        if path.name == MANIFEST:
            raise ConfigError("the bucket failed")
        send(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "send", failing)
        with pytest.raises(ConfigError, match="the bucket failed"):
            write_arrays(entry, ARRAYS)
    assert not has_arrays(entry)
    assert list(entry.parent.iterdir()) == []
    write_arrays(entry, ARRAYS)
    assert has_arrays(machines[1] / "samples" / "entry")


def test_without_a_link_no_bucket_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "_call", lambda *_: pytest.fail("asked"))
    write_arrays(tmp_path / "store" / "entry", ARRAYS)
    assert read_arrays(tmp_path / "store" / "entry") is not None
    assert read_arrays(tmp_path / "store" / "other") is None


def test_a_store_that_has_entries_sends_them_when_it_joins(url: str, tmp_path: Path) -> None:
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    write_arrays(one.root / "fits" / "012" / "adp-1", ARRAYS)
    one.write_scores("cd" * 32, [{"value": 1}])
    one.join(url)
    one.join(url)
    two.join(url)
    assert read_arrays(two.root / "fits" / "012" / "adp-1") is not None
    assert two.read_scores("cd" * 32) == [{"value": 1}]
    assert [p.name for p in there(one.root).iterdir() if p.name.startswith(".")] == [], "the probe is gone"


def test_a_join_that_was_cut_short_sends_the_rest(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, send = Store(tmp_path / "one"), Bucket.send
    for k in range(3):
        write_arrays(one.root / "samples" / f"entry{k}", ARRAYS)

    def failing(self: Bucket, path: Path, data: bytes | Path) -> None:
        if path.parent.name == "entry1":
            raise ConfigError("the bucket failed")
        send(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "send", failing)
        with pytest.raises(ConfigError):
            one.join(url)
    one.join(url)
    two = Store(tmp_path / "two")
    two.join(url)
    assert all(has_arrays(two.root / "samples" / f"entry{k}") for k in range(3))


def test_the_second_machine_draws_and_classifies_nothing(
    call: Call, suite: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are those of the first, seconds included, and its readers find what they need in the bucket."""
    code, _, said = call("run", suite, "--out", tmp_path / "one", "--workers", "1", "--bucket", url)
    assert code == 0, said
    for place, name in ((worker, "draw"), (scoring, "score"), (Store, "write")):
        monkeypatch.setattr(place, name, lambda *_, name=name: pytest.fail(name))
    assert not run(read_suite(str(suite)), Options(tmp_path / "two", workers=1, bucket=url)).problems
    for name in TABLES:
        assert (tmp_path / "two" / "small" / name).read_bytes() == (tmp_path / "one" / "small" / name).read_bytes()
    shutil.rmtree(tmp_path / "two" / "store" / "samples")
    shutil.rmtree(tmp_path / "two" / "store" / "features")
    code, _, said = call("run", suite, "--out", tmp_path / "two", "--workers", "1")
    assert code == 0, said
    assert "nothing to do" in said, "what the bucket has is not fetched to be told so"
    code, _, said = call("plot", tmp_path / "two" / "small")
    assert code == 0, said
    assert list((tmp_path / "two" / "store" / "samples").rglob("images.npy"))


def test_ray_workers_send_what_they_make(call: Call, suite: Path, url: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    asked = ("run", suite, "--executor", "ray", "--workers", "2", "--bucket", url)
    code, _, said = call(*asked, "--out", tmp_path / "one")
    assert code == 0, said
    assert not [p for p in Path(url.removeprefix("file://")).rglob(".*") if p.is_file()]
    shutil.rmtree(tmp_path / "one" / "store")
    code, _, said = call("run", suite, "--out", tmp_path / "two", "--bucket", url, "--workers", "1")
    assert code == 0, said
    for name in TABLES:
        assert (tmp_path / "two" / "small" / name).read_bytes() == (tmp_path / "one" / "small" / name).read_bytes()


def test_a_worker_on_another_machine_joins_before_it_works(url: str, tmp_path: Path) -> None:
    ray = pytest.importorskip("bench.engine.executors.ray", reason="the extra `ray` is not installed")
    driver, worker = tmp_path / "driver" / "store", tmp_path / "worker" / "store"
    Store(driver).join(url)
    files.write_shared(driver / "probe", b"")
    assert not ray._sees(worker, "probe", None)
    assert ray._sees(worker, "probe", url)
    write_arrays(worker / "samples" / "entry", ARRAYS)
    assert has_arrays(driver / "samples" / "entry")


@pytest.mark.parametrize(
    ("bucket", "sentence"),
    [
        ("there", "the bucket there failed: it must be a URL such as s3://bucket/folder"),
        ("nosuch://there", "the bucket nosuch://there failed: Protocol not known: nosuch"),
        ("file:///proc/there", "the bucket file:///proc/there failed: "),
    ],
)
def test_a_bucket_that_cannot_be_used(call: Call, suite: Path, bucket: str, sentence: str, tmp_path: Path) -> None:
    said = refusal(call("run", suite, "--out", tmp_path / "out", "--bucket", bucket))
    assert said.startswith(f"error: {sentence}")
    assert not (tmp_path / "out" / "small" / "results.csv").exists()


def test_a_store_is_the_copy_of_one_bucket(call: Call, suite: Path, url: str, tmp_path: Path) -> None:
    Store(tmp_path / "out" / "store").join(url)
    said = refusal(call("run", suite, "--out", tmp_path / "out", "--bucket", f"{url}-other"))
    assert f"is a copy of {url}, not of {url}-other; give another folder with --out" in said
    (tmp_path / "out" / "store" / LINK).write_text("{}")
    said = refusal(call("run", suite, "--out", tmp_path / "out"))
    assert "remove it, and name the bucket again with --bucket" in said


def test_a_bucket_that_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    monkeypatch.setattr(type(system), "cat_file", lambda *_, **__: b"")
    with pytest.raises(ConfigError, match="must return the bytes that were written"):
        Store(tmp_path).join("memory://forgets")
    assert not (tmp_path / LINK).exists()
