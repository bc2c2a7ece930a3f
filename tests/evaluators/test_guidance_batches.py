"""Samples that a method steers in whole batches: the jackknife leaves out whole batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.core import plugins
from bench.core.design import MIN_BATCHES, Design
from bench.plugin_checks.evaluators import Metric
from bench.plugin_checks.samples import good
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.features.groups import FEW, FEW_BATCHES, groups_of, interleaved, means, singles
from evaluators.features.mmd import unbiased, within
from evaluators.features.subset import drawn_rows
from evaluators.kid import cubic, scaled

ON_FEATURES = ["kid", "cmmd", "frechet", "fd_infinity", "prdc", "vendi", "group_quality", "paired_baseline"]


def coupled(n: int, size: int) -> Design:
    """Return the design of n samples in batches of a size."""
    return Design(np.zeros(n, dtype=np.int64), np.arange(n) // size)


def test_groups_are_whole_batches_where_there_are_enough() -> None:
    design, rows = coupled(120, 10), np.arange(120)
    apart = groups_of(design, rows, few=False)
    assert (apart.count, apart.batches, apart.note) == (12, True, "")
    assert apart.labels.tolist() == (rows // 10).tolist()
    few = groups_of(design, rows, few=True)
    assert few.count == FEW
    assert few.labels.tolist() == (rows // 10 % FEW).tolist()
    assert few.sizes.tolist() == [20, 20] + 8 * [10]


def test_with_fewer_batches_samples_count_as_independent_and_the_note_says_so() -> None:
    rows = np.arange(10 * (MIN_BATCHES - 1))
    design = coupled(rows.size, 10)
    for few, expected in ((True, interleaved(rows.size)), (False, singles(rows.size))):
        actual = groups_of(design, rows, few=few)
        assert (actual.labels.tolist(), actual.note) == (expected.labels.tolist(), FEW_BATCHES)
        assert not actual.batches
    independent = groups_of(None, rows, few=False)
    assert (independent.note, independent.count) == ("", rows.size)
    assert groups_of(Design.independent(rows.size), rows, few=True).labels.tolist() == (rows % FEW).tolist()


def test_replicates_of_batches_are_the_statistic_without_them() -> None:
    rng = np.random.default_rng(0)
    x, y, groups = (
        rng.standard_normal((50, 3)),
        rng.standard_normal((30, 3)),
        groups_of(coupled(50, 5), np.arange(50), few=False),
    )
    assert means(x[:, 0], groups)[3] == pytest.approx(np.delete(x[:, 0], range(10, 15)).mean())
    reals = within(y, scaled, cubic)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return cubic(scaled(a) @ scaled(b).T)

    actual = unbiased(within(x, scaled, cubic, groups), reals, kernel(x, y).sum(axis=1))
    assert actual.size == 11
    for batch in range(10):
        left = np.delete(x, range(5 * batch, 5 * batch + 5), axis=0)
        expected = unbiased(within(left, scaled, cubic), reals, kernel(left, y).sum(axis=1))[0]
        assert actual[1 + batch] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_values_do_not_depend_on_the_design_and_few_batches_are_noted(name: str) -> None:
    sample = good(0, 240)
    plain = Metric(name).scores(sample)
    many, few = (Metric(name).scores(replace(sample, design=coupled(240, size))) for size in (10, 60))
    for before, batched, noted in zip(plain, many, few, strict=True):
        if name != "fd_infinity" and "_se_" not in before.metric:  # windows, and the error, are of other groups
            assert batched.value == pytest.approx(before.value, rel=1e-9)
        assert (noted.value, noted.ci_low, noted.ci_high) == (before.value, before.ci_low, before.ci_high)
        if before.ci_low is not None:
            assert FEW_BATCHES in noted.reason
            # 20 samples of a class are not of every batch.
            assert (FEW_BATCHES in batched.reason) == (name == "group_quality")


def clustered(rng: np.random.Generator, batches: int, size: int) -> Sample:
    """Return pairs whose distances have a part that a batch shares."""
    n = batches * size
    distances = (3.0 + np.repeat(rng.standard_normal(batches), size) / 2 + rng.standard_normal(n) / 2)[:, None]
    vanilla = Sample({}, {}, np.full(n, -1), perceptual={"net": np.zeros((n, 1))})
    points = {"net": np.sqrt(np.maximum(distances, 0.0))}
    return Sample({}, {}, np.full(n, -1), perceptual=points, paired_baseline=vanilla, design=coupled(n, size))


def test_batches_that_share_noise_are_covered() -> None:
    evaluator, rng, covered, naive = (
        plugins.load("evaluator", "paired_baseline", "Evaluator")(),
        np.random.default_rng(3),
        0,
        0,
    )
    for _ in range(300):
        sample = clustered(rng, 12, 20)
        score, alone = (
            evaluator.evaluate(s, Reference((), np.ones(1)))[0] for s in (sample, replace(sample, design=None))
        )
        covered += holds(score)
        naive += holds(alone)
    assert 0.93 <= covered / 300 <= 0.995  # the skewness of 12 batches is noise, which widens the interval
    assert naive / 300 < 0.7


def holds(score: Score) -> bool:
    assert score.ci_low is not None
    assert score.ci_high is not None
    return score.ci_low <= 3.0 <= score.ci_high


def test_a_subset_is_spread_over_prompts_and_nested() -> None:
    rows = drawn_rows(3000, 1000)
    by_prompt = np.bincount(rows // 100, minlength=30)
    assert by_prompt.min() > 15  # 33 of each of 30 prompts on average; the first 1,000 rows were those of 10 prompts
    assert set(drawn_rows(3000, 100)) < set(rows)
    assert (np.diff(rows) > 0).all()
    assert drawn_rows(50, 100).tolist() == list(range(50))
    even = drawn_rows(3000, 10, among=np.arange(0, 3000, 2))
    assert (even % 2 == 0).all()
    assert even.size == 10
