"""Peak memory, of the process and of the device."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

import torch

MIB = 2**20


def reset_peaks(device: torch.device) -> None:
    """Let the peaks begin anew, where the system lets them; on others the process's is of its whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> float:
    """The process's high-water mark of resident memory, in MiB: Python, its libraries and the model among it."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024 / MIB
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def peak_device(device: torch.device) -> float | None:
    """The most that tensors have held of the accelerator's memory, in MiB; None where it is not CUDA."""
    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None
