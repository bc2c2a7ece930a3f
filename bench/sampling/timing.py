"""Time on a device."""

from __future__ import annotations

import time

import torch


def now_on(device: torch.device) -> float:
    """Seconds of a monotonic clock, read when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
