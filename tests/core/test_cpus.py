"""The number of usable CPUs: affinity, control groups of both versions, and SLURM."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.core.cpus import usable_cpus
from bench.engine.options import Options


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "0::/\n", 8),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 8),
        ({"cpu.max": "350000 100000\n"}, "0::/\n", 3),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 100000\n"}, "0::/job/step\n", 2),
        ({"cpu/box/cpu.cfs_quota_us": "500000", "cpu/box/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/box\n", 5),
        ({"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/box\n", 8),
    ],
)
def test_a_control_group_limits_the_cpus(tmp_path: Path, files: dict[str, str], membership: str, expected: int) -> None:
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    write(tmp_path / "membership", membership)
    assert usable_cpus({}, tmp_path / "groups", tmp_path / "membership") == expected


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "6"}, 4),
        ({"SLURM_CPUS_ON_NODE": "6"}, 6),
        ({"SLURM_CPUS_ON_NODE": "64"}, 8),
        ({"SLURM_CPUS_PER_TASK": "all"}, 8),
    ],
)
def test_slurm_limits_the_cpus(tmp_path: Path, environment: dict[str, str], expected: int) -> None:
    assert usable_cpus(environment, tmp_path, tmp_path / "none") == expected


def test_workers_default_to_the_usable_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.options.usable_cpus", lambda: 3)
    assert Options(tmp_path).local_workers == 3
    assert Options(tmp_path, workers=5).local_workers == 5
