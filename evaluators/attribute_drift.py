"""Attribute drift: what a method changed in the attributes that it was not to change, against its vanilla paired_baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Incompatible
from bench.core.stats import percentile_interval, redraw_shares, wilson_interval
from bench.protocols.evaluator import CHUNK, NO_PAIRED_BASELINE, REDRAWS, WILSON, Card, Column, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
N_DRAWS = 2000
SEED = 20_180_817
MIN_N = 20  # samples that were classified, and whose paired baselines were


def shares_drift(tables: Floats) -> Floats:
    """||p - q||_2 of the class shares of samples and paired_baselines.

    Args:
        tables: [..., K, K], shares or counts of pairs summing to the same n; the paired_baseline's class in the row,
            the sample's in the column.

    Returns:
        [...], n ||p - q||_2.
    """
    return np.asarray(np.linalg.norm(tables.sum(-2) - tables.sum(-1), axis=-1), dtype=np.float64)


def null_drift(table: Ints, rng: np.random.Generator) -> float:
    """95th percentile of ||p - q||_2 where paired baselines are alike: where either of a pair was as likely the vanilla one.

    The m pairs whose classes are j and k, in either order, are redrawn as Binomial(m, 1/2) of one order: Bowker's
    hypothesis of symmetry (Bowker 1948), for two classes McNemar's.

    Args:
        table: int64 [K, K], counts of pairs.
        rng: source of randomness.
    """
    j, k = np.triu_indices(len(table), 1)
    pairs = table[j, k] + table[k, j]
    flow = 2.0 * rng.binomial(pairs, 0.5, (N_DRAWS, pairs.size)) - pairs  # from class j to k, less those back
    into = np.eye(len(table))[k] - np.eye(len(table))[j]  # [pairs, K]: what one more pair that way does to the counts
    return float(np.quantile(np.linalg.norm(flow @ into, axis=1), 0.95)) / int(table.sum())


@dataclass(frozen=True)
class Evaluator:
    """Share of images whose predicted class of another attribute is not the paired_baseline's, and how far that class's shares moved.

    Source: the paired comparison of McNemar 1947 and Bowker 1948; the share's interval is Wilson's (1927). The other
    attributes are those that the classifier knows and the task does not name; where there are several, their joint too.
    Samples on which the classifier abstained, or on whose paired baselines, are left out, and n counts the others.

    The first says how much of an image's content is kept, the second whether the changes are in one direction: a method
    may redraw every face and leave all shares as they were. Some drift may be due: where attributes go together in the
    model's data, setting one of them moves the others, and the method that gives up least of that correlation is not
    the one that keeps the shares. A classifier that errs near a border changes its mind over small differences, which
    counts as a change. What a paired baseline is for a method that trains another network, `paired_baseline` says.

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

    card: ClassVar[Card] = Card(
        summary="How often, and how far in one direction, attributes that the task does not name changed against "
        "vanilla's image of the same noise.",
        formula="changed: share of samples i with b_i != a_i, the predicted class of the attribute in sample i and in its "
        "paired_baseline; l2: ||p - q||_2, the shares of the classes among all b_i and among all a_i",
        source="McNemar 1947; Bowker 1948, A test for symmetry in contingency tables",
        columns=(
            Column("drift_changed", "lower", 0.0, 1.0, "share of images", WILSON),
            Column("drift_l2", "lower", 0.0, 2**0.5, "distance of shares", REDRAWS),
        ),
        classifier="each",
        min_n=f"{MIN_N} images that were classified and whose paired baselines were",
        bias="changed: none. l2: upwards, about as sqrt(changed / n), where the shares did not move; `noise_floor` is "
        "what pairs that are alike stay below in 95 of 100 samples",
        interval="l2: pairs are redrawn together, from the table of both classes and one pseudo-count spread over it",
        limits="attributes that the classifier does not know; whether the change was due to a correlation in the model's "
        "data; the classifier's errors, which add to the changes",
        needs=frozenset({"paired_baseline"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`drift_changed` and `drift_l2` of every other attribute and, of several, of their joint.

        Returns:
            The scope is the attribute, a joint's its attributes joined by "+"; "all" where there is no other attribute
            or no paired baseline, and the score undefined.

        Raises:
            Incompatible: the paired baseline lacks the prediction of an attribute, or of some rows.
        """
        n, task = len(sample.assigned_class), {a.name for a in reference.attributes}
        others = sorted(name for name in sample.probabilities if name not in task)
        if sample.paired_baseline is None or not others:
            reason = (
                NO_PAIRED_BASELINE
                if sample.paired_baseline is None
                else "the classifier knows no attribute besides the task's"
            )
            return [
                Score(m, "all", None, n=n, status="undefined", reason=reason) for m in ("drift_changed", "drift_l2")
            ]
        chosen = [[name] for name in others] + ([others] if len(others) > 1 else [])
        return [score for names in chosen for score in _scores(names, _pairs(sample, sample.paired_baseline, names))]


def _pairs(sample: Sample, paired_baseline: Sample, names: list[str]) -> Ints:
    """Counts int64 [K, K] of the classes of the joint of some attributes, the paired_baseline's in the row."""
    for name in names:
        wanted = sample.probabilities[name].shape
        if name not in paired_baseline.probabilities or paired_baseline.probabilities[name].shape != wanted:
            raise Incompatible(
                f"the paired baseline must be classified on {name}, {wanted[0]} rows of {wanted[1]} classes; classifier it"
            )
    shape = tuple(sample.probabilities[name].shape[1] for name in names)
    table = np.zeros((int(np.prod(shape)),) * 2, dtype=np.int64)
    for start in range(0, len(sample.assigned_class), CHUNK):
        rows = slice(start, start + CHUNK)
        before, known = _classes(paired_baseline, names, rows, shape)
        after, too = _classes(sample, names, rows, shape)
        np.add.at(table, (before[known & too], after[known & too]), 1)
    return table


def _classes(
    sample: Sample, names: list[str], rows: slice, shape: tuple[int, ...]
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The class of the joint, int64 [n], and whether the classifier gave one, bool [n]."""
    parts = [np.asarray(sample.probabilities[name][rows]) for name in names]
    joint = np.ravel_multi_index(tuple(part.argmax(axis=1) for part in parts), shape)
    return np.asarray(joint, dtype=np.int64), ~np.any([np.isnan(part).any(axis=1) for part in parts], axis=0)


def _scores(names: list[str], table: Ints) -> list[Score]:
    scope, n = "+".join(names), int(table.sum())
    if n < MIN_N:
        reason = f"needs {MIN_N} samples or more that were classified and whose paired baselines were, got {n}"
        return [
            Score(metric, scope, None, n=n, status="undefined", reason=reason)
            for metric in ("drift_changed", "drift_l2")
        ]
    changed, rng = n - int(table.trace()), np.random.default_rng(SEED)
    value = float(shares_drift(table / n))
    spread = np.full(table.size, 1 / table.size)  # a change that was not seen may still be there
    draws = shares_drift(redraw_shares(table.ravel(), spread, N_DRAWS, rng).reshape(-1, *table.shape))
    low, high = percentile_interval(draws)
    return [
        Score("drift_changed", scope, changed / n, *wilson_interval(changed, n), n),
        Score("drift_l2", scope, value, min(low, value), max(high, value), n, null_drift(table, rng)),
    ]
