"""The rows of leaderboard.csv, and which methods do not differ significantly from the best of their task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.core.schema import BY_PROMPT, POOLED
from bench.core.value import Value, mean_over_seeds
from bench.engine.cell_result import CellResult
from bench.engine.resources import Resources
from bench.engine.scoring import predicted_labels

OF_JOINT = ("fd_l2_soft", "fd_l2_corrected")  # of the leaderboard, beside the ranking_metric

Ints = npt.NDArray[np.int64]

Floats = npt.NDArray[np.float64]
Row = dict[str, str | float | None]  # of leaderboard.csv, by its columns


def p_pooled(first: Sequence[Ints], second: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """Return the two-sided p of "both methods have the same discrepancy over all samples".

    Args:
        first: classes of the joint of one method, int64 [n] per seed, -1 where the classifier abstained.
        second: the other method's, in the same order.
        target: float64 [K].
        rng: source of randomness.
    """
    from bench.core.stats import paired_discrepancy_p

    a, b = np.concatenate(first), np.concatenate(second)
    both = (a >= 0) & (b >= 0)
    return paired_discrepancy_p(a[both], b[both], target, rng) if both.any() else 1.0


def p_by_prompt(first: Sequence[Ints], second: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """Return p as `p_pooled`, of the mean of the discrepancies of prompts: pairs are redrawn per prompt and seed.

    1 where a prompt has no pair that was classified twice: the mean is then undefined.
    """
    from bench.core.stats import paired_difference

    pairs = []
    for a, b in zip(first, second, strict=True):
        both = (a >= 0) & (b >= 0)
        if not both.any():
            return 1.0
        pairs.append((a[both], b[both]))

    def distance(shares: Floats) -> Floats:
        return np.asarray(np.linalg.norm(shares - target, axis=-1))

    return float(paired_difference(pairs, distance, len(target), rng, n_draws=4000).p)


def leaderboard(results: Sequence[CellResult], resources: Resources) -> list[Row]:
    """Return one row per method and task, best ranking metric first within a task; failed and skipped ones last.

    With several seeds, value and interval are the mean over seeds and Student's t of it; with one, the cell's own.
    """
    tasks: dict[str, dict[str, list[CellResult]]] = {}
    for r in results:
        tasks.setdefault(r.job.cell.task, {}).setdefault(r.job.cell.title, []).append(r)
    rows: list[Row] = []
    for task, methods in tasks.items():
        of_task = [r for of_method in methods.values() for r in of_method]
        lines = [_line(task, title, of_method) for title, of_method in methods.items()]
        ranking_metric = of_task[0].ranking_metric
        lines.sort(key=lambda row: (row["status"] != "ok", _rank(row, ranking_metric)))
        ties = tied_with_best(lines, of_task, resources)
        rows += [{**row, "tied_best": tied} for row, tied in zip(lines, ties, strict=True)]
    return rows


def _rank(row: Row, ranking_metric: str) -> float:
    """Return the ranking metric of a row that has one; what is undefined comes last of those that ran."""
    value = row[ranking_metric]
    return math.inf if value is None else float(value)


def _line(task: str, title: str, results: list[CellResult]) -> Row:
    good = [r for r in results if r.status == "ok"]
    bad = [r for r in results if r.status != "ok"]
    job, scope, ranking_metric = results[0].job, results[0].scope, results[0].ranking_metric
    row: Row = {"task": task, "method": title}
    for metric in dict.fromkeys((ranking_metric, *(BY_PROMPT if job.prompt_jobs else ()), POOLED, *OF_JOINT)):
        row |= _average(metric, metric, scope, good)
    for classifier in job.scoring.classifiers[1:]:
        row |= _average(f"{ranking_metric} by {classifier.title}", ranking_metric, scope, good, classifier.title)
    for metric, over in sorted({(s.metric, s.scope) for r in good for s in r.scores}):
        if metric.startswith("frechet_"):
            row |= _average(f"{metric} to {over}", metric, over, good)
        elif _has_column(metric, over, scope):
            row |= _average(metric, metric, over, good)
    ranked = good[0].score(ranking_metric, scope) if good else None
    costs = [r.cost for r in good if r.cost is not None]
    return row | {
        "fd_noise_floor": ranked.noise_floor if ranked else None,
        "classifier_accuracy": results[0].classifier_accuracy(),
        "guided_by_classifier": job.guided_by_classifier,
        "nfe_per_image": float(np.mean([cost.nfe for cost in costs])) if costs else None,
        "backward_per_image": float(np.mean([cost.backward for cost in costs])) if costs else None,
        "n": job.n,
        **({"prompts": len(job.prompt_jobs)} if job.prompt_jobs else {}),
        "seeds": len(good),
        "status": bad[0].status if bad else "ok",
        "reason": last_line(bad[0].reason) if bad else "",
    }


def _has_column(metric: str, over: str, joint: str) -> bool:
    """Return whether the leaderboard has a column of a metric over a scope, the joint of the task being another."""
    return (
        metric.startswith(("epsilon_", "detection_rate_"))
        or (metric, over) == ("abstained_share", joint)
        or (metric.startswith("clip_score_") and over == "all")
    )


def last_line(reason: str) -> str:
    """Return the sentence of a reason; of a defect's traceback, the exception. All of it is in failures.log."""
    stripped = reason.strip()
    return stripped.splitlines()[-1] if stripped else ""


def _average(column: str, metric: str, scope: str, results: list[CellResult], classifier: str | None = None) -> Row:
    values = [
        Value(s.value, s.ci_low, s.ci_high)
        for r in results
        if (s := r.score(metric, scope, classifier)) is not None and s.value is not None
    ]
    keys = (column, f"{column}_low", f"{column}_high")
    if not values:
        return dict.fromkeys(keys)
    mean = mean_over_seeds(values, nonnegative=True)  # no metric of the leaderboard can be below 0
    return dict(zip(keys, (mean.value, mean.low, mean.high), strict=True))


def tied_with_best(lines: Sequence[Row], results: Sequence[CellResult], resources: Resources) -> list[str]:
    """Return "yes" where a row does not differ significantly from the best row of its task, else "no".

    Paired bootstrap over the samples: sample i of every method began from the same noise, so both methods are
    redrawn with the same sample numbers (per seed, and per prompt where there are several). Differences are tested at
    5 % with Holm's correction over the methods of the task. The best row itself is "best".
    """
    from bench.core.stats import holm

    good = [line for line in lines if line["status"] == "ok"]
    if not good:
        return [""] * len(lines)
    target = np.array(results[0].job.cell.target)
    labels = {
        line["method"]: _labels([r for r in results if r.job.cell.title == line["method"]], resources) for line in good
    }
    best = labels[good[0]["method"]]
    rng = np.random.default_rng(0)
    p_same = p_by_prompt if results[0].job.prompt_jobs else p_pooled
    p = [p_same(best, labels[line["method"]], target, rng) for line in good[1:]]
    verdicts = iter(["best", *("no" if rejected else "yes" for rejected in holm(p, 0.05))])
    return [next(verdicts) if line["status"] == "ok" else "" for line in lines]


def _labels(results: list[CellResult], resources: Resources) -> list[Ints]:
    """Return predicted classes of the joint, int64 [n], -1 for none, of every seed, and of every prompt of it."""
    ordered = sorted(results, key=lambda r: r.job.cell.seed)
    return [predicted_labels(resources, part) for r in ordered for part in r.job.parts]
