"""Comparison of the samples with every reference set of every extractor, with the checks shared by all metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, Incompatible, Undefined
from bench.core.gaussian import Gaussian
from bench.core.intervals import jackknife_interval
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.features.groups import Groups, groups_of
from evaluators.features.subset import drawn_note, drawn_rows, subset

T = TypeVar("T")
Features = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
NO_SPREAD = "no interval: the value is the same without any of the samples"
# Samples that the interval of a metric with tails needs: with 20 to 50 the intervals of Fréchet distances and of shares
# near 1 hold the truth in 85 to 92 % of simulated samples of two clusters, with 100 in 93 % or more. Samples that a few
# images dominate have intervals as well: refusing those leaves the samples that hold none of a rare class, whose
# intervals are too narrow.
INTERVAL_N = 100


class Estimate(NamedTuple):
    """A value with its 95 % interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval; None if there is none.
        high: upper end; None if there is none.
        note: remark, e.g. why there is no interval; may be empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""

    def if_enough(self, n: int) -> Estimate:
        """Return this estimate; without its interval if it is of n < `INTERVAL_N` samples."""
        if n >= INTERVAL_N or self.low is None:
            return self
        return Estimate(self.value, note=f"no interval: at n = {n} it would be too narrow, it needs {INTERVAL_N}")

    def score(self, metric: str, scope: str, n: int, *notes: str) -> Score:
        """Return the score of this estimate; undefined if a number is not finite.

        Args:
            metric: name of the score.
            scope: what it was computed over.
            n: number of samples.
            notes: further remarks, put before the estimate's own; empty ones are left out.
        """
        if not all(np.isfinite(v) for v in (self.value, self.low, self.high) if v is not None):
            reason = "the features are too large to compute it in float64"
            return Score(metric, scope, None, n=n, status="undefined", reason=reason)
        reason = "; ".join(note for note in (*notes, self.note) if note)
        return Score(metric, scope, self.value, self.low, self.high, n, reason=reason)


def jackknifed(
    replicates: Floats,
    groups: Groups,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    squared: bool = False,
    pairs: float = 0.0,
) -> Estimate:
    """Return an estimate from its jackknife replicates; without interval where they do not differ.

    A squared distance v varies little where it is small by chance, so that an upper end v + h is below the truth too
    often. It is raised to that of the distance itself, (sqrt(v) + h / (2 sqrt(v)))^2 = v + h + h^2 / (4 v), by h / 2 at
    most.

    Args:
        replicates: float64 [1 + groups], the value, then that without each group.
        groups: the groups of the samples.
        low: smallest possible value, at which the interval ends.
        high: largest possible value.
        squared: whether the value is a squared distance.
        pairs: see `jackknife_interval`.
    """
    value, left = float(replicates[0]), replicates[1:]
    if (left == value).all():
        return Estimate(value, note=NO_SPREAD)
    with np.errstate(over="ignore", invalid="ignore"):  # a number that is not finite becomes undefined
        below, above = jackknife_interval(value, left, groups.sizes, pairs)
    if squared:
        above += (above - value) ** 2 / (4 * max(value, (above - value) / 2))
    return Estimate(value, max(below, low), min(above, high))


@dataclass(frozen=True)
class Compared:
    """The features of a reference set, by one extractor.

    Attributes:
        extractor: name of the extractor.
        name: name of the set.
        array: float [n_ref, d]; may be memory-mapped.
    """

    extractor: str
    name: str
    array: Features

    @property
    def key(self) -> tuple[str, str]:
        """The key of the set in a `ReferenceCache`."""
        return self.extractor, self.name


def checked(
    sample: Sample, extractor: str, sets: Mapping[str, Features], fits: Mapping[str, Gaussian] | None = None
) -> Features:
    """Return the samples' features of an extractor, float [n, d], after checking their width.

    Raises:
        Incompatible: the samples have none.
        ConfigError: their width differs from that of a reference set or a fit.
    """
    if extractor not in sample.features:
        raise Incompatible(f"the samples have no features of {extractor}; run that extractor on them")
    features = sample.features[extractor]
    widths = {name: array.shape[1] for name, array in sets.items()}
    for name, width in (widths | {name: fit.mean.size for name, fit in (fits or {}).items()}).items():
        if features.shape[1] != width:
            raise ConfigError(
                f"the features of {extractor} must have the width of reference set {name}, {width}, got "
                f"{features.shape[1]}; extract both with the same extractor"
            )
    return features


def at_least(n: int, array: Features, what: str) -> None:
    """Check the number of rows.

    Raises:
        Undefined: the array has fewer than n rows.
    """
    if len(array) < n:
        raise Undefined(f"{what} needs {n} images or more, got {len(array)}")


def undefined(metric: str, scope: str, n: int, error: Undefined) -> Score:
    """Return the score of a metric that is undefined here."""
    return Score(metric, scope, None, n=n, status="undefined", reason=str(error))


def compare_sets(
    sample: Sample,
    reference: Reference,
    metrics: tuple[str, ...],
    min_n: int,
    prepare: Callable[[Features, Groups], T],
    compare: Callable[[T, Compared], tuple[Estimate, ...]],
    *,
    few: bool,
    cap: int | None = None,
    compare_fit: Callable[[T, Gaussian], tuple[Estimate, ...]] | None = None,
) -> list[Score]:
    """Return scores per extractor and reference set, in the order of `reference.features`, an extractor's fits last.

    Args:
        sample: its `features` must hold every extractor of the reference.
        reference: its `features` are the sets to compare with.
        metrics: names of the metrics; a score's name is followed by "_" and the extractor, and its scope is the set.
        min_n: smallest number of samples that has a value.
        prepare: computes intermediate results of the samples' features [n, d] and the groups of their jackknife, once
            per extractor.
        compare: returns value and interval of each of `metrics`, from intermediate results and a reference set.
        few: whether the jackknife leaves out one of few groups at a time, or one sample (or guidance batch).
        cap: largest number of samples used, see `drawn_rows`; None uses all.
        compare_fit: like `compare`, for the fits of `reference.statistics`; None if the metric needs the features
            themselves, and has no score for fits.

    Raises:
        Incompatible: the samples have no features of an extractor.
        ConfigError: the widths of the features differ.
    """
    scores = []
    for extractor in dict.fromkeys((*reference.features, *(reference.statistics if compare_fit else ()))):
        sets = reference.features.get(extractor, {})
        fits = reference.statistics.get(extractor, {}) if compare_fit else {}
        whole = checked(sample, extractor, sets, fits)
        if not (sets or fits):
            continue
        rows = drawn_rows(len(whole), len(whole) if cap is None else cap)
        features = whole if rows.size == len(whole) else subset(whole, rows)
        groups = groups_of(sample.design, rows, few=few)
        n, names = rows.size, [f"{metric}_{extractor}" for metric in metrics]
        notes = drawn_note(n, len(whole)), groups.note
        try:
            if n < min_n:
                raise Undefined(f"needs {min_n} samples or more, got {n}")
            with np.errstate(over="ignore", invalid="ignore"):  # a value that is not finite becomes undefined
                prepared = prepare(features, groups)
        except Undefined as error:
            scores += [undefined(metric, name, n, error) for name in (*sets, *fits) for metric in names]
            continue
        comparisons = {name: partial(compare, prepared, Compared(extractor, name, sets[name])) for name in sets}
        if compare_fit is not None:
            comparisons |= {name: partial(compare_fit, prepared, fit) for name, fit in fits.items()}
        for name, compared in comparisons.items():
            scores += _scores(compared, names, name, n, notes)
    return scores


def _scores(
    compared: Callable[[], tuple[Estimate, ...]], metrics: Sequence[str], scope: str, n: int, notes: Sequence[str]
) -> list[Score]:
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            estimates = compared()
    except Undefined as error:
        return [undefined(metric, scope, n, error) for metric in metrics]
    return [estimate.score(metric, scope, n, *notes) for metric, estimate in zip(metrics, estimates, strict=True)]
