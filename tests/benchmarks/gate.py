"""How often `run_bench.py check` calls a null re-run worse, and how often it catches a planted regression.

Run by name for the table of docs/regression-gate.md: `python -m tests.benchmarks.gate`; tests/comparison/test_gate.py
runs it small. Counts are drawn, intervals are those that the shipped evaluator gives, and the rule is that of `check`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy.stats import t

from bench.comparison.gate import decide
from bench.comparison.gate_config import Gates
from bench.core.intervals import LEVEL, at_most, wilson_interval
from bench.core.stats import Estimate, independent_difference
from evaluators.fairness_discrepancy import N_DRAWS, SEED

SHARES = (0.23, 0.36, 0.395, 0.4, 0.43, 0.455, 0.5)  # of glasses, about those of the quick leaderboard
FRECHET = (473.0, 442.0, 445.0, 437.0, 479.0, 482.0, 441.0) * 2
SD = 10.0 * 200**0.5  # of a Frechet distance: a standard error of 10 at n = 200
FREEDOM = 9  # ten groups
FD_GATE, FRECHET_GATE = 0.05, 0.05


@functools.cache
def shown(n: int, present: int) -> tuple[float, float, float]:
    """Discrepancy from 1/2 and its interval of a sample with so many glasses, as the evaluator gives them.

    From the counts alone, which takes as long for any n; tests/comparison/test_gate.py holds it to the evaluator.
    """
    rng, r = np.random.default_rng(SEED), np.full(2, 0.5)
    null = np.linalg.norm(rng.multinomial(n, r, size=N_DRAWS) / n - r, axis=1)
    counts = np.array([n - present, present])
    ends = wilson_interval(n - present, n)
    low, high = sorted(float(np.linalg.norm(np.array([end, 1 - end]) - r)) for end in ends)
    value = float(np.linalg.norm(counts / n - r))
    within = ends[0] <= 0.5 <= ends[1] or bool(at_most(value, np.quantile(null, LEVEL)))
    return value, 0.0 if within else min(low, value), max(high, value)


def discrepancies(shares: np.ndarray, n: int, runs: int, rng: np.random.Generator) -> Estimate:
    """Of [runs, m] samples drawn with these shares."""
    counts = rng.binomial(n, shares, (runs, shares.size))
    seen, place = np.unique(counts, return_inverse=True)
    table = np.array([shown(n, int(c)) for c in seen])
    return Estimate.of_interval(*np.moveaxis(table[place.reshape(counts.shape)], -1, 0))


def distances(truth: np.ndarray, n: int, runs: int, rng: np.random.Generator) -> Estimate:
    """Of [runs, m] values, each the mean of ten groups with the jackknife's interval (tests/core/test_stats.py)."""
    groups = truth[:, None] + rng.standard_normal((runs, truth.size, 10)) * SD * (10 / n) ** 0.5
    half = t.ppf(0.975, FREEDOM) * groups.std(-1, ddof=1) / 10**0.5
    value = groups.mean(-1)
    return Estimate.of_interval(value, value - half, value + half, FREEDOM)


def worse(
    n: int, runs: int, gates: Gates, rng: np.random.Generator, fd: float = 0.0, frechet: float = 0.0, gated: bool = True
) -> np.ndarray:
    """Run the whole rule on simulated tables of 7 discrepancies and 14 Frechet distances.

    Args:
        n: samples a cell.
        runs: number of tables.
        gates: the rule.
        rng: source of randomness; baseline and new run are both drawn, without common noise.
        fd: how many gates worse the second discrepancy is in the new runs.
        frechet: how many gates worse the first distance is.
        gated: whether the gates count, or significance alone.

    Returns:
        bool [runs, 21], which are called worse: the planted ones are 1 and 7.
    """
    shares, truth = np.array(SHARES), np.array(FRECHET)
    planted, moved = shares.copy(), truth.copy()
    planted[1] -= fd * FD_GATE / 2**0.5  # the discrepancy of two classes is sqrt(2) |p - 1/2|
    moved[0] *= 1 + frechet * FRECHET_GATE
    pairs = (
        (discrepancies(shares, n, runs, rng), discrepancies(planted, n, runs, rng)),
        (distances(truth, n, runs, rng), distances(moved, n, runs, rng)),
    )
    found = [independent_difference(a, b) for a, b in pairs]
    limits = [np.full(found[0].value.shape, FD_GATE), FRECHET_GATE * pairs[1][0].value]
    limit = np.concatenate(limits, axis=-1) * (1.0 if gated else 0.0)
    change, p = (np.concatenate([getattr(d, name) for d in found], axis=-1) for name in ("value", "p"))
    return decide(change, p, limit, gates)[0]


def power(n: int, size: float, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of planted regressions of `size` gates that are caught: of a discrepancy, of a Frechet distance."""
    found = worse(n, runs, Gates(), rng, fd=size, frechet=size)
    return float(found[:, 1].mean()), float(found[:, 7].mean())


def false_alarms(
    runs: int, rng: np.random.Generator, gated: bool, n: int = 200, gates: Callable[[], Gates] = Gates
) -> float:
    """Share of null re-runs in which anything is called worse."""
    return float(worse(n, runs, gates(), rng, gated=gated).any(axis=1).mean())


def main() -> None:
    """Print the table of the documentation."""
    rng = np.random.default_rng(0)
    print(f"null re-runs refused: {false_alarms(500, rng, True):.3f}; by significance alone:", end=" ")
    print(f"{false_alarms(500, rng, False):.3f}\n")
    sizes = (1.0, 1.5, 2.0, 3.0, 4.0)
    print("| metric | n | " + " | ".join(f"{size:g} gate{'s' * (size != 1)}" for size in sizes) + " |")
    print("| --- " * (len(sizes) + 2) + "|")
    rows = {n: [power(n, size, 2000, rng) for size in sizes] for n in (200, 1000, 5000)}
    for k, name in enumerate(("fd_l2_hard", "frechet_*")):
        for n, found in rows.items():
            print(f"| `{name}` | {n:,} | " + " | ".join(f"{100 * pair[k]:.0f} %" for pair in found) + " |")


if __name__ == "__main__":
    main()
