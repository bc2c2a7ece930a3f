"""Attribute drift: changes in attributes that the task does not name, relative to the paired baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Incompatible
from bench.core.intervals import LEVEL, at_most, distance_low, percentile_interval
from bench.core.probability_rows import answered_rows
from bench.protocols.evaluator import (
    CHUNK,
    NO_PAIRED_BASELINE,
    PARAMETRIC_BOOTSTRAP,
    WILSON,
    Column,
    MetricCard,
    Reference,
    Sample,
    Score,
)
from evaluators.classifiers.share_draws import N_DRAWS, Counts, count

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SEED = 20_180_817
MIN_N = 20  # pairs in which both images were classified


def shares_drift(tables: Floats) -> Floats:
    """Return n ||p - q||_2 of the class shares of samples (p) and of their paired baselines (q).

    Args:
        tables: [..., K, K], shares or counts of pairs summing to n; rows are the paired baseline's class, columns the
            sample's.

    Returns:
        [...], >= 0.
    """
    return np.asarray(np.linalg.norm(moved(tables), axis=-1), dtype=np.float64)


def moved(tables: Floats) -> Floats:
    """Return p - q, float64 [..., K], for the tables of `shares_drift`."""
    return np.asarray(tables.sum(-2) - tables.sum(-1), dtype=np.float64)


def null_drift(table: Ints, rng: np.random.Generator) -> float:
    """Return the 95th percentile of ||p - q||_2 under symmetry: each pair was as likely in the opposite order.

    The m pairs with classes j and k, in either order, are drawn as Binomial(m, 1/2) of one order: Bowker's hypothesis
    of symmetry (Bowker 1948), McNemar's for two classes.

    Args:
        table: int64 [K, K], counts of pairs.
        rng: source of randomness.
    """
    j, k = np.triu_indices(len(table), 1)
    pairs = table[j, k] + table[k, j]
    flow = 2.0 * rng.binomial(pairs, 0.5, (N_DRAWS, pairs.size)) - pairs  # from class j to k, less those back
    into = np.eye(len(table))[k] - np.eye(len(table))[j]  # [pairs, K]: change of the counts per net pair
    return float(np.quantile(np.linalg.norm(flow @ into, axis=1), LEVEL)) / int(table.sum())


@dataclass(frozen=True)
class Evaluator:
    """Share of images whose class of another attribute differs from the paired baseline's, and the shift of its shares.

    Source: the paired comparison of McNemar 1947 and Bowker 1948; the share's interval is Wilson's (1927). The other
    attributes are those that the attribute classifier predicts and the task does not name; if there are several, their
    joint too. Pairs in which the classifier abstained on either image are left out, and n counts the remaining ones.

    The first score measures how much of an image's content is preserved, the second whether the changes share a
    direction: a method may change every face and leave all shares unchanged. Some drift is expected: if attributes
    are correlated in the model's data, setting one of them moves the others, and a method that preserves the
    correlation does not preserve the shares. Near a decision boundary, small differences flip the predicted class and
    count as a change. See `paired_baseline` for methods that train another network.

    >>> from bench.core.attributes import Attribute
    >>> beard, plain = np.array([0.1, 0.9]), np.array([0.9, 0.1])
    >>> glasses = np.tile(plain, (40, 1))
    >>> before = Sample({"glasses": glasses, "beard": np.tile(plain, (40, 1))}, {}, np.full(40, -1))
    >>> now = np.where(np.arange(40)[:, None] % 4, plain, beard)
    >>> after = Sample({"glasses": glasses, "beard": now}, {}, np.full(40, -1), paired_baseline=before)
    >>> task = Reference((Attribute("glasses", ("no", "yes")),), np.array([0.5, 0.5]))
    >>> for score in Evaluator().evaluate(after, task):
    ...     print(score.metric, score.scope, round(score.value, 3))
    drift_changed beard 0.25
    drift_l2 beard 0.354
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="How often, and how far in one direction, attributes that the task does not name changed relative to "
        "vanilla's image from the same noise.",
        formula="changed: share of samples i with b_i != a_i, the predicted class of the attribute in sample i and in "
        "its paired baseline; l2: ||p - q||_2, the shares of the classes among all b_i and among all a_i",
        source="McNemar 1947; Bowker 1948, A test for symmetry in contingency tables",
        columns=(
            Column("drift_changed", "lower", 0.0, 1.0, "share of images", WILSON),
            Column("drift_l2", "lower", 0.0, 2**0.5, "distance of shares", PARAMETRIC_BOOTSTRAP),
        ),
        classifier="each",
        min_n=f"{MIN_N} pairs of a sample and its paired baseline that were both classified",
        bias="changed: none. l2: upwards, about as sqrt(changed / n), if the shares did not move; `noise_floor` is its "
        "95th percentile for pairs that are exchangeable.",
        interval="l2: pairs are drawn jointly, from the Dirichlet posterior of the table of both classes with one "
        "pseudo-count spread over it, by stratum or batch as those of fd_l2_hard. If the value is within the 95th "
        "percentile of exchangeable pairs, `ci_low` is 0. Measured coverage (200 draws each) where 1 to 12 % of pairs "
        "change: 95 to 98 % at n = 200 and 1,000, 98 to 100 % at 20, and 100 % up to n = 200 where 1 % change. Of "
        "drift_changed: 94 to 99 %.",
        limits="Attributes that the classifier does not predict; whether a change follows from a correlation in the "
        "model's data; the classifier's errors, which add to the changes.",
        needs=frozenset({"paired_baseline"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `drift_changed` and `drift_l2` of every other attribute and, if there are several, of their joint.

        Returns:
            Scores whose scope is the attribute, for the joint its attributes joined by "+". Without another attribute
            or without a paired baseline, the scope is "all" and the scores are undefined.

        Raises:
            Incompatible: the paired baseline lacks the predictions of an attribute, or of some rows.
        """
        n, task = len(sample.assigned_class), {a.name for a in reference.attributes}
        others = sorted(name for name in sample.probabilities if name not in task)
        if sample.paired_baseline is None:
            return _undefined("all", n, NO_PAIRED_BASELINE)
        if not others:
            return _undefined("all", n, "the attribute classifier predicts no attribute besides the task's")
        chosen = [[name] for name in others] + ([others] if len(others) > 1 else [])
        return [score for names in chosen for score in _scores(names, *_pairs(sample, sample.paired_baseline, names))]


def _pairs(sample: Sample, paired_baseline: Sample, names: list[str]) -> tuple[Counts, Counts]:
    """Return counts of the K * K joint classes of pairs, the paired baseline's first, and of changed pairs."""
    for name in names:
        n, k = expected = sample.probabilities[name].shape
        if name not in paired_baseline.probabilities or paired_baseline.probabilities[name].shape != expected:
            raise Incompatible(
                f"the paired baseline must have probabilities of {name}, {n} rows of {k} classes; run the attribute "
                "classifier on it"
            )
    shape = tuple(sample.probabilities[name].shape[1] for name in names)
    size, labels = int(np.prod(shape)), np.full(len(sample.assigned_class), -1, dtype=np.int64)
    for start in range(0, len(sample.assigned_class), CHUNK):
        rows = slice(start, start + CHUNK)
        before, classified_before = _classes(paired_baseline, names, rows, shape)
        after, classified_after = _classes(sample, names, rows, shape)
        labels[rows] = np.where(classified_before & classified_after, before * size + after, -1)
    changed = np.where(labels < 0, -1, labels // size != labels % size)
    return count(labels, size**2, sample), count(changed, 2, sample)


def _classes(
    sample: Sample, names: list[str], rows: slice, shape: tuple[int, ...]
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the class of the joint, int64 [n], and a mask of the rows that were classified, bool [n]."""
    read = [answered_rows(np.asarray(sample.probabilities[name][rows]), name, rows.start) for name in names]
    joint = np.ravel_multi_index(tuple(p.argmax(axis=1) for p, _ in read), shape)
    return np.asarray(joint, dtype=np.int64), np.all([answered for _, answered in read], axis=0)


def _undefined(scope: str, n: int, reason: str) -> list[Score]:
    return [Score(m, scope, None, n=n, status="undefined", reason=reason) for m in ("drift_changed", "drift_l2")]


def _scores(names: list[str], pairs: Counts, changed: Counts) -> list[Score]:
    scope, n, size = "+".join(names), pairs.n, math.isqrt(len(pairs.total))
    if n < MIN_N:
        return _undefined(
            scope, n, f"needs {MIN_N} pairs or more of a sample and its paired baseline that were classified, got {n}"
        )

    def norm(difference: Floats) -> Floats:
        return np.asarray(np.linalg.norm(difference, axis=-1))

    rng, table = np.random.default_rng(SEED), pairs.total.reshape(size, size)
    measured, draws = moved(table / n), moved(pairs.draw(rng).reshape(-1, size, size))
    value, floor = float(norm(measured)), null_drift(table, rng)
    noise = draws.mean(axis=0) - draws
    null = floor if pairs.independent else float(np.quantile(norm(noise), LEVEL))
    low = 0.0 if at_most(value, null) else distance_low(norm, measured, np.zeros(size), noise, null)
    high = max(percentile_interval(norm(draws))[1], value)
    share, ends = float(changed.total[1] / n), changed.share_interval(1)
    return [
        Score("drift_changed", scope, share, *ends, n, reason=changed.note),
        Score("drift_l2", scope, value, min(low, value), high, n, floor, reason=pairs.note),
    ]
