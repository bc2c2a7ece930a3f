"""How true the memory estimate is: the bytes told beside those that a process took; run by name, a minute.

    pytest -s tests/benchmarks/memory_estimate.py

Taken is the growth of RssAnon over a call, sampled every millisecond, in a fresh process that has called the model.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline
from pytest_benchmark.fixture import BenchmarkFixture

from bench.estimate.memory import estimate_memory
from bench.models import load_model
from tests.benchmarks.memory import ROOT, anonymous
from tests.models.test_pipelines_text import stable_diffusion
from tests.support.pipelines import ddim_scheduler, tiny_unet

MIB = 2**20
CASES = ("avatars-unet", "ddpm", "stable_diffusion")
ROWS = {"avatars-unet": 64, "ddpm": 16, "stable_diffusion": 16}


def saved(folder: Path) -> None:
    """Two pipelines whose activations are large beside a page of memory."""
    wide = {"sample_size": 64, "block_out_channels": (32, 64), "norm_num_groups": 8, "attention_head_dim": 8}
    DDPMPipeline(tiny_unet(**wide), ddim_scheduler()).save_pretrained(folder / "ddpm")
    stable_diffusion(folder / "stable_diffusion", sample_size=32)


def model_of(folder: Path, case: str) -> Any:
    if case == "avatars-unet":
        return load_model(case)
    if case == "ddpm":
        return load_model(f"path:{folder / case}")
    return load_model(f"path:{folder / case / 'saved'}", fields={"prompts": {"none": "a cat"}, "decode_batch": 16})


def grown(call: Callable[[], Any]) -> int:
    """Bytes of anonymous memory that a call takes at most."""
    peak, done, before = 0, threading.Event(), anonymous()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return (peak - before) * 1024


def measure(folder: Path, case: str, what: str) -> None:
    """Print the bytes told and taken."""
    torch.set_num_threads(1)
    model, rows, gradient = model_of(folder, case), ROWS[case], what == "backward"
    estimate = estimate_memory(model, gradient)  # which calls the model for the first time
    x = torch.randn(rows, *model.shape, requires_grad=gradient)
    t = torch.full((rows,), 500)

    def denoise() -> None:
        with torch.set_grad_enabled(gradient):
            out = model.denoise(x, t, torch.zeros_like(t))
            if gradient:
                torch.autograd.grad(out.sum(), x)

    if what == "decode":
        print(16 * estimate.image, grown(lambda: model.decode(x)))
    else:
        print(rows * estimate.row, grown(denoise))


@pytest.mark.benchmark(group="the memory estimate")
def test_estimate(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    saved(tmp_path)

    def every() -> dict[str, float]:
        found = {}
        for case in CASES:
            for what in ("forward", "backward", "decode")[: 3 if case == "stable_diffusion" else 2]:
                command = [sys.executable, "-m", "tests.benchmarks.memory_estimate", str(tmp_path), case, what]
                out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
                told, taken = (int(value) / MIB for value in out[-2:])
                found[f"{case} {what}"] = taken / told
                print(f"\n{case}, {what}: told {told:.0f} MiB, taken {taken:.0f} MiB, ratio {taken / told:.2f}")
                time.sleep(0.1)
        return found

    ratios = benchmark.pedantic(every, rounds=1, iterations=1)
    benchmark.extra_info.update(ratios)


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
