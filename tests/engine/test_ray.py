"""Runs on a real local Ray cluster: the same tables, and no job lost with its worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine.executors.cluster import Cluster
from bench.engine.jobs import Job
from bench.engine.options import Options
from tests.support.ray_jobs import add, die, die_once, hang, refuse
from tests.support.runs import Call, caller, refusal
from tests.support.small import small_suite

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
TABLES = ("results.csv", "leaderboard.csv")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def cluster(folder: Path, **changes: object) -> Cluster:
    fields = {"address": None, "workers": 2, "cpus": 1.0, "gpus": 0.0, "memory_gib": None}
    return Cluster(**{**fields, "shared": folder, **changes})  # type: ignore[arg-type]


def run_jobs(jobs: list[Job], where: Cluster, seconds: float | None = None) -> list[Job]:
    from bench.engine.executors.ray import run_jobs

    ended: list[Job] = []
    run_jobs(jobs, where, ended.append, seconds)
    assert not ray.is_initialized()
    return ended


def test_the_same_tables_as_local_workers_make(call: Call, tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    assert not run(read_suite(str(suite)), Options(tmp_path / "local", workers=1)).problems
    code, _, said = call("run", suite, "--executor", "ray", "--workers", "2", "--out", tmp_path / "ray")
    assert code == 0, said
    for name in TABLES:
        assert (tmp_path / "ray" / "small" / name).read_bytes() == (tmp_path / "local" / "small" / name).read_bytes()
    assert not list((tmp_path / "ray").rglob(".seen-*"))


def test_a_poison_job_ends_as_failed_and_the_others_go_on(tmp_path: Path) -> None:
    poison, once, first = Job(die, (tmp_path / "died",)), Job(die_once, (tmp_path / "once",)), Job(add, (1, 2))
    after, behind, refused = Job(add, (3, 4), (first,)), Job(add, (5, 6), (poison,)), Job(refuse, ())
    jobs = [poison, once, first, after, behind, refused]
    ended = run_jobs(jobs, cluster(tmp_path))
    assert sorted(map(id, ended)) == sorted(map(id, jobs)), "each ends once"
    assert (poison.status, (tmp_path / "died").read_text()) == ("failed", "died\n" * 3)
    assert "cost 3 workers" in poison.reason
    assert "\n" not in poison.reason
    assert (once.status, once.result) == ("ok", "lived")
    assert (after.status, after.result) == ("ok", 7)
    assert (behind.status, behind.reason) == ("failed", poison.reason)
    assert (refused.status, refused.reason) == ("failed", "no")


def test_a_job_that_hangs_is_given_up(tmp_path: Path) -> None:
    late, other = Job(hang, (tmp_path / "hung",)), Job(add, (1, 2))
    run_jobs([late, other], cluster(tmp_path, workers=1), 6.0)
    assert (late.status, (tmp_path / "hung").read_text()) == ("failed", "hung\n" * 3)
    assert "longer than 6 seconds" in late.reason
    assert (other.status, other.result) == ("ok", 3)


def test_a_folder_that_a_worker_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.executors.ray.write_shared", lambda *_: None)  # the probe is written elsewhere
    with pytest.raises(ConfigError, match=r"does not see .*give --out a folder that all machines share"):
        run_jobs([Job(add, (1, 2))], cluster(tmp_path, workers=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--executor", "rya"), "unknown executor 'rya'; did you mean 'ray'"),
        (("--gpus", "1"), "--gpus is for --executor ray"),
        (("--executor", "ray", "--cpus", "-1"), "--cpus must be at least 0, got -1"),
        (
            ("--executor", "ray", "--job-timeout", "nan"),
            "--job-timeout must be more than 0, and without --ranks, got nan",
        ),
        (("--job-timeout", "0"), "--job-timeout must be more than 0"),
        (("--job-timeout", "9", "--ranks", "2"), "--job-timeout must be more than 0, and without --ranks"),
        (
            ("--executor", "ray", "--out", "s3://bucket/runs"),
            "--out must be a folder of this machine, got s3:/bucket/runs; name a bucket",
        ),
        (("--out", "s3://bucket/runs"), "got s3:/bucket/runs; name a bucket that machines share with --bucket"),
        (("--out", "memory://runs"), "--out must be a folder of this machine"),
        (("--executor", "ray", "--workers", "0"), "--workers must be at least 1"),
        (("--executor", "ray", "--address", "127.0.0.1:1"), "no Ray cluster at 127.0.0.1:1"),
        (("--executor", "ray", "--address", "cluster"), "--address must be HOST:PORT or auto, got 'cluster'"),
    ],
)
def test_refused_in_one_sentence(
    options: tuple[str, ...], sentence: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refusal(call("run", small_suite(tmp_path), *options))


def test_ray_is_asked_for_only_with_its_executor(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refusal(call("run", small_suite(tmp_path), "--executor", "ray", "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert "pip install 'fairdiff-bench[ray]'" in said
