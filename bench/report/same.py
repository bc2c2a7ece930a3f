"""The tests of "both methods have the same headline", on judged classes of samples that began from the same noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def p_pooled(one: Sequence[Ints], other: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """Two-sided p of one discrepancy over all samples.

    Args:
        one: classes of the joint of one method, int64 [n] a seed, -1 where the judge abstained.
        other: the other's, in the same order.
        target: float64 [K].
        rng: source of randomness.
    """
    from bench.stats import paired_discrepancy_p

    a, b = np.concatenate(one), np.concatenate(other)
    both = (a >= 0) & (b >= 0)
    return paired_discrepancy_p(a[both], b[both], target, rng) if both.any() else 1.0


def p_by_prompt(one: Sequence[Ints], other: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """As `p_pooled`, of the mean of the discrepancies of prompts: pairs are redrawn within each prompt and seed.

    1 where a prompt has no pair that was judged twice: the mean is then undefined.
    """
    from bench.stats import paired_difference

    pairs = []
    for a, b in zip(one, other, strict=True):
        both = (a >= 0) & (b >= 0)
        if not both.any():
            return 1.0
        pairs.append((a[both], b[both]))

    def distance(shares: Floats) -> Floats:
        return np.asarray(np.linalg.norm(shares - target, axis=-1))

    return float(paired_difference(pairs, distance, len(target), rng, n_draws=4000).p)
