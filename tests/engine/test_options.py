"""Options refuse what cannot run, in the words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import ConfigError
from bench.engine.options import Options

pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"compute_batch": 0}, "--compute-batch must be at least 1, got 0"),
        ({"processes": 0}, "--ranks must be at least 1, without --workers or --executor ray, got 0; see --help"),
        ({"processes": 2, "workers": 2}, "--ranks must be at least 1, without --workers"),
        ({"processes": 2, "executor": "ray"}, "--ranks must be at least 1, without --workers or --executor ray"),
        ({"job_seconds": -1.0}, "--job-timeout must be more than 0, and without --ranks, got -1; see --help"),
        ({"job_seconds": float("nan")}, "--job-timeout must be more than 0"),
        ({"job_seconds": 9.0, "processes": 2}, "--job-timeout must be more than 0, and without --ranks, got 9"),
        ({"executor": "slurm"}, "unknown executor 'slurm'"),
        ({"gpus": 0.5}, "--gpus is for --executor ray; the local executor has --workers"),
        ({"executor": "ray", "memory_gib": -1.0}, "--memory must be at least 0, got -1"),
        ({"out": Path("s3://bucket")}, "--out must be a folder of this machine"),
    ],
)
def test_options_that_cannot_run_are_refused(fields: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**{"out": Path("x"), **fields})
    assert sentence in str(caught.value)


def test_a_cluster_is_described_by_the_options() -> None:
    cluster = Options(Path("x"), workers=3, executor="ray", gpus=0.5).cluster
    assert cluster is not None
    assert (cluster.workers, cluster.cpus, cluster.gpus, cluster.memory_gib) == (3, 1.0, 0.5, None)
    assert cluster.shared == Path("x").absolute()
    assert Options(Path("x")).cluster is None
