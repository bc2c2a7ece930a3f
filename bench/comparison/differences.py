"""The difference of two scores: paired where both come from the same noise and the store has their classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, marginal, product
from bench.core.distances import l1, l2
from bench.core.intervals import at_most
from bench.core.probability_rows import predicted_classes
from bench.core.schema import OVER_PROMPTS, POOLED, SHARE
from bench.core.stats import Answers, Difference, Estimate, PairedTest, independent_difference, paired_test
from bench.results.metric_info import metric
from bench.results.read import target_shares
from bench.results.run import Run
from bench.results.score_row import ScoreRow, mean_value

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

PAIRED, INTERVALS, EXACT = "paired bootstrap", "intervals (MOVER)", "exact count"
OF_PAIRS = "B - A is over the samples that have a class on both sides."
SAME = 1e-5  # between the CSV's value and that of the stored classes; targets are written with six digits
HARD, SOFT = (POOLED, "fd_l1", SHARE, OVER_PROMPTS), "fd_l2_soft"
OF_CLASSIFIED = (*HARD, SOFT, "kl", "fd_l2_corrected")  # their n counts the samples that were classified


@dataclass(frozen=True)
class Compared:
    """Two scores with values, means over their seeds.

    Attributes:
        a: value of the first.
        b: value of the second.
        difference: b - a, with interval and two-sided p.
        test: name of the test.
        n: samples per seed that were asked for.
        seeds: seeds of a and of b.
        note: sentences on what the test neglects, and on samples that the classifier abstained on; else empty.
    """

    a: float
    b: float
    difference: Difference
    test: str
    n: int
    seeds: tuple[int, int]
    note: str = ""


def compare_lines(run_a: Run, a: Sequence[ScoreRow], run_b: Run, b: Sequence[ScoreRow]) -> Compared:
    """Test the difference of two scores that `bench.comparison.comparability.why_not` calls comparable.

    The test is exact for what is counted; paired (`bench.core.stats.paired_test`) for `fd_l2_hard`, `fd_l1`,
    `share_hard`, `fd_l2_prompt_mean` and (of one attribute) `fd_l2_soft`, where seeds and model are the same and both
    stores still give the CSV's values; by intervals for everything else: Frechet distances need the reference's
    features, epsilon the probes, KL is too skewed to redraw.

    Args:
        run_a: the run of the first.
        a: its rows, one per seed, all with a value.
        run_b: the run of the second.
        b: its rows.
    """
    mean_a, mean_b = mean_value(a).value, mean_value(b).value
    shared, note = (a[0].n_asked, (len(a), len(b))), _abstained(a, b)
    if metric(a[0].metric).exact:
        difference = mean_b - mean_a
        p = float(at_most(abs(difference), 0.0))
        exact = Difference(*(np.asarray(x) for x in (difference, difference, difference, p)))
        return Compared(mean_a, mean_b, exact, EXACT, *shared)
    paired = _paired(run_a, a, run_b, b)
    if paired is not None:
        notes = " ".join(filter(None, (paired.note, note and f"{note} {OF_PAIRS}")))
        return Compared(mean_a, mean_b, paired.difference, PAIRED, *shared, notes)
    freedom = metric(a[0].metric).scale.freedom
    of_a, of_b = (Estimate.of_seeds([row.measured for row in rows], freedom) for rows in (a, b))
    return Compared(mean_a, mean_b, independent_difference(of_a, of_b), INTERVALS, *shared, note)


def _abstained(a: Sequence[ScoreRow], b: Sequence[ScoreRow]) -> str:
    """Return the shares of samples that the classifier abstained on, as a sentence; empty where there are none."""
    if a[0].metric not in OF_CLASSIFIED:
        return ""
    shares = [100 * (1 - sum(row.n or 0 for row in rows) / sum(row.n_asked for row in rows)) for rows in (a, b)]
    if max(shares) <= 0:
        return ""
    return f"The classifier abstained on {shares[0]:.1f} % of A's samples and on {shares[1]:.1f} % of B's."


def _paired(run_a: Run, a: Sequence[ScoreRow], run_b: Run, b: Sequence[ScoreRow]) -> PairedTest | None:
    """Return the paired test's result; None where the pairs or their classes are not there."""
    if a[0].metric not in (*HARD, SOFT) or [row.seed for row in a] != [row.seed for row in b]:
        return None
    pairs: list[tuple[Answers, Answers]] = []
    statistic: Statistic | None = None
    for of_a, of_b in zip(a, b, strict=True):
        first, second = _cell(run_a, of_a), _cell(run_b, of_b)
        if first is None or second is None or len(first.answers) != len(second.answers):
            return None
        statistic = first.statistic
        pairs += zip(first.answers, second.answers, strict=True)
    return paired_test(pairs, statistic) if statistic is not None else None


@dataclass(frozen=True)
class _Cell:
    """The classifier's answers to a cell's samples, by prompt where the metric is, and the metric of class shares."""

    answers: list[Answers]
    statistic: Statistic


def _cell(run: Run, row: ScoreRow) -> _Cell | None:
    """Return the classes of a cell; None where the store lacks them, or no longer gives the value of the CSV."""
    stored, design = run.stored.answers(row), run.stored.design(row)
    if stored is None or design is None:
        return None
    attributes = tuple(_attribute(*item) for item in stored.items())
    scoped = tuple(x for x in attributes if x.name in row.scope.split("=")[0].split("+"))
    if len(scoped) not in ((1,) if row.metric == SOFT else (1, len(attributes))):
        return None
    statistic, of_cell = _statistic(run, row, attributes, scoped), Answers(stored[scoped[0].name], design)
    if row.metric != SOFT:
        labels = predicted_classes([stored[x.name] for x in scoped], scoped)
        of_cell = Answers.of_labels(labels, product(scoped).n_classes, design)
    ends = np.cumsum([part.n for part in run.stored.parts(row)])
    answers = of_cell.by_part(ends) if row.metric == OVER_PROMPTS else [Answers(of_cell.rows, design.within(ends))]
    counts = [int((~np.isnan(one.rows).any(axis=1)).sum()) for one in answers]
    if sum(counts) != row.n or min(counts) == 0:
        return None
    value = float(np.mean([statistic(np.nanmean(one.rows, axis=0)) for one in answers]))
    return _Cell(answers, statistic) if math.isclose(value, row.value, abs_tol=SAME) else None


def _attribute(name: str, probabilities: Floats) -> Attribute:
    return Attribute(name, tuple(map(str, range(probabilities.shape[1]))))  # the store does not know the classes' names


def _statistic(run: Run, row: ScoreRow, attributes: tuple[Attribute, ...], scoped: tuple[Attribute, ...]) -> Statistic:
    """Return the function of class shares that the metric of a row is."""
    if row.metric == SHARE:
        scopes = [
            k.scope for k in run.by_key if k[1:3] == (row.method, row.metric) and k.task.attributes == row.attributes
        ]
        prefix = row.scope.split("=")[0] + "="
        k = list(dict.fromkeys(x for x in scopes if x.startswith(prefix))).index(row.scope)  # written in class order
        return lambda shares: shares[..., k]
    target = target_shares(row.target)
    r = target if scoped == attributes else marginal(target, attributes, scoped[0])
    distance = l1 if row.metric == "fd_l1" else l2
    return lambda shares: distance(shares, r)
