"""The walk over every feature extractor and reference set, with the checks that all its metrics need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, Incompatible, Undefined
from bench.core.gaussian import Gaussian
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.features.subset import head

T = TypeVar("T")
Features = npt.NDArray[np.floating]
Interval = tuple[float, float | None, float | None]  # value, low, high; None where there is no interval


@dataclass(frozen=True)
class Compared:
    """A reference set as one extractor saw it.

    Attributes:
        extractor: its name.
        name: the name of the set.
        array: float [n_ref, d], the features; may be memory-mapped.
    """

    extractor: str
    name: str
    array: Features

    @property
    def key(self) -> tuple[str, str]:
        """What the set is kept by."""
        return self.extractor, self.name


def checked(
    sample: Sample, extractor: str, sets: Mapping[str, Features], fits: Mapping[str, Gaussian] | None = None
) -> Features:
    """The samples' features of an extractor, float [n, d].

    Raises:
        Incompatible: the samples lack them.
        ConfigError: their width is not that of every reference set and of every fit.
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
    """Raise Undefined unless the array has n rows or more."""
    if len(array) < n:
        raise Undefined(f"{what} needs {n} images or more, got {len(array)}")


def undefined(metric: str, scope: str, n: int, error: Undefined) -> Score:
    """The score of a metric that has no value here."""
    return Score(metric, scope, None, n=n, status="undefined", reason=str(error))


def walk(
    sample: Sample,
    reference: Reference,
    metrics: tuple[str, ...],
    min_n: int,
    prepare: Callable[[Features], T],
    compare: Callable[[T, Compared], tuple[Interval, ...]],
    cap: int | None = None,
    compare_fit: Callable[[T, Gaussian], tuple[Interval, ...]] | None = None,
) -> list[Score]:
    """Scores of every extractor and reference set, in the order of `reference.features`, an extractor's fits last.

    Args:
        sample: its `features` must hold every extractor of the reference.
        reference: its `features` are the sets to compare with.
        metrics: names of the metrics; that of a score is followed by "_" and the extractor, its scope is the set.
        min_n: fewest samples that have a value.
        prepare: what is computed of the samples [n, d], once an extractor.
        compare: value and interval of each of `metrics`, of what was prepared and a reference set.
        cap: the most samples that are used, the first ones; all of them unless given.
        compare_fit: as `compare`, with the fits of `reference.statistics`; unless given, the metric needs the images
            themselves, and has no score for those.

    Raises:
        Incompatible: the samples lack an extractor's features.
        ConfigError: the widths of the features differ.
    """
    scores = []
    for extractor in dict.fromkeys((*reference.features, *(reference.statistics if compare_fit else ()))):
        sets = reference.features.get(extractor, {})
        fits = reference.statistics.get(extractor, {}) if compare_fit else {}
        whole = checked(sample, extractor, sets, fits)
        if not (sets or fits):
            continue
        features = whole if cap is None else head(whole, cap)
        n, names = len(features), [f"{metric}_{extractor}" for metric in metrics]
        note = "" if n == len(whole) else f"the first {n} of {len(whole)} samples"
        try:
            if n < min_n:
                raise Undefined(f"needs {min_n} samples or more, got {n}")
            prepared = prepare(features)
        except Undefined as error:
            scores += [undefined(metric, name, n, error) for name in (*sets, *fits) for metric in names]
            continue
        comparisons = {name: partial(compare, prepared, Compared(extractor, name, sets[name])) for name in sets}
        if compare_fit is not None:
            comparisons |= {name: partial(compare_fit, prepared, fit) for name, fit in fits.items()}
        for name, compared in comparisons.items():
            try:
                values = compared()
            except Undefined as error:
                scores += [undefined(metric, name, n, error) for metric in names]
                continue
            scores += [Score(m, name, *value, n, reason=note) for m, value in zip(names, values, strict=True)]
    return scores
