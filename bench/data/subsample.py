"""Choose the images of a set and their order: from a seed, with exact quotas if declared."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from bench.config.data_source import Subsample
from bench.core.attributes import Attribute, joint_labels, product, shares_of
from bench.core.errors import ConfigError, UnknownName

Ints = npt.NDArray[np.int64]


def rounded_quotas(target: npt.NDArray[np.float64], n: int) -> Ints:
    """Return n split by a distribution, by largest remainders; of equal remainders the first class is rounded up.

    Args:
        target: [K], summing to 1.
        n: total.

    Returns:
        int64 [K], each within 1 of n times its share, summing to n.
    """
    exact = np.round(target * n, 9)  # 0.1 * 30 is 3
    quotas = np.floor(exact).astype(np.int64)
    short = n - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:short]] += 1
    return quotas


def long_tail_quotas(largest: int, factor: float, n_classes: int) -> Ints:
    """Return floor(largest * factor^(k / (K - 1))) for class k of K, int64 [K].

    Source: Cao et al. 2019 (LDAM), arXiv 1906.07413, section 4, "long-tailed imbalance"; `factor` is one over the
    imbalance ratio.
    """
    return np.array([int(largest * factor ** (k / (n_classes - 1.0))) for k in range(n_classes)], dtype=np.int64)


def choose(
    labels: Ints,
    attributes: tuple[Attribute, ...],
    plan: Subsample | None,
    n: int | None,
    seed: int,
    unusable: Collection[int],
    title: str,
) -> Ints:
    """Return the rows of a set, in its order.

    Without quotas: the first n usable rows of a random order. With quotas: the first rows of each class in that
    order, as many as its quota, interleaved so that every beginning of the set is as near to the quotas as possible.

    Args:
        labels: [m, number of attributes].
        attributes: of the columns.
        plan: quotas, or None.
        n: number of rows, by default as many as the quotas allow.
        seed: of the random order.
        unusable: rows to leave out.
        title: of the set, for errors.

    Returns:
        Row numbers, int64 [n].

    Raises:
        ConfigError: a class has too few usable images, or the set has fewer than n; with the numbers.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[~np.isin(order, list(unusable))]
    if plan is None:
        if (n or 1) > len(order):
            raise ConfigError(f"data set {title} has {len(order):,} usable images, got n = {n or 1:,}; ask for fewer")
        return order[:n]
    over = _attributes(plan, attributes, title)
    joint = product(over)
    cells = joint_labels(labels[order][:, [attributes.index(a) for a in over]], over)
    counts = np.bincount(cells, minlength=joint.n_classes)
    quotas = _quotas(plan, joint, counts, n, title)
    remedy = "ask for fewer images or another distribution" if plan.long_tail is None else "lower `largest`"
    rows, rank = [], []
    for k, quota in enumerate(quotas):
        if quota > counts[k]:
            raise ConfigError(
                f"data set {title} must have {quota:,} usable images of {joint.name} = {joint.classes[k]} for its "
                f"subsample of {quotas.sum():,}, got {counts[k]:,}; {remedy}"
            )
        rows.append(order[cells == k][:quota])
        rank.append((np.arange(quota) + 0.5) / max(quota, 1))
    mixed = np.concatenate(rows)[np.argsort(np.concatenate(rank), kind="stable")]
    if (n or 0) > len(mixed):
        raise ConfigError(f"the long tail of data set {title} has {len(mixed):,} images, got n = {n:,}; ask for fewer")
    return mixed[:n].astype(np.int64)


def _attributes(plan: Subsample, attributes: tuple[Attribute, ...], title: str) -> tuple[Attribute, ...]:
    by_name = {a.name: a for a in attributes}
    for name in plan.over:
        if name not in by_name:
            raise UnknownName(f"attribute of {title}", name, by_name)
    return tuple(by_name[name] for name in plan.over) or attributes


def _quotas(plan: Subsample, joint: Attribute, counts: Ints, n: int | None, title: str) -> Ints:
    if plan.long_tail is not None:
        return long_tail_quotas(plan.largest or int(counts.sum()) // joint.n_classes, plan.long_tail, joint.n_classes)
    if plan.target == "uniform":
        target = np.full(joint.n_classes, 1 / joint.n_classes)
    else:
        assert plan.target is not None
        target = shares_of(plan.target, joint.classes, f"the subsample of {title}")
    if n is None:
        needed = target > 0
        n = int(np.floor(np.min(counts[needed] / target[needed]) + 1e-9))
        if n < 1:
            k = int(np.flatnonzero(needed & (counts == 0))[0])
            raise ConfigError(f"data set {title} has no usable image of {joint.name} = {joint.classes[k]}; add some")
    return rounded_quotas(target, n)
