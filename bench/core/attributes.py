"""Attributes, their classes, and distributions over them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, UnknownName


@dataclass(frozen=True)
class Attribute:
    """A named attribute and the names of its classes, in label order."""

    name: str
    classes: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


@functools.cache
def product(attributes: tuple[Attribute, ...]) -> Attribute:
    """Return the joint attribute: one class per combination of classes, the last attribute varying fastest.

    The joint of a single attribute is that attribute.
    """
    return Attribute(
        "+".join(a.name for a in attributes),
        tuple("+".join(c) for c in itertools.product(*(a.classes for a in attributes))),
    )


def joint_labels(labels: npt.NDArray[np.int64], attributes: tuple[Attribute, ...]) -> npt.NDArray[np.int64]:
    """Return the labels of the joint attribute.

    Args:
        labels: [n, len(attributes)], each column in [0, classes of its attribute).
        attributes: the attributes, in the order of the columns.

    Returns:
        [n] in [0, product of the class counts), ordered as `product` orders its classes.
    """
    shape = tuple(a.n_classes for a in attributes)
    return np.asarray(np.ravel_multi_index(tuple(labels.T), shape), dtype=np.int64)


def marginal(
    joint: npt.NDArray[np.float64], attributes: tuple[Attribute, ...], attribute: Attribute
) -> npt.NDArray[np.float64]:
    """Return the marginal distribution [K] of one attribute of a joint distribution over `attributes`."""
    table = joint.reshape([a.n_classes for a in attributes])
    others = tuple(i for i, a in enumerate(attributes) if a != attribute)
    summed: npt.NDArray[np.float64] = table.sum(axis=others)
    return summed


def check_distribution(weights: npt.ArrayLike, n_classes: int, what: str) -> npt.NDArray[np.float64]:
    """Return a distribution as float64 [n_classes].

    Args:
        weights: [n_classes], >= 0, summing to 1 within 1e-6.
        n_classes: the expected number of entries.
        what: the name of the distribution in errors.

    Raises:
        ConfigError: the weights are not such a distribution.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n_classes,):
        raise ConfigError(f"{what} must have {n_classes} entries, one per class, got {values.size}: {values.tolist()}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ConfigError(f"{what} must have entries >= 0, got {values.tolist()}")
    if abs(values.sum() - 1) > 1e-6:
        raise ConfigError(f"{what} must sum to 1, got {values.tolist()}, which sums to {values.sum():g}")
    return values


def shares_of(
    shares: Sequence[float] | Mapping[str, float], classes: tuple[str, ...], what: str
) -> npt.NDArray[np.float64]:
    """Return a distribution over classes as float64 [K] in label order.

    Args:
        shares: one per class, in label order or by the classes' names.
        classes: names of the K classes, in label order.
        what: the name of the distribution in errors.

    Raises:
        UnknownName: a share of no class.
        ConfigError: a class without a share, or no distribution.
    """
    if not isinstance(shares, Mapping):
        return check_distribution(shares, len(classes), f"{what} over {', '.join(classes)}")
    for name in shares:
        if name not in classes:
            raise UnknownName(f"class in {what}", name, classes)
    without = [name for name in classes if name not in shares]
    if without:
        raise ConfigError(f"{what} must have a share of each class, got none of {', '.join(without)}; give it, or 0")
    return check_distribution([shares[name] for name in classes], len(classes), f"{what} over {', '.join(classes)}")


def target_name(target: tuple[float, ...]) -> str:
    """Return the name of a target distribution: "uniform", or its shares in percent, such as "10/90".

    Shares count with the six digits that results.csv has of them, so that every table names a task alike.

    >>> target_name((0.1, 0.9)), target_name((1 / 3, 1 / 3, 1 / 3)), target_name((1 / 6, 1 / 6, 2 / 3))
    ('10/90', 'uniform', '16.6667/16.6667/66.6667')
    """
    shares = [f"{100 * float(f'{share:.6g}'):g}" for share in target]
    return "uniform" if len(set(shares)) == 1 else "/".join(shares)
