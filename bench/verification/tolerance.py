"""By how much a number may differ from the one that is computed again: not at all, or by what its column allows.

Another machine's arithmetic rounds otherwise: a sample is a few of 255 levels off (`bench.verification.resample`), a
feature by a thousandth of the largest, and at times an image near the border of two classes is classified otherwise.
What that moves is small beside the sampling error, which is what the tolerances are parts of. Measured on 120 scores of
three methods at n = 200, drawn with AVX-512 and again without any vector instruction: values within 0.02 of half the
interval's width, ends within 0.03. The tolerances also allow two of 200 samples to change class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# Column to the part of half the width of the score's 95 % interval by which another machine's number may differ.
PARTS = {"value": 0.2, "ci_low": 0.4, "ci_high": 0.4}
ENDS = ("_low", "_high")  # of leaderboard.csv
RELATIVE = 1e-3  # of a number without an interval
ROUNDING = 1e-9  # relative, of a number that does not depend on the samples
COUNTS = ("n", "seeds", "nfe_per_image", "backward_per_image")
FREE = ("reason", "tied_best")  # texts that follow from the numbers


def same(a: str, b: str) -> bool:
    """Return whether two fields are equal to the digit: as text, or as the numbers that the texts stand for."""
    if a == b:
        return True
    numbers = _numbers(a, b)
    return numbers is not None and numbers[0] == numbers[1]


def near(column: str, again: Mapping[str, str], row: Mapping[str, str]) -> bool:
    """Return whether a field of results.csv is within its column's tolerance of the one that is computed again.

    Args:
        column: of results.csv.
        again: the row as this machine computes it.
        row: the file's.
    """
    if column not in PARTS:
        return column in FREE or same(again[column], row[column]) or _close(again[column], row[column], ROUNDING)
    return _within(again[column], row[column], again["ci_low"], again["ci_high"], PARTS[column])


def near_cell(column: str, again: Mapping[str, str], row: Mapping[str, str]) -> bool:
    """Return the same for a field of leaderboard.csv, where METRIC, METRIC_low and METRIC_high are columns."""
    ends = [end for end in ENDS if column.endswith(end) and column.removesuffix(end) + "_low" in again]
    metric = column.removesuffix(ends[0]) if ends else column
    if metric + "_low" in again:
        part = PARTS["ci_low" if ends else "value"]
        return _within(again[column], row[column], again[metric + "_low"], again[metric + "_high"], part)
    if column in COUNTS:
        return same(again[column], row[column])
    return column in FREE or same(again[column], row[column]) or _close(again[column], row[column], RELATIVE)


def _within(a: str, b: str, low: str, high: str, part: float) -> bool:
    ends = _numbers(low, high)
    numbers = _numbers(a, b)
    if same(a, b) or numbers is None or ends is None:
        return same(a, b) or _close(a, b, RELATIVE)
    slack = max(part * (ends[1] - ends[0]) / 2, RELATIVE * abs(numbers[0]))
    return abs(numbers[0] - numbers[1]) <= slack


def _close(a: str, b: str, relative: float) -> bool:
    numbers = _numbers(a, b)
    return numbers is not None and math.isclose(*numbers, rel_tol=relative)


def _numbers(a: str, b: str) -> tuple[float, float] | None:
    try:
        return float(a), float(b)
    except ValueError:
        return None
