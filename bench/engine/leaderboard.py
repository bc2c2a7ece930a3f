"""The tests of "both methods have the same ranking_metric", on predicted classes of samples that began from the same noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.schema import BY_PROMPT, POOLED
from bench.core.value import Value, mean_over_seeds
from bench.engine.cell_result import CellResult
from bench.engine.scoring import predicted_labels

OF_JOINT = ("fd_l2_soft", "fd_l2_corrected")  # of the leaderboard, beside the ranking_metric

Ints = npt.NDArray[np.int64]

Floats = npt.NDArray[np.float64]


def p_pooled(one: Sequence[Ints], other: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """Two-sided p of one discrepancy over all samples.

    Args:
        one: classes of the joint of one method, int64 [n] a seed, -1 where the classifier abstained.
        other: the other's, in the same order.
        target: float64 [K].
        rng: source of randomness.
    """
    from bench.core.stats import paired_discrepancy_p

    a, b = np.concatenate(one), np.concatenate(other)
    both = (a >= 0) & (b >= 0)
    return paired_discrepancy_p(a[both], b[both], target, rng) if both.any() else 1.0


def p_by_prompt(one: Sequence[Ints], other: Sequence[Ints], target: Floats, rng: np.random.Generator) -> float:
    """As `p_pooled`, of the mean of the discrepancies of prompts: pairs are redrawn within each prompt and seed.

    1 where a prompt has no pair that was classified twice: the mean is then undefined.
    """
    from bench.core.stats import paired_difference

    pairs = []
    for a, b in zip(one, other, strict=True):
        both = (a >= 0) & (b >= 0)
        if not both.any():
            return 1.0
        pairs.append((a[both], b[both]))

    def distance(shares: Floats) -> Floats:
        return np.asarray(np.linalg.norm(shares - target, axis=-1))

    return float(paired_difference(pairs, distance, len(target), rng, n_draws=4000).p)


def leaderboard(results: Sequence[CellResult]) -> list[dict[str, Any]]:
    """One row a method and task, best ranking_metric first within a task; failed and skipped ones last, with the reason.

    With several seeds, value and interval are the mean over seeds and Student's t of it; with one, the cell's own.
    """
    tasks: dict[str, dict[str, list[CellResult]]] = {}
    for r in results:
        tasks.setdefault(r.work.cell.task, {}).setdefault(r.work.cell.title, []).append(r)
    rows = []
    for task, methods in tasks.items():
        of_task = [r for of_method in methods.values() for r in of_method]
        lines = [_line(task, title, of_method) for title, of_method in methods.items()]
        ranking_metric = of_task[0].ranking_metric
        lines.sort(key=lambda row: (row["status"] != "ok", _rank(row, ranking_metric)))
        ties = tied_with_best(lines, of_task)
        rows += [{**row, "tied_best": title_tied} for row, title_tied in zip(lines, ties, strict=True)]
    return rows


def _rank(row: dict[str, Any], ranking_metric: str) -> float:
    """The ranking_metric of a row that has one; what is undefined comes last of those that ran."""
    return math.inf if row[ranking_metric] is None else float(row[ranking_metric])


def _line(task: str, title: str, results: list[CellResult]) -> dict[str, Any]:
    good = [r for r in results if r.status == "ok"]
    bad = [r for r in results if r.status != "ok"]
    first = results[0]
    row: dict[str, Any] = {"task": task, "method": title}
    ranking_metric = first.ranking_metric
    for metric in dict.fromkeys((ranking_metric, *(BY_PROMPT if first.work.prompted else ()), POOLED, *OF_JOINT)):
        row |= _average(metric, metric, first.scope, good)
    for classifier in first.work.classifiers[1:]:
        row |= _average(f"{ranking_metric} by {classifier.title}", ranking_metric, first.scope, good, classifier.title)
    found = sorted({(s["metric"], s["scope"]) for r in good for s in r.scores})
    for metric, scope in found:
        if metric.startswith("frechet_"):
            row |= _average(f"{metric} to {scope}", metric, scope, good)
        elif (
            metric.startswith(("epsilon_", "detection_rate_"))
            or (metric, scope) == ("abstained_share", first.scope)
            or (metric.startswith("clip_score_") and scope == "all")
        ):
            row |= _average(metric, metric, scope, good)
    null = good[0].score(ranking_metric, first.scope) if good else None
    return row | {
        "fd_noise_floor": null["noise_floor"] if null else None,
        "classifier_accuracy": first.classifier_accuracy(),
        "guided_by_classifier": first.work.guided_by_classifier,
        "nfe_per_image": float(np.mean([r.cost["nfe"] for r in good])) if good else None,
        "backward_per_image": float(np.mean([r.cost["backward"] for r in good])) if good else None,
        "n": first.work.n,
        **({"prompts": len(first.work.prompted)} if first.work.prompted else {}),
        "seeds": len(good),
        "status": bad[0].status if bad else "ok",
        "reason": last_line(bad[0].reason) if bad else "",
    }


def last_line(reason: str) -> str:
    """The sentence of a reason; of a defect's traceback, the exception. The whole of it is in failures.log."""
    stripped = reason.strip()
    return stripped.splitlines()[-1] if stripped else ""


def _average(
    column: str, metric: str, scope: str, results: list[CellResult], classifier: str | None = None
) -> dict[str, Any]:
    values = [
        Value(s["value"], s["ci_low"], s["ci_high"]) for r in results if (s := r.score(metric, scope, classifier))
    ]
    keys = (column, f"{column}_low", f"{column}_high")
    if not values:
        return dict.fromkeys(keys)
    mean = mean_over_seeds(values, nonnegative=True)  # no metric of the leaderboard can be below 0
    return dict(zip(keys, (mean.value, mean.low, mean.high), strict=True))


def tied_with_best(lines: list[dict[str, Any]], results: list[CellResult]) -> list[str]:
    """Say "yes" where the ranking_metric's difference from the best row of the task is not significant, else "no".

    Paired bootstrap over the samples: sample i of every method began from the same noise, so both methods are
    redrawn with the same sample numbers (per seed, and per prompt where there are several). Differences are tested at
    5 % with Holm's correction over the methods of the task. The best row itself is "best".
    """
    from bench.core.stats import holm

    good = [line for line in lines if line["status"] == "ok"]
    if not good:
        return [""] * len(lines)
    target = np.array(results[0].work.cell.target)
    labels = {line["method"]: _labels([r for r in results if r.work.cell.title == line["method"]]) for line in good}
    best = labels[good[0]["method"]]
    rng = np.random.default_rng(0)
    p_same = p_by_prompt if results[0].work.prompted else p_pooled
    p = [p_same(best, labels[line["method"]], target, rng) for line in good[1:]]
    verdicts = iter(["best", *("no" if rejected else "yes" for rejected in holm(p, 0.05))])
    return [next(verdicts) if line["status"] == "ok" else "" for line in lines]


def _labels(results: list[CellResult]) -> list[np.ndarray]:
    """Predicted classes of the joint, int64 [n], -1 for none, of every seed, and of every prompt of it, in order."""
    ordered = sorted(results, key=lambda r: r.work.cell.seed)
    return [predicted_labels(part) for r in ordered for part in r.work.parts]
