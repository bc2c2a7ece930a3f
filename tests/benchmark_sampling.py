"""What the one sampling loop and the guidance cost in time; run by name, since it measures and needs a quiet machine.

    pytest -s tests/benchmark_sampling.py

The two things of a pair run in turn, each of them first in every other round, so that a machine that slows down slows
both; the ratio of their medians is printed and kept in `extra_info`. No time is asserted, equality is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data.base import LabelledImages
from bench.models.mixture import SCHEDULER
from bench.models.unet import PixelUNet
from bench.sampling import Sampler, draw_noise, generators, sample_batch
from methods.base import Batch, Task
from methods.distribution_guidance import Method as DistributionGuidance
from methods.vanilla import Method as Vanilla
from tests.mixtures import GROUP

CONFIG = {**SCHEDULER, "prediction_type": "v_prediction"}
N, ROUNDS = 50, 9
STEPS = Sampler("ddim", 5)
BATCH = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), N)


@pytest.fixture(scope="module")
def task() -> Task:
    """Images of 32 x 32 as 16 x 16 blocks, random weights, and 200 bright and dark images to learn from."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=12,
        out_channels=12,
        block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
    )
    unet = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    model = PixelUNet(unet, CONFIG, digest="benchmark")
    rng = np.random.default_rng(0)
    labels = np.arange(200)[:, None] % 2
    images = (rng.integers(0, 100, size=(200, 3, 32, 32)) + 150 * labels[:, :, None, None]).astype(np.uint8)
    faces = LabelledImages("made", images, labels, (GROUP,), np.full(2, 0.5), "benchmark")
    return Task(model, (GROUP,), np.array([0.5, 0.5]), STEPS.timesteps(model), faces)


def compare(benchmark: BenchmarkFixture, name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Time `ours` and `theirs` in turn, and keep the ratio of their medians, of the clock's and of processor time."""
    order = [("ours", ours), ("theirs", theirs)]
    clock: dict[str, list[float]] = {"ours": [], "theirs": []}
    busy: dict[str, list[float]] = {"ours": [], "theirs": []}

    def pair() -> None:
        order.reverse()
        for key, run in order:
            start, start_busy = time.perf_counter(), time.process_time()
            run()
            clock[key].append(time.perf_counter() - start)
            busy[key].append(time.process_time() - start_busy)

    benchmark.pedantic(pair, rounds=ROUNDS, iterations=1, warmup_rounds=1)
    step = {key: statistics.median(times[1:]) / STEPS.steps for key, times in clock.items()}
    ratio, busy_ratio = (
        statistics.median(times["ours"][1:]) / statistics.median(times["theirs"][1:]) for times in (clock, busy)
    )
    benchmark.extra_info.update(ratio=ratio, processor_ratio=busy_ratio, step_seconds=step)
    print(
        f"\n{name}: {step['ours']:.3f} / {step['theirs']:.3f} s a step, ratio {ratio:.3f}, processor {busy_ratio:.3f}"
    )


@pytest.mark.benchmark(group="the sampling loop against a bare loop over diffusers")
def test_the_loop(benchmark: BenchmarkFixture, task: Task) -> None:
    model = task.model
    assert isinstance(model, PixelUNet)
    guided = Vanilla().build(task, 0)

    def bare() -> torch.Tensor:
        """On blocks from start to end, as a user of diffusers would have it; from the same noise."""
        scheduler = DDIMScheduler(**CONFIG)
        scheduler.set_timesteps(STEPS.steps)
        x = torch.nn.functional.pixel_unshuffle(draw_noise(generators(0, BATCH.index), model), model.block)
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = scheduler.step(model.unet(x, t).sample, t, x).prev_sample
        return torch.nn.functional.pixel_shuffle(x, model.block)

    def ours() -> torch.Tensor:
        return sample_batch(model, guided.denoise, STEPS, BATCH, 0)

    assert torch.allclose(ours(), bare(), atol=1e-4)
    compare(benchmark, "loop / bare loop", ours, bare)


@pytest.mark.benchmark(group="distribution guidance against vanilla, its fit excluded")
def test_distribution_guidance(benchmark: BenchmarkFixture, task: Task) -> None:
    plain = Vanilla().build(task, 0)
    guided = DistributionGuidance().build(task, 0)
    benchmark.extra_info["fit_seconds"] = guided.cost.seconds

    def run(denoise: Callable[..., torch.Tensor]) -> torch.Tensor:
        return sample_batch(task.model, denoise, STEPS, BATCH, 0)

    assert not torch.equal(run(guided.denoise), run(plain.denoise))
    compare(benchmark, "distribution guidance / vanilla", lambda: run(guided.denoise), lambda: run(plain.denoise))
    print(f"fit of the ADP on {len(task.labelled or ())} images: {guided.cost.seconds:.2f} s")
