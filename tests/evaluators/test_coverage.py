"""Coverage of the intervals of feature metrics, the short form of `python -m tests.benchmarks.coverage`."""

from __future__ import annotations

import pytest

from tests.benchmarks.coverage_features import ROWS
from tests.support.coverage import Row, measure

SHORT = {
    ("paired_distance", "lognormal, sigma 1"): (20, 200),
    ("paired_distance", "40 % moved"): (20, 200),
    ("paired_cosine", "angles of 0.3"): (20, 200),
    ("clip_score", "two prompts"): (200,),
    ("kid", "two classes"): (100,),
    ("kid", "lognormal features, shifted"): (100,),
    ("cmmd_v", "Gaussian features, shifted"): (50,),
    ("frechet", "two classes"): (100,),
    ("frechet", "two classes, shifted"): (100,),
    ("frechet", "lognormal features, shifted"): (100,),
    ("fd_infinity", "two classes"): (100,),
    ("precision_k5", "two classes, shifted"): (100,),
    ("recall_k5", "Gaussian features, shifted"): (100,),
    ("group_frechet", "two classes"): (1200,),
    ("vendi", "two classes"): (50,),
}
CASES = [(row, n) for row in ROWS for n in SHORT.get((row.metric, row.setting), ())]


def test_every_case_is_a_row_of_the_table() -> None:
    assert {(row.metric, row.setting) for row, _ in CASES} == set(SHORT)


@pytest.mark.parametrize(("row", "n"), CASES, ids=[f"{row.metric}, {row.setting}, {n}" for row, n in CASES])
def test_intervals_cover(row: Row, n: int) -> None:
    """At least 93 %, less three standard errors of 200 draws."""
    measured = measure(row, n, 200)
    assert measured.coverage >= 0.93 - 3 * (0.93 * 0.07 / 200) ** 0.5
    assert measured.undefined == 0
