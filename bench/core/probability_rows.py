"""Rows of class probabilities as every metric reads them: answered, abstained, or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels
from bench.core.errors import ConfigError

Floats = npt.NDArray[np.float64]
ROUNDING = 0.02  # largest error of a row's sum, and of a probability's range; bfloat16 rounds by 0.004 per class


def answered_rows(array: npt.NDArray[np.floating], name: str, first: int = 0) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return rows of probabilities as float64 [n, K], and which of them were answered, bool [n].

    A row that is NaN throughout is an abstention.

    Args:
        array: float [n, K]; rows of another precision may sum to 1 up to its rounding.
        name: the attribute, for the error.
        first: number of the sample in the first row, for the error.

    Raises:
        ConfigError: a row holds NaN beside numbers, an infinity, a number outside [0, 1], or does not sum to 1.

    >>> rows, answered = answered_rows(np.array([[0.9, 0.1], [np.nan, np.nan]]), "glasses")
    >>> answered
    array([ True, False])
    """
    rows = np.asarray(array, dtype=np.float64)
    answered = np.asarray(~np.isnan(rows).all(axis=1))
    if rows.shape[1]:
        with np.errstate(invalid="ignore"):
            inside = ((rows >= -ROUNDING) & (rows <= 1 + ROUNDING)).all(axis=1)
            sums = np.abs(rows.sum(axis=1) - 1) <= ROUNDING
        bad = answered & ~(inside & sums)
        if bad.any():
            row = int(bad.argmax())
            values = ", ".join(f"{value:.4g}" for value in rows[row, :8])
            raise ConfigError(
                f"the probabilities of {name} must be in [0, 1] and sum to 1 for every sample, or be NaN throughout "
                f"where the classifier abstained; got [{values}] for sample {first + row}; mend the classifier"
            )
    return rows, answered


def predicted_classes(
    arrays: Sequence[npt.NDArray[np.floating]], attributes: tuple[Attribute, ...], first: int = 0
) -> npt.NDArray[np.int64]:
    """Return the class of the joint that is most probable for every sample, int64 [n]; -1 where it is unanswered.

    Args:
        arrays: float [n, K_a] of each attribute, rows as `answered_rows` reads them.
        attributes: the attributes, in the order of the arrays.
        first: number of the sample in the first row, for the error.

    Raises:
        ConfigError: a row is neither probabilities nor NaN throughout.

    >>> rows = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])
    >>> predicted_classes([rows], (Attribute("glasses", ("no", "yes")),))
    array([ 0, -1,  1])
    """
    read = [answered_rows(p, a.name, first) for p, a in zip(arrays, attributes, strict=True)]
    classes = joint_labels(np.stack([p.argmax(axis=1) for p, _ in read], axis=1), attributes)
    return np.where(np.all([answered for _, answered in read], axis=0), classes, -1)
