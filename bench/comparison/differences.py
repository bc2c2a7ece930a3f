"""The difference of two scores: paired where both come from the same noise and the store has their classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, marginal, product
from bench.core.schema import OVER_PROMPTS
from bench.core.stats import Difference, Estimate, independent_difference, paired_difference, paired_mean_difference
from bench.results.metric_info import metric
from bench.results.read import target_shares
from bench.results.run import Run
from bench.results.score_row import ScoreRow

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

PAIRED, INTERVALS, EXACT = "paired bootstrap", "intervals (MOVER)", "exact count"
SEED = 20_080_101
SAME = 1e-5  # between the CSV's value and that of the stored classes; targets are written with six digits
HARD, SOFT = ("fd_l2_hard", "fd_l1", "share_hard", OVER_PROMPTS), "fd_l2_soft"


@dataclass(frozen=True)
class Compared:
    """Two scores with values, means over their seeds.

    Attributes:
        a: value of the first.
        b: value of the second.
        difference: b - a, with interval and two-sided p.
        test: name of the test.
        n: samples per seed.
        seeds: seeds of a and of b.
    """

    a: float
    b: float
    difference: Difference
    test: str
    n: int
    seeds: tuple[int, int]


def compare_lines(run_a: Run, a: Sequence[ScoreRow], run_b: Run, b: Sequence[ScoreRow]) -> Compared:
    """Test the difference of two scores that `bench.comparison.comparability.why_not` calls comparable.

    The test is exact for what is counted; paired for `fd_l2_hard`, `fd_l1`, `share_hard`, `fd_l2_prompt_mean` (within
    each prompt) and (of one attribute) `fd_l2_soft`, where seeds and model are the same and both stores still give the
    CSV's values; by intervals for everything else: Frechet distances need the reference's features, epsilon the probes,
    KL is too skewed to redraw.

    Args:
        run_a: the run of the first.
        a: its rows, one per seed, all with a value.
        run_b: the run of the second.
        b: its rows.
    """
    name = a[0].metric
    mean_a, mean_b = (float(np.mean([row.value for row in rows])) for rows in (a, b))
    shared = (a[0].n or 0, (len(a), len(b)))
    if metric(name).exact:
        difference = mean_b - mean_a
        p = 1.0 if difference == 0 else 0.0
        exact = Difference(*(np.asarray(x) for x in (difference, difference, difference, p)))
        return Compared(mean_a, mean_b, exact, EXACT, *shared)
    paired = _paired(run_a, a, run_b, b)
    if paired is not None:
        return Compared(mean_a, mean_b, paired, PAIRED, *shared)
    return Compared(mean_a, mean_b, independent_difference(_estimate(a), _estimate(b)), INTERVALS, *shared)


def _estimate(rows: Sequence[ScoreRow]) -> Estimate:
    value, low, high = (np.array(side) for side in zip(*((r.value, r.ci_low, r.ci_high) for r in rows), strict=True))
    return Estimate.of_interval(
        value, np.minimum(low, value), np.maximum(high, value), metric(rows[0].metric).freedom
    ).mean()


def _paired(run_a: Run, a: Sequence[ScoreRow], run_b: Run, b: Sequence[ScoreRow]) -> Difference | None:
    """Return the paired test's result; None where the pairs or their classes are not there."""
    name = a[0].metric
    if name not in (*HARD, SOFT) or [row.seed for row in a] != [row.seed for row in b]:
        return None
    sides = [(run, row) for run, rows in ((run_a, a), (run_b, b)) for row in rows]
    stored = [run.stored.probabilities(row) for run, row in sides]
    classified = [probabilities for probabilities in stored if probabilities is not None]
    if len(classified) < len(stored):
        return None
    attributes = tuple(_attribute(*item) for item in classified[0].items())
    scoped = tuple(x for x in attributes if x.name in a[0].scope.split("=")[0].split("+"))
    if len(scoped) not in ((1,) if name == SOFT else (1, len(attributes))):
        return None
    k = product(scoped).n_classes
    statistic = _statistic(run_a, a[0], attributes, scoped)
    answers = [p[scoped[0].name] if name == SOFT else np.eye(k)[_labels(p, scoped)] for p in classified]
    pieces = [[x] for x in answers]
    if name == OVER_PROMPTS:
        pieces = [_by_prompt(run, row, x) for (run, row), x in zip(sides, answers, strict=True)]
    for of_prompts, (_, row) in zip(pieces, sides, strict=True):
        value = float(np.mean([statistic(x.mean(0)) for x in of_prompts]))
        if not math.isclose(value, row.value, abs_tol=SAME):
            return None  # the store has moved on since the CSV was written, or the CSV was edited
    seeds = zip(pieces[: len(a)], pieces[len(a) :], strict=True)
    pairs = [pair for first, second in seeds for pair in zip(first, second, strict=True)]
    rng = np.random.default_rng(SEED)
    if name == SOFT:
        return paired_mean_difference(pairs, statistic, rng)
    return paired_difference([(x.argmax(1), y.argmax(1)) for x, y in pairs], statistic, k, rng)


def _by_prompt(run: Run, row: ScoreRow, answers: Floats) -> list[Floats]:
    """Split the rows [n, K] of a cell into those of each of its prompts."""
    return np.split(answers, np.cumsum([part.n for part in run.stored.parts(row)])[:-1])


def _attribute(name: str, probabilities: Floats) -> Attribute:
    return Attribute(name, tuple(map(str, range(probabilities.shape[1]))))  # the store does not know the classes' names


def _labels(probabilities: dict[str, Floats], scoped: tuple[Attribute, ...]) -> npt.NDArray[np.int64]:
    return joint_labels(np.stack([probabilities[x.name].argmax(1) for x in scoped], axis=1), scoped)


def _statistic(run: Run, row: ScoreRow, attributes: tuple[Attribute, ...], scoped: tuple[Attribute, ...]) -> Statistic:
    """Return the function of class shares that the metric of a row is."""
    if row.metric == "share_hard":
        scopes = [
            k.scope for k in run.by_key if k[1:3] == (row.method, row.metric) and k.task.attributes == row.attributes
        ]
        prefix = row.scope.split("=")[0] + "="
        k = list(dict.fromkeys(x for x in scopes if x.startswith(prefix))).index(row.scope)  # written in class order
        return lambda shares: shares[..., k]
    target = target_shares(row.target)
    r = target if scoped == attributes else marginal(target, attributes, scoped[0])
    if row.metric == "fd_l1":
        return lambda shares: np.abs(shares - r).sum(-1)
    return lambda shares: np.linalg.norm(shares - r, axis=-1)
