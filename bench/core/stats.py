"""Tests of differences, corrections for many comparisons, the smallest difference that a test can find.

Every random draw takes its generator from the caller; nothing here keeps state. Which test is used for what is in
docs/regression-gate.md; intervals are `bench.core.intervals`. The Benjamini-Hochberg correction is
`scipy.stats.false_discovery_control`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from bench.core.design import MIN_BATCHES, Design
from bench.core.intervals import LEVEL, at_most, percentile_interval, redraw_mean
from bench.core.value import Value

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SEED, N_DRAWS = 20_080_101, 20_000  # of the paired test
TOO_FEW_BATCHES = (
    f"The samples of a guidance batch depend on one another. With fewer than {MIN_BATCHES} batches, or one batch of a "
    "seed and prompt, they are tested as independent ones."
)


def holm(p: list[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, at a family-wise error of alpha.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    rejected = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda j: p[j])):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def holm_adjusted(p: Floats) -> Floats:
    """Holm's adjusted p: the smallest family-wise error at which his procedure rejects each hypothesis.

    Source: Holm 1979; adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).

    Args:
        p: float64 [..., m], every row a family of its own.

    Returns:
        float64 [..., m] in [0, 1], each >= its p.
    """
    order = np.argsort(p, axis=-1)
    scaled = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(scaled)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0), axis=-1)
    return adjusted


@dataclass(frozen=True)
class Estimate:
    """Values with standard errors to either side, as their intervals tell them.

    Attributes:
        value: float64 of any shape.
        below: standard error downwards, >= 0, of the same shape.
        above: standard error upwards.
        freedom: degrees of freedom behind the standard errors; inf where the interval is a normal one.
    """

    value: Floats
    below: Floats
    above: Floats
    freedom: float = math.inf

    @classmethod
    def of_interval(cls, value: Floats, low: Floats, high: Floats, freedom: float = math.inf) -> Estimate:
        """From 95 % intervals, low <= value <= high."""
        quantile = float(t.ppf((1 + LEVEL) / 2, freedom))
        return cls(value, (value - low) / quantile, (high - value) / quantile, freedom)

    @classmethod
    def of_seeds(cls, values: Sequence[Value], freedom: float) -> Estimate:
        """Return the mean over seeds with the errors of their own intervals, which every value has.

        Args:
            values: one per seed.
            freedom: degrees of freedom behind the interval of one seed.
        """
        value, low, high = (
            np.array(side, dtype=np.float64) for side in zip(*((v.value, v.low, v.high) for v in values), strict=True)
        )
        return cls.of_interval(value, np.minimum(low, value), np.maximum(high, value), freedom).mean()

    def mean(self) -> Estimate:
        """Return the mean over the last axis, whose entries are independent."""
        n = self.value.shape[-1]
        below, above = (np.sqrt((side**2).sum(-1)) / n for side in (self.below, self.above))
        return Estimate(self.value.mean(-1), below, above, self.freedom)


@dataclass(frozen=True)
class Difference:
    """b - a, its 95 % interval, and the two-sided p of "no difference"; all of one shape."""

    value: Floats
    low: Floats
    high: Floats
    p: Floats

    @property
    def standard_error(self) -> Floats:
        """Half the interval's width, in units of a normal interval's."""
        return (self.high - self.low) / (2 * float(norm.ppf((1 + LEVEL) / 2)))


def independent_difference(a: Estimate, b: Estimate) -> Difference:
    """b - a of independent estimates, from their intervals alone.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures" (MOVER): the lower limit takes
    b's error downwards and a's upwards, the upper limit the others, so skewed and clipped intervals stay so. p is the
    level at which the limit on the side of 0 reaches 0; degrees of freedom after Welch and Satterthwaite. Where both
    began from the same noise their errors go together, and the test is conservative.

    Where neither has a standard error, p is 1 for equal values and 0 for others.
    """
    value = b.value - a.value
    down, up = np.hypot(b.below, a.above), np.hypot(b.above, a.below)
    freedom_low, freedom_high = (
        _freedom(x, y, a.freedom, b.freedom) for x, y in ((a.above, b.below), (a.below, b.above))
    )
    level = (1 + LEVEL) / 2
    towards = np.where(value > 0, down, up)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(at_most(np.abs(value), 0.0), 0.0, np.abs(value) / towards)
    p = 2 * t.sf(z, np.where(value > 0, freedom_low, freedom_high))
    low, high = value - t.ppf(level, freedom_low) * down, value + t.ppf(level, freedom_high) * up
    return Difference(value, low, high, np.asarray(p))


def _freedom(a: Floats, b: Floats, freedom_a: float, freedom_b: float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (a**2 + b**2) ** 2 / (a**4 / freedom_a + b**4 / freedom_b)
    return np.where(np.isfinite(freedom), freedom, np.inf)


@dataclass(frozen=True)
class Answers:
    """The classifier's answers to the samples of one method, of one seed and, in a suite with prompts, one prompt.

    Attributes:
        rows: float64 [n, K]: probabilities of the classes, or 1 for the predicted class and 0 for the others; a row of
            NaN where the classifier abstained. Row i began from the same noise in every method.
        design: how the samples depend on one another.
    """

    rows: Floats
    design: Design

    @classmethod
    def of_labels(cls, labels: Ints, n_classes: int, design: Design) -> Answers:
        """Return the answers of predicted classes, int64 [n] in [0, n_classes), -1 where the classifier abstained."""
        return cls(np.where(labels[:, None] < 0, np.nan, np.eye(n_classes)[labels]), design)

    def by_part(self, ends: npt.ArrayLike) -> list[Answers]:
        """Return the answers of consecutive parts, such as prompts, given the number after the last sample of each."""
        rows = np.split(self.rows, np.asarray(ends)[:-1])
        return [Answers(*part) for part in zip(rows, self.design.split(ends), strict=True)]


@dataclass(frozen=True)
class PairedTest:
    """A paired test.

    Attributes:
        difference: second minus first, with interval and two-sided p; the smallest p is 2 / (N_DRAWS + 1).
        note: a sentence where the test treats samples as independent that are not; else empty.
    """

    difference: Difference
    note: str


def paired_test(pairs: Sequence[tuple[Answers, Answers]], statistic: Callable[[Floats], Floats]) -> PairedTest | None:
    """Test the difference of a statistic of class shares between two methods on the same noise.

    The one test behind the marks of a leaderboard and `compare`. Its statistic is the mean over the pairs (seeds, and
    prompts) of the difference. Draws of both methods' mean rows give the percentile interval, and p as twice the
    smaller share of draws on either side of 0. Samples are redrawn as they were sampled:

    - within seed, prompt, and the cross of both methods' strata: labels from the multinomial of m - 1 of the m pairs of
      a stratum (Rao & Wu 1988, "Resampling inference with complex survey data": unbiased variance in small strata),
      probabilities as normal means with their joint covariance;
    - where a method steers whole guidance batches, and there are at least `MIN_BATCHES` in all and two or more per
      seed and prompt: Student-t draws with the covariance of the batches' mean rows.

    Draws are the same for the same samples, whichever method is first. Samples on which either classifier abstained are
    left out.

    Args:
        pairs: one per seed and prompt: the first method's answers, and the second's in the same order.
        statistic: shares float64 [..., K] to values [...].

    Returns:
        The test; None where a seed or prompt has fewer than two samples that were classified for both methods.
    """
    sign = -1.0 if [a.rows.tobytes() for a, _ in pairs] > [b.rows.tobytes() for _, b in pairs] else 1.0
    pieces = [_piece(*(pair if sign > 0 else pair[::-1])) for pair in pairs]
    if not pieces or min(len(piece.rows) for piece in pieces) < 2:
        return None
    rng = np.random.default_rng(SEED)
    coupled = [piece.batches for piece in pieces if piece.batches is not None]
    counts = [len(np.unique(batches)) for batches in coupled]
    by_batch = len(coupled) == len(pieces) and min(counts) > 1 and sum(counts) >= MIN_BATCHES
    freedom = sum(counts) - len(pieces)
    # One scale for all pieces: their covariances together have that many degrees of freedom.
    scale = np.sqrt(freedom / rng.chisquare(freedom, N_DRAWS)) if by_batch else None
    value, draws = 0.0, np.zeros(N_DRAWS)
    for piece in pieces:
        k = piece.rows.shape[1] // 2
        means = piece.redraw(rng) if scale is None else piece.redraw_batches(scale, rng)
        draws += (statistic(means[:, k:]) - statistic(means[:, :k])) / len(pieces)
        mean = piece.rows.mean(0)
        value += float(statistic(mean[k:]) - statistic(mean[:k])) / len(pieces)
    return PairedTest(_of_draws(sign * value, sign * draws), TOO_FEW_BATCHES if coupled and not by_batch else "")


@dataclass(frozen=True)
class _Piece:
    """The pairs of one seed and prompt: rows of both methods side by side, float64 [n, 2 K], and their joint design."""

    rows: Floats
    strata: Ints
    batches: Ints | None = None

    def redraw(self, rng: np.random.Generator) -> Floats:
        """Return draws of the mean row, float64 [N_DRAWS, 2 K], of samples independent within their stratum."""
        means = np.zeros((N_DRAWS, self.rows.shape[1]))
        for stratum in np.unique(self.strata):
            rows = self.rows[self.strata == stratum]
            means += len(rows) / len(self.rows) * _redraw_rows(rows, rng)
        return means

    def redraw_batches(self, scale: Floats, rng: np.random.Generator) -> Floats:
        """Return normal draws of the mean row with the covariance of the batches' means, times `scale` [N_DRAWS]."""
        _, batch_of, sizes = np.unique(np.asarray(self.batches), return_inverse=True, return_counts=True)
        mean = self.rows.mean(0)
        sums = np.zeros((len(sizes), self.rows.shape[1]))
        np.add.at(sums, batch_of, self.rows - mean)
        parts = sums / len(self.rows)  # of each batch in the deviation of the mean
        covariance = parts.T @ parts * len(sizes) / (len(sizes) - 1)
        return np.asarray(mean + scale[:, None] * redraw_mean(np.zeros_like(mean), covariance, 1, N_DRAWS, rng))


def _piece(a: Answers, b: Answers) -> _Piece:
    both = np.hstack([a.rows, b.rows])
    answered = ~np.isnan(both).any(axis=1)
    strata = _cross(a.design.strata[answered], b.design.strata[answered])
    of_batches = [d.batches[answered] for d in (a.design, b.design) if d.batches is not None]
    if not of_batches:
        return _Piece(both[answered], strata)
    # Batches are consecutive samples: those of both methods end where a batch of each ends.
    ends = np.all([np.diff(batches) != 0 for batches in of_batches], axis=0)
    return _Piece(both[answered], strata, np.concatenate([[0], np.cumsum(ends)])[: answered.sum()])


def _cross(a: Ints, b: Ints) -> Ints:
    """Return the stratum of each sample in the cross of two strata; those of one sample are joined with another."""
    _, strata, sizes = np.unique(a * (b.max(initial=0) + 1) + b, return_inverse=True, return_counts=True)
    order = np.argsort(sizes, kind="stable")
    alone = int((sizes == 1).sum())
    joined = np.arange(len(sizes))
    if alone:
        joined[order[: max(alone, 2)]] = order[0]  # all of them in one stratum, a single one with the smallest other
    return np.asarray(joined[strata])


def _redraw_rows(rows: Floats, rng: np.random.Generator) -> Floats:
    """Return draws of the mean of m >= 2 independent rows, float64 [N_DRAWS, columns]."""
    m = len(rows)
    if not ((rows == 0) | (rows == 1)).all():
        return redraw_mean(rows.mean(0), np.cov(rows, rowvar=False), m, N_DRAWS, rng)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    draws: Floats = rng.multinomial(m - 1, counts / m, size=N_DRAWS) / (m - 1) @ kinds
    return draws


def _of_draws(value: float, draws: Floats) -> Difference:
    fewer = min(at_most(draws, 0.0).sum(), at_most(-draws, 0.0).sum())
    low, high = percentile_interval(draws)
    p = min(1.0, 2 * (int(fewer) + 1) / (draws.size + 1))
    return Difference(*(np.asarray(x) for x in (value, min(low, value), max(high, value), p)))


def minimum_detectable_difference(standard_error: Floats, alpha: float = 1 - LEVEL, power: float = 0.8) -> Floats:
    """The smallest true difference that a two-sided test at `alpha` finds with probability `power`.

    Of a normal statistic: (z_(1 - alpha/2) + z_power) standard errors; its chance of being found with the wrong sign
    is neglected. The standard error of the difference of two independent means of n rows each is sd sqrt(2 / n); that
    of two shares sqrt(2 p (1 - p) / n).

    Args:
        standard_error: of the difference, of any shape.
        alpha: level of the test; divide it by the number of tests of a table.
        power: in (0.5, 1).
    """
    difference: Floats = (norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error
    return difference
