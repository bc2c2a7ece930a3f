"""Shares of categories under the design of a cell: their counts, random draws of them, and effective numbers."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.design import MIN_BATCHES, Design
from bench.core.intervals import percentile_interval, t_quantile, wilson_interval
from bench.protocols.evaluator import Sample

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_DRAWS = 2000
MIN_STRATUM = 5  # samples of a stratum; smaller ones are joined, since they tell nothing of their variance
SHARE_INTERVAL = (
    "Where the method steers guidance batches, of the number of independent samples whose share would vary as much, "
    "from the spread of at least 8 batches; where it assigns classes, the percentiles of draws within each class."
)
FEW_BATCHES = f"interval as of independent samples: fewer than {MIN_BATCHES} guidance batches"


@dataclass(frozen=True)
class Counts:
    """Counts of K categories in the strata, and in the guidance batches, of a cell's samples.

    Attributes:
        strata: int64 [U, K + 1], the last column for samples without a category (abstained). Within a stratum, samples
            are independent draws of one distribution.
        parts: int64 [U], the prompt of each stratum.
        block: see `bench.core.design.Design`.
        batches: int64 [B, K + 1], B >= `MIN_BATCHES`; None where batches are not used.
        batch_parts: int64 [B], the prompt of each batch.
        note: why batches are not used although samples depend on theirs; else empty.
    """

    strata: Ints
    parts: Ints
    block: int = 0
    batches: Ints | None = None
    batch_parts: Ints | None = None
    note: str = ""

    @functools.cached_property
    def total(self) -> Ints:
        """Counts of the categories, int64 [K]."""
        return np.asarray(self.strata[:, :-1].sum(axis=0))

    @property
    def n(self) -> int:
        """Number of samples that have a category."""
        return int(self.total.sum())

    @property
    def abstained(self) -> int:
        """Number of samples without a category."""
        return int(self.strata[:, -1].sum())

    @property
    def independent(self) -> bool:
        """True if the samples count as independent draws of one distribution."""
        return self.batches is None and len(self.strata) == 1

    @property
    def freedom(self) -> float:
        """Degrees of freedom behind the variance of shares; inf where it follows from the counts."""
        return np.inf if self.batches is None else _freedom(_groups(self.batch_parts, len(self.batches)))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw the shares of the categories from what the counts say of them, float64 [N_DRAWS, K], rows summing to 1.

        From guidance batches: Student's t around the shares, with the covariance of the batches' means. Else from the
        Dirichlet posterior of each stratum, with one pseudo-count spread over categories and strata, so that a
        category that was never counted has a share with width.
        """
        if self.batches is not None:
            return simplex(self.total / self.n + self.batch_noise(self.batches[:, :-1].astype(np.float64), rng))
        size, k = self.strata.sum(axis=1), len(self.total)
        if len(size) == 1:
            return rng.dirichlet(self.total + 1 / k, N_DRAWS)
        prior = np.append(np.full(k, 1 / k), 0.0) * (size / size.sum())[:, None]
        alpha = self.strata + prior
        # The variance of a posterior of n - 2 counts is the unbiased one of n samples.
        alpha *= (np.maximum(size - 2, 1) / (size + size / size.sum()))[:, None]
        draws = rng.standard_gamma(alpha, (N_DRAWS, *alpha.shape))
        draws /= draws.sum(axis=2, keepdims=True)
        mixed = np.einsum("du,duk->dk", self._weights(size, rng), draws)[:, :-1]
        return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))

    def _weights(self, size: Ints, rng: np.random.Generator) -> Floats:
        """Return shares of the strata, float64 [N_DRAWS, U]: random where a last block holds a part of the classes."""
        numbers = np.tile(size.astype(np.float64), (N_DRAWS, 1))
        for prompt in np.unique(self.parts):
            of_prompt = np.flatnonzero(self.parts == prompt)
            remainder = int(size[of_prompt].sum()) % self.block if self.block else 0
            if remainder and len(of_prompt) > 1:
                in_block = size[of_prompt] * (self.block / size[of_prompt].sum())
                colours = np.maximum(np.round(in_block).astype(np.int64), 1)
                drawn = rng.multivariate_hypergeometric(colours, min(remainder, int(colours.sum())), N_DRAWS)
                numbers[:, of_prompt] += drawn - drawn.mean(axis=0)
        numbers = np.clip(numbers, 0.0, None)
        return np.asarray(numbers / numbers.sum(axis=1, keepdims=True))

    def batch_noise(self, sums: Floats, rng: np.random.Generator) -> Floats:
        """Draw the error of means from the spread of the batches' means, float64 [N_DRAWS, K]: Student's t.

        Args:
            sums: float64 [B, K], sums over the samples of each batch that have a category.
            rng: source of randomness.
        """
        freedom = self.freedom
        values, vectors = np.linalg.eigh(self.batch_covariance(sums))
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        scale = np.sqrt(freedom / rng.chisquare(freedom, (N_DRAWS, 1)))
        return np.asarray(rng.standard_normal((N_DRAWS, sums.shape[1])) @ root.T * scale)

    def batch_covariance(self, sums: Floats) -> Floats:
        """Return the covariance of the means, float64 [K, K], from the batches' deviations from those of their prompt.

        Half a sample's resolution is added, so that equal batches have means with width.
        """
        if self.batches is None:
            raise ValueError("the counts have no batches")
        answered = self.batches[:, :-1].sum(axis=1).astype(np.float64)
        groups, n, k = _groups(self.batch_parts, len(sums)), answered.sum(), sums.shape[1]
        covariance = (np.eye(k) - 1 / k) / k / n**2
        for group in np.unique(groups):
            rows = groups == group
            mean = sums[rows].sum(axis=0) / max(answered[rows].sum(), 1.0)
            errors = sums[rows] - answered[rows, None] * mean
            covariance += errors.T @ errors * (rows.sum() / (rows.sum() - 1)) / n**2
        return np.asarray(covariance)

    def effective_n(self, k: int) -> float:
        """Return the number of independent samples whose share of category k varies as much as over the batches."""
        count, n = int(self.total[k]), self.n
        if self.batches is None or count in (0, n):
            return float(n)
        share = count / n
        return share * (1 - share) / float(self.batch_covariance(self.batches[:, :-1].astype(np.float64))[k, k])

    def share_interval(self, k: int, draws: Floats | None = None) -> tuple[float, float]:
        """Return the 95 % interval of the share of category k.

        Wilson's, of the effective number of samples; with strata the percentiles of draws, which are skewed as the
        strata's own shares are.
        """
        share = float(self.total[k] / self.n)
        if self.batches is None and not self.independent:
            values = self.draw(np.random.default_rng(0))[:, k] if draws is None else draws[:, k]
            low, high = percentile_interval(values)
            return min(low, share), max(high, share)
        effective = self.effective_n(k)
        quantile = None if self.batches is None else t_quantile(int(self.freedom))
        low, high = wilson_interval(share * effective, effective, quantile)
        return min(low, share), max(high, share)


def _groups(parts: Ints | None, n: int) -> Ints:
    """Return the group of each batch whose mean it is compared with: its prompt, if each prompt has two batches."""
    if parts is None or len(parts) == 0 or np.bincount(parts)[np.unique(parts)].min() < 2:
        return np.zeros(n, dtype=np.int64)
    groups = np.unique(parts, return_inverse=True)[1].astype(np.int64)
    return groups if _freedom(groups) >= MIN_BATCHES - 1 else np.zeros(n, dtype=np.int64)


def _freedom(groups: Ints) -> float:
    return float(len(groups) - len(np.unique(groups)))


def simplex(shares: Floats) -> Floats:
    """Return shares [..., K] without negative ones, summing to 1."""
    clipped = np.clip(shares, 0.0, None)
    return np.asarray(clipped / clipped.sum(axis=-1, keepdims=True))


def batch_numbers(sample: Sample) -> Ints | None:
    """Return the guidance batch of every sample, int64 [n] counted from 0; None where batches are not used."""
    if sample.design is None or sample.design.batches is None:
        return None
    numbers = np.unique(sample.design.batches, return_inverse=True)[1].astype(np.int64)
    return numbers if numbers.size and numbers.max() + 1 >= MIN_BATCHES else None


def count(labels: Ints, n_categories: int, sample: Sample) -> Counts:
    """Count categories within the strata and batches of a sample.

    Args:
        labels: int64 [n], the category of each sample, in [0, n_categories); -1 where it has none.
        n_categories: K >= 1.
        sample: its design and its prompts.
    """
    n = len(labels)
    design = Design.independent(n) if sample.design is None else sample.design
    parts = np.zeros(n, dtype=np.int64)
    for prompt, rows in enumerate(sample.prompts.values()):
        parts[rows] = prompt
    column = np.where(labels < 0, n_categories, labels)
    batches = batch_numbers(sample)
    stratum = _joined(design.strata, parts)
    numbers = np.unique(stratum, return_inverse=True)[1].astype(np.int64) if n else stratum
    strata = _table(numbers, column, n_categories + 1)
    part_of = np.zeros(len(strata), dtype=np.int64)
    part_of[numbers] = parts
    if batches is None:
        note = FEW_BATCHES if design.batches is not None else ""
        return Counts(strata, part_of, design.block, note=note)
    batch_parts = np.zeros(int(batches.max()) + 1, dtype=np.int64)
    batch_parts[batches] = parts
    return Counts(strata, part_of, design.block, _table(batches, column, n_categories + 1), batch_parts)


def _joined(strata: Ints, parts: Ints) -> Ints:
    """Return strata of one prompt and one class each; those of fewer than MIN_STRATUM samples are one together."""
    if not len(strata):
        return strata
    both = np.unique(np.stack([parts, strata]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
    small = np.bincount(both)[both] < MIN_STRATUM
    return np.where(small, both.max() + 1, both)


def _table(rows: Ints, columns: Ints, n_columns: int) -> Ints:
    n_rows = int(rows.max()) + 1 if rows.size else 1
    counts = np.bincount(rows * n_columns + columns, minlength=n_rows * n_columns)
    return counts.reshape(n_rows, n_columns).astype(np.int64)
