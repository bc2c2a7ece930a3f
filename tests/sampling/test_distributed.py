"""One guidance batch over several gloo processes: the samples of one process, and one sentence when a rank is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config.suite import read_suite
from bench.core.errors import ConfigError, Incompatible
from bench.engine.executors.distributed import run_jobs
from bench.engine.jobs import Job
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.engine.worker import draw
from bench.protocols.method import Traits
from bench.sampling.distributed import ProcessGroup
from bench.storage.store import Store
from tests.support.rank_jobs import METHODS, die, discrepancy, diverge, drawn, stop, sums
from tests.support.runs import Call, caller, refusal
from tests.support.small import small_suite

SETS = list(torch.arange(33 + 3).split(33))  # the second guidance batch is smaller than four ranks


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def on(count: int, *jobs: Job, seconds: float = 600.0) -> list[Job]:
    """Jobs that ended on a group of so many ranks."""
    ended: list[Job] = []
    run_jobs(list(jobs), count, "cpu", ended.append, seconds)
    return ended


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    return drawn(None, list(METHODS), SETS, 33, {})


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_draw_the_samples_of_one_process(count: int, whole: dict[str, np.ndarray]) -> None:
    """33 rows in compute batches of 8: a rank with 9 of them looks twice where the others look once."""
    (job,) = on(count, Job(drawn, (list(METHODS), SETS, 8, {}), together=True))
    assert job.status == "ok", job.reason
    for title, x in whole.items():
        np.testing.assert_allclose(job.result[title], x, rtol=0, atol=1e-6, err_msg=title)  # float32 ADPs


def test_four_ranks_of_16_have_the_discrepancy_of_one_batch_of_64_and_16_alone_has_not() -> None:
    (job,) = on(4, Job(discrepancy, (64,), together=True))
    assert job.result == pytest.approx(discrepancy(None, 64), rel=1e-9)
    assert job.result != pytest.approx(discrepancy(None, 16), rel=0.05)


def test_a_group_sums_and_goes_on_after_a_job_that_failed_on_one_rank() -> None:
    good, bad, behind, last = (
        Job(sums, (None, 0), together=True),
        Job(sums, (diverge, 2), together=True),
        Job(sums, (None, 0)),
        Job(sums, (None, 0), together=True),
    )
    behind.after = (bad,)
    assert on(3, good, bad, behind, last) == [good, bad, behind, last]
    assert (good.status, good.result) == ("ok", 3.0**10)
    assert (bad.status, bad.reason) == (behind.status, behind.reason) == ("failed", "the denoiser returned NaN")
    assert (last.status, last.result) == ("ok", 3.0**10)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [(die, r"^rank 1 died \(exit code -9\)"), (stop, r"^a rank died or did not answer, .* at a sum over the guidance")],
)
def test_a_rank_that_is_lost_ends_the_run_in_one_sentence(trouble: Callable[[], None], said: str) -> None:
    """And soon: nothing here waits for longer than the group's three seconds and the driver's two."""
    with pytest.raises(ConfigError, match=said) as error:
        on(3, Job(sums, (trouble, 1), together=True), seconds=3.0)
    assert "run the same command again to go on from here" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_method_that_couples_its_batch_otherwise_is_refused_under_several_ranks() -> None:
    paper = Traits(paper="none", stage="sampling", couples_batch=True)
    with pytest.raises(Incompatible, match=r"method odd couples .* 4 ranks would each .* run it without --ranks"):
        ProcessGroup(0, 4).check("odd", paper)
    ProcessGroup().check("odd", paper)
    ProcessGroup(0, 4).check("plain", Traits(paper="none", stage="sampling"))


def test_a_suite_on_two_ranks_leaves_the_shards_of_one_process(call: Call, tmp_path: Path) -> None:
    method = {"name": "distribution_guidance", "with": {"labels_per_class": 20}}
    suite = small_suite(tmp_path, n=15, tasks=[{"attributes": ["eyeglasses"]}], methods=[method])
    code, _, said = call("run", suite, "--ranks", "2", "--compute-batch", "5", "--out", tmp_path / "out")
    assert code == 0, said
    plan = preflight(read_suite(str(suite)), Options(tmp_path / "out"))
    (job,) = plan.jobs
    store = Store(job.store)
    for index, size in job.shards():
        arrays, note = draw(plan.resources, job, index, size)
        folder = store.shard(job.sample_key, index, size)
        kept, kept_note = store.read(folder), store.note(folder)
        assert kept is not None
        assert {k: (a.shape, a.dtype) for k, a in kept.items()} == {k: (a.shape, a.dtype) for k, a in arrays.items()}
        off = np.abs(kept["images"].astype(int) - arrays["images"].astype(int))
        assert off.max() <= 1  # a network's last bits differ with its number of rows
        assert kept_note.pop("seconds") > 0
        assert note.pop("seconds") > 0
        assert kept_note == note


@pytest.mark.parametrize(
    "options", [("--ranks", "0"), ("--ranks", "2", "--workers", "2"), ("--ranks", "2", "--executor", "ray")]
)
def test_ranks_that_cannot_be_are_refused(call: Call, tmp_path: Path, options: tuple[str, ...]) -> None:
    said = refusal(call("run", small_suite(tmp_path), *options, "--out", tmp_path / "out"))
    assert "--ranks must be at least 1, without --workers or --executor ray" in said
    assert not (tmp_path / "out").exists()
