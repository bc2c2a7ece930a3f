"""Seconds and peak memory of each metric over stored features; run by name, since it needs a quiet machine.

    pytest -s tests/benchmarks/metrics.py                                        # 5,000 and 50,000 samples, 1,280 wide
    FAIRDIFF_BENCHMARK=400,800,32 pytest -s tests/benchmarks/metrics.py          # a trial of the script itself

Printed is one row a metric: seconds with a fresh reference set, seconds with one it knows, and the growth of RssAnon
(sampled every 2 ms in a fresh process; memory-mapped pages are not in it) at both sizes. Nothing of it is asserted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import open_memmap
from pytest_benchmark.fixture import BenchmarkFixture

from bench.core.attributes import Attribute
from bench.core.plugins import ROOT, load, with_member
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample
from bench.storage.store import Rows

FEW, MANY, D = (int(v) for v in os.environ.get("FAIRDIFF_BENCHMARK", "5000,50000,1280").split(","))
SHARD = 500
METRICS = with_member("evaluator", "Evaluator")
GLASSES, HAT = Attribute("eyeglasses", ("no", "yes")), Attribute("hat", ("no", "yes"))


def write(folder: Path) -> None:
    """Features and probabilities of MANY samples in shards, and as many of a reference set."""
    rng = np.random.default_rng(0)
    scale = (np.arange(1, D + 1) ** -0.5).astype(np.float32)
    for name, shift in (("sample", 0.1), ("reference", 0.0)):
        for i, start in enumerate(range(0, MANY, SHARD)):
            n = min(SHARD, MANY - start)
            rows = open_memmap(folder / f"{name}-{i}.npy", "w+", np.float32, (n, D))
            rows[:] = rng.standard_normal((n, D), dtype=np.float32) * scale + np.float32(shift)
            np.save(folder / f"{name}-labels-{i}.npy", rng.integers(0, 2, (n, 2)))


def rows(folder: Path, name: str, n: int) -> Rows:
    parts = [np.load(folder / f"{name}-{i}.npy", mmap_mode="r") for i in range(-(-n // SHARD))]
    parts[-1] = parts[-1][: n - sum(len(p) for p in parts[:-1])]
    return Rows(parts)


def anonymous() -> int:
    """RssAnon of this process, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def measure(folder: Path, metric: str, n: int) -> None:
    """Evaluate n samples twice and print the peak growth of anonymous memory in kB and the seconds of both."""
    labels = rows(folder, "sample-labels", n)[:][:, 0]
    classified = {a.name: np.eye(2, dtype=np.float32)[labels] for a in (GLASSES, HAT)}
    real = rows(folder, "reference", MANY)
    known = rows(folder, "reference-labels", MANY)[:]
    sample = Sample(
        classified,
        {"f": rows(folder, "sample", n)},
        labels,
        confusion={GLASSES.name: np.array([[980, 20], [10, 990]])},
        detected={"f": np.ones(n)},
        other_classifiers={"second": classified},
        perceptual={"p": rows(folder, "sample", n)},
        paired_baseline=Sample(
            classified, {"f": rows(folder, "reference", n)}, labels, perceptual={"p": rows(folder, "reference", n)}
        ),
    )

    def part(start: int, stop: int) -> LabelledFeatures:
        return LabelledFeatures({"f": real[start:stop]}, known[start:stop])

    tenth = MANY // 10
    sets = Downstream((GLASSES, HAT), part(0, 2 * tenth), part(2 * tenth, 4 * tenth), part(4 * tenth, 5 * tenth))
    reference = Reference((GLASSES,), np.full(2, 0.5), {"f": {"real": real}}, {"real": known[:, :1]}, downstream=sets)
    evaluator = load("evaluator", metric, "Evaluator")()
    done, before, seconds = threading.Event(), anonymous(), []
    peak = before

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(2):
            start = time.perf_counter()
            scores = evaluator.evaluate(sample, reference)
            seconds.append(time.perf_counter() - start)
    finally:
        done.set()
        watcher.join()
    bad = [s.reason for s in scores if s.status != "ok"]
    print(peak - before, *seconds, "; ".join(bad).replace(" ", "_") or "-")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("features")
    write(found)
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.benchmark(group="metrics over stored features")
def test_metric(benchmark: BenchmarkFixture, folder: Path, metric: str) -> None:
    def both() -> list[list[str]]:
        found = []
        for n in (FEW, MANY):
            command = [sys.executable, "-m", "tests.benchmarks.metrics", str(folder), metric, str(n)]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            found.append(done.stdout.split())
        return found

    few, many = benchmark.pedantic(both, rounds=1, iterations=1)
    mib = [int(found[0]) / 1024 for found in (few, many)]
    benchmark.extra_info.update(few_mib=mib[0], many_mib=mib[1], seconds=float(many[1]), again=float(many[2]))
    print(
        f"\n{metric}: {float(many[1]):.1f} s, {float(many[2]):.1f} s with a known reference ({MANY} x {D}); "
        f"peak {mib[0]:.0f} MiB at {FEW}, {mib[1]:.0f} MiB at {MANY}, ratio {mib[1] / max(mib[0], 1):.2f}; {many[3]}"
    )


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
