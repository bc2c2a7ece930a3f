"""The CPUs that this process may use, which on a shared machine are fewer than it has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


def usable_cpus(
    environment: Mapping[str, str] = os.environ, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    It is the least of the CPUs of its affinity mask, of the quota of its control group (a container's limit) and of
    its SLURM allocation.

    Args:
        environment: the environment variables.
        cgroups: where control groups are mounted.
        membership: the file that names this process's groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allocation = next((int(v) for v in map(environment.get, SLURM) if v is not None and v.isdigit()), affinity)
    return max(1, int(min([affinity, allocation, *_quotas(cgroups, membership)])))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """Yield the quota, in CPUs, of every control group of this process that has one, with those above it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, group = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            mount = cgroups
        elif "cpu" in controllers.split(","):
            mount = cgroups / "cpu"
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for folder in (path, *path.parents):
            yield from _quota(mount / folder)


def _quota(folder: Path) -> Iterator[float]:
    """Yield the quota of one control group, of version 2 or 1, if it has one."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):  # no such group here, or no quota
        return
