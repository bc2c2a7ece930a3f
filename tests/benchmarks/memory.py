"""Peak memory of evaluating 50,000 stored samples beside 5,000; run by name: it writes 300 MB and takes a minute.

    pytest -s tests/benchmarks/memory.py

Measured is the growth of RssAnon, sampled every 2 ms in a fresh process: the peak of ru_maxrss also counts the pages
of memory-mapped files, which the system takes back whenever it likes.
"""

from __future__ import annotations

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
from bench.protocols.evaluator import Reference, Sample
from bench.storage.store import Rows
from evaluators.fairness_discrepancy import Evaluator as FairnessDiscrepancy
from evaluators.frechet import Evaluator as Frechet

ROOT = Path(__file__).parents[2]
D, SHARD, MOST = 1280, 500, 50_000
GLASSES, TONE = Attribute("eyeglasses", ("no", "yes")), Attribute("skin_tone", ("light", "medium", "dark"))


def write(folder: Path) -> None:
    """Features and probabilities of MOST samples in shards; the first 5,000 are the reference.

    The features of every shard are the same noise, moved along and scaled, so that little is drawn.
    """
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((SHARD, D), dtype=np.float32)
    for i in range(MOST // SHARD):
        rows = open_memmap(folder / f"features-{i}.npy", "w+", np.float32, (SHARD, D))
        rows[:] = np.roll(noise, 7 * i, axis=1) * rng.uniform(0.9, 1.1, (SHARD, 1)).astype(np.float32)
        for a in (GLASSES, TONE):
            np.save(folder / f"{a.name}-{i}.npy", rng.dirichlet(np.ones(a.n_classes), SHARD).astype(np.float32))


def rows(folder: Path, name: str, n: int) -> Rows:
    return Rows([np.load(folder / f"{name}-{i}.npy", mmap_mode="r") for i in range(n // SHARD)])


def anonymous() -> int:
    """RssAnon of this process, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def measure(folder: Path, n: int) -> None:
    """Evaluate n samples and print the peak growth of anonymous memory in kB, and the seconds."""
    sample = Sample(
        {a.name: rows(folder, a.name, n) for a in (GLASSES, TONE)},
        {"f": rows(folder, "features", n)},
        np.zeros(n, dtype=np.int64),
    )
    reference = Reference((GLASSES, TONE), np.full(6, 1 / 6), {"f": {"real": rows(folder, "features", 5000)}})
    peak, done, before = 0, threading.Event(), anonymous()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    scores = [s for e in (FairnessDiscrepancy(), Frechet()) for s in e.evaluate(sample, reference)]
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    assert all(s.status == "ok" and s.n == n for s in scores)
    print(peak - before, seconds)


@pytest.mark.benchmark(group="peak memory of evaluating 50,000 samples beside 5,000")
def test_memory(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write(tmp_path)

    def both() -> list[float]:
        peaks = []
        for n in (5000, MOST):
            command = [sys.executable, "-m", "tests.benchmarks.memory", str(tmp_path), str(n)]
            out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
            peaks.append(int(out[0]) / 1024)
            print(f"\n{n} samples: {peaks[-1]:.0f} MiB of anonymous memory at most, {float(out[1]):.1f} s")
        return peaks

    few, many = benchmark.pedantic(both, rounds=1, iterations=1)
    benchmark.extra_info.update(few_mib=few, many_mib=many, ratio=many / few)
    print(f"ratio {many / few:.3f}")


if __name__ == "__main__":
    measure(Path(sys.argv[1]), int(sys.argv[2]))
