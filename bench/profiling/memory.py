"""Measure the peak memory of the process and of the device."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

import torch

MIB = 2**20


def reset_peaks(device: torch.device) -> None:
    """Reset both peaks. Systems other than Linux cannot reset the process's peak, which then covers its whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> float:
    """Return the process's peak resident memory in MiB, including Python, its libraries and the model."""
    try:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        peak = None
    if peak:
        return int(peak[1]) * 1024 / MIB
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def peak_device(device: torch.device) -> float | None:
    """Return the peak memory of tensors on the accelerator in MiB; None where it is not CUDA."""
    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None
