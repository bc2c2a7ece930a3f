"""Intervals of class shares by the design of the samples: coverage, widths, and what is fixed by the design."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.core import design as core_design
from bench.core.design import BLOCK, Design
from bench.core.errors import NotFinite
from bench.protocols.evaluator import Reference, Sample
from evaluators.classifiers.calibration import softmax
from evaluators.classifiers.network import AttributeNetwork
from evaluators.classifiers.reading import probabilities
from evaluators.classifiers.share_draws import FEW_BATCHES, count
from evaluators.classifiers.shares import clear_of_kinks
from evaluators.fairness_discrepancy import Evaluator
from methods.targeting import assigned_classes
from tests.benchmarks import coverage_classes, coverage_mixture
from tests.benchmarks.coverage_classes import attribute, by_batch, by_class, fairness, independent, one_hot
from tests.support.coverage import Row, measure

HALF = (0.5, 0.5)
EVEN = Reference((attribute(2),), np.full(2, 0.5))
ASSIGNED = by_class(HALF, ((0.95, 0.05), (0.05, 0.95)))


def scores(labels: np.ndarray, design: Design | None, sharp: float = 1.0) -> dict[str, tuple[float, float, str]]:
    rows = np.where(one_hot(labels, 2) == 1, sharp, 1 - sharp)
    sample = Sample({"a": rows}, {}, np.full(len(labels), -1), design=design)
    return {s.metric: (s.ci_low or 0.0, s.ci_high or 0.0, s.reason) for s in Evaluator().evaluate(sample, EVEN)}


@pytest.mark.parametrize(
    ("row", "n"),
    [
        (fairness("fd_l2_hard", ASSIGNED, HALF), 100),
        (fairness("share_hard", by_batch((0.65, 0.35), 100.0, 20), HALF), 200),
        (fairness("fd_l2_hard", by_batch(HALF, 5.0, 20), HALF), 200),
        (fairness("fd_l1", independent((0.3, 0.25, 0.25, 0.2)), (0.25,) * 4), 1000),
        (fairness("fd_l1", independent((0.4, 0.25, 0.25, 0.1)), (0.25,) * 4), 200),
        (fairness("fd_l2_soft", independent((0.995, 0.005)), HALF), 200),
        (fairness("share_hard", independent((0.995, 0.005)), HALF), 20),
        (coverage_classes.kappa(0.005, 0.5), 200),
        (coverage_classes.drift("drift_l2", 0.05, 0.05), 200),
    ],
    ids=lambda value: f"{value.metric}, {value.setting}" if isinstance(value, Row) else "",
)
def test_intervals_cover_at_their_rate_or_more(row: Row, n: int) -> None:
    measured = measure(row, n, 120)
    assert measured.undefined == 0
    assert measured.coverage >= 0.89  # three standard errors of 120 draws below 0.95


def test_a_corrected_discrepancy_of_a_perfect_sampler_reaches_0_and_has_a_noise_floor() -> None:
    row = coverage_classes.corrected(HALF, HALF, 0.9)
    assert measure(row, 200, 60).coverage >= 0.87
    assert row.draw(200, np.random.default_rng(0)).noise_floor == pytest.approx(0.15, abs=0.06)


def test_every_method_of_the_table_covers_on_the_mixture_in_a_short_form() -> None:
    measured = measure(coverage_mixture.method_row("sample_guidance", 40), coverage_mixture.N, 80)
    assert measured.coverage >= 0.86


def test_assigned_classes_make_the_interval_narrower_and_steered_batches_that_agree_too() -> None:
    labels = np.tile([0, 1], 120)
    plain = scores(labels, None)["fd_l2_hard"]
    stratified = scores(labels, Design(labels, block=BLOCK))["fd_l2_hard"]
    steered = scores(labels, Design(np.zeros(240, np.int64), np.arange(240) // 20))["fd_l2_hard"]
    assert plain[0] == stratified[0] == steered[0] == 0.0
    assert 0 < stratified[1] < plain[1] / 2
    assert 0 < steered[1] < plain[1] / 2


def test_fewer_than_8_batches_are_taken_for_independent_samples_and_the_score_says_so() -> None:
    labels = np.arange(140) % 3 % 2
    steered = scores(labels, Design(np.zeros(140, np.int64), np.arange(140) // 20))
    plain = scores(labels, None)
    assert steered["fd_l2_hard"][:2] == plain["fd_l2_hard"][:2]
    assert {reason for _, _, reason in steered.values()} == {FEW_BATCHES}


@pytest.mark.parametrize("n", [20, 200])
def test_one_class_has_a_soft_interval_as_wide_as_the_hard_one(n: int) -> None:
    ends = scores(np.zeros(n, np.int64), None, 0.9999)
    (soft_low, soft_high, _), (hard_low, hard_high, _) = ends["fd_l2_soft"], ends["fd_l2_hard"]
    assert soft_high - soft_low == pytest.approx(hard_high - hard_low, rel=0.35)
    assert soft_high - soft_low > 0.3 / n


def test_a_last_block_that_is_not_whole_adds_the_spread_of_its_classes() -> None:
    # 40 of a block of 30 + 30: hypergeometric, variance 40 * 1/4 * 20/59; right classes leave no other spread.
    assigned = np.arange(100) % 2
    sample = Sample({}, {}, np.full(100, -1), design=Design(assigned, block=60))
    draws = count(assigned, 2, sample).draw(np.random.default_rng(0))
    within = 2 * 0.25 * 0.005  # of the pseudo-counts
    assert draws[:, 0].var() == pytest.approx(40 / 4 * 20 / 59 / 100**2, abs=within / 10)


def test_the_block_of_assigned_classes_is_that_of_the_methods() -> None:
    assert core_design.BLOCK == assigned_classes.BLOCK


def test_classes_within_their_error_of_the_target_are_put_there_and_the_distance_stays() -> None:
    point, target = np.array([0.4, 0.26, 0.24, 0.1]), np.full(4, 0.25)
    # Sum of differences 0.32, shared by the first class and the last.
    np.testing.assert_allclose(clear_of_kinks(point, target, np.full(4, 0.02)), [0.41, 0.25, 0.25, 0.09])
    np.testing.assert_allclose(clear_of_kinks(point, target, np.full(4, 0.001)), point)
    assert clear_of_kinks(point, target, np.full(4, 0.2)) is point
    # Of an uneven target: differences of 0.22, shared by the first class and the last.
    point, target = np.array([0.5, 0.26, 0.14, 0.1]), np.array([0.4, 0.25, 0.15, 0.2])
    np.testing.assert_allclose(clear_of_kinks(point, target, np.full(4, 0.02)), [0.51, 0.25, 0.15, 0.09])


@pytest.mark.parametrize("n", [39, 40])
def test_distances_with_kinks_have_no_interval_below_10_samples_per_class(n: int) -> None:
    sample = Sample({"a": one_hot(np.arange(n) % 4, 4)}, {}, np.full(n, -1))
    task = Reference((attribute(4),), np.full(4, 0.25))
    by_metric = {s.metric: s for s in Evaluator().evaluate(sample, task)}
    note = "" if n == 40 else "no interval: 4 classes need 40 samples or more, got 39"
    for metric in ("fd_l1", "kl"):
        assert (by_metric[metric].ci_low is None) == (by_metric[metric].ci_high is None) == (n < 40)
        assert (by_metric[metric].status, by_metric[metric].reason) == ("ok", note)
        assert by_metric[metric].noise_floor is not None
    for metric in ("fd_l2_hard", "fd_l2_soft", "share_hard"):
        assert by_metric[metric].ci_low is not None


class Overflowing(AttributeNetwork):
    """A network whose logits are NaN."""

    architecture = "overflowing"

    @staticmethod
    def make_backbone(widths: tuple[int, ...]) -> torch.nn.Module:
        return torch.nn.Conv2d(3, widths[-1], 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_no_abstention(value: float) -> None:
    with pytest.raises(NotFinite, match="NaN or infinity for 1 of 2 images"):
        softmax(np.array([[0.0, 1.0], [value, 0.0]]))
    network = Overflowing((attribute(2),), (4,), 8)
    torch.nn.init.constant_(network.heads["a"].bias, value)
    with pytest.raises(NotFinite, match="NaN or infinity for 3 of 3 images"):
        probabilities(network, torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
