"""What the one sampling loop and the guidance cost in time; run by name, since it measures and needs a quiet machine.

    pytest -s tests/benchmarks/sampling.py

The two things of a pair run in turn, each of them first in every other round, so that a machine that slows down slows
both; the ratio of their medians is printed and kept in `extra_info`. No time is asserted, equality is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from pytest_benchmark.fixture import BenchmarkFixture

from bench.config.build import build_method
from bench.core.plugins import names
from bench.data import load_data
from bench.engine.resources import Resources
from bench.models import load_model
from bench.models.unet import PixelUNet
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, draw_noise, generators, sample_batch

N, ROUNDS = 50, 9
STEPS = Sampler("ddim", 5)
BATCH = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), N)


@pytest.fixture(scope="module")
def faces() -> Task:
    """The embedded model, with 200 labelled faces to learn from."""
    model, data = load_model("avatars-unet"), load_data("avatars-labelled", 200)
    glasses = data.attributes[0]
    return Task(model, (glasses,), np.array([0.5, 0.5]), STEPS.timesteps(model), data, Resources().guide)


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
def test_the_loop(benchmark: BenchmarkFixture, faces: Task) -> None:
    model = faces.model
    assert isinstance(model, PixelUNet)
    guided = build_method("vanilla", {}).build(faces, 0)

    def bare() -> torch.Tensor:
        """As a user of diffusers would have it; from the same noise."""
        scheduler = DDIMScheduler(**model.scheduler_config)
        scheduler.set_timesteps(STEPS.steps)
        x = draw_noise(generators(0, BATCH.index), model)
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = scheduler.step(model.unet(x, t, class_labels=BATCH.condition).sample, t, x).prev_sample
        return x

    def ours() -> torch.Tensor:
        return sample_batch(model, guided.denoise, STEPS, BATCH, 0)

    assert torch.allclose(ours(), bare(), atol=1e-4)
    compare(benchmark, "loop / bare loop", ours, bare)


def sampling_methods() -> list[str]:
    """Every method that acts while sampling, but the plain one."""
    found = {name: build_method(name, {}) for name in names("method")}
    return [name for name, method in found.items() if method.traits.stage == "sampling" and name != "vanilla"]


@pytest.mark.benchmark(group="bf16 with weights cast once against autocast, and against fp32, on this CPU")
@pytest.mark.parametrize("rows", [1, N])
@pytest.mark.parametrize("other", ["autocast", "fp32"])
def test_bf16(benchmark: BenchmarkFixture, rows: int, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("avatars-unet")
    denoise = build_method("vanilla", {}).build(Task(model, (), np.array([]), ()), 0).denoise
    half, whole = Sampler("ddim", STEPS.steps, precision="bf16"), STEPS
    batch = Batch(torch.arange(rows), torch.zeros(rows, dtype=torch.long), rows)

    def autocast_alone() -> torch.Tensor:
        with monkeypatch.context() as m:
            m.setattr("bench.sampling.loop.cast_weights", lambda _network: nullcontext())
            return sample_batch(model, denoise, half, batch, 0)

    if other == "autocast":
        assert torch.equal(sample_batch(model, denoise, half, batch, 0), autocast_alone())
    theirs = autocast_alone if other == "autocast" else lambda: sample_batch(model, denoise, whole, batch, 0)
    compare(benchmark, f"bf16, {rows} rows, {other}", lambda: sample_batch(model, denoise, half, batch, 0), theirs)


@pytest.mark.benchmark(group="a step of each method against vanilla's, its fit excluded")
@pytest.mark.parametrize("name", sampling_methods())
def test_a_method(benchmark: BenchmarkFixture, faces: Task, name: str) -> None:
    plain = build_method("vanilla", {}).build(faces, 0)
    guided = build_method(name, {}).build(faces, 0)
    benchmark.extra_info["fit_seconds"] = guided.cost.seconds

    def run(denoise: Callable[..., torch.Tensor]) -> torch.Tensor:
        return sample_batch(faces.model, denoise, STEPS, BATCH, 0)

    assert not torch.equal(run(guided.denoise), run(plain.denoise))
    compare(benchmark, f"{name} / vanilla", lambda: run(guided.denoise), lambda: run(plain.denoise))
    print(f"fit: {guided.cost.seconds:.2f} s")
