"""The rows of leaderboard.csv, and which methods do not differ significantly from the best of their task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.core.schema import BY_PROMPT, OVER_PROMPTS, POOLED
from bench.core.value import Value, mean_over_seeds
from bench.engine.cell_result import CellResult
from bench.engine.resources import Resources
from bench.engine.scoring import CellScore, predicted_answers
from bench.results import metric_info
from bench.results.noise_floors import BY_PROMPT as OF_PROMPT
from bench.results.read import target_shares, target_text

OF_JOINT = ("fd_l2_soft", "fd_l2_corrected")  # of the leaderboard, beside the ranking_metric

Row = dict[str, str | float | None]  # of leaderboard.csv, by its columns


def leaderboard(results: Sequence[CellResult], resources: Resources) -> list[Row]:
    """Return one row per method and task, best ranking metric first within a task; failed and skipped ones last.

    With several seeds, value and interval are the mean over seeds (`bench.core.value.mean_over_seeds`), and a column
    METRIC_seeds says how many seeds have the score; with one seed, they are the cell's own.
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
    """Return the ranking metric of a row that has one; what is undefined comes last of those that ran.

    Equal values that differ by rounding keep the order of the suite.
    """
    value = row[ranking_metric]
    return math.inf if value is None else round(float(value), 12)


def _line(task: str, title: str, results: list[CellResult]) -> Row:
    good = [r for r in results if r.status == "ok"]
    bad = [r for r in results if r.status != "ok"]
    job, scope, ranking_metric = results[0].job, results[0].scope, results[0].ranking_metric
    several, row = len(results) > 1, Row({"task": task, "method": title})
    for metric in dict.fromkeys((ranking_metric, *(BY_PROMPT if job.prompt_jobs else ()), POOLED, *OF_JOINT)):
        row |= _columns(metric, _mean(good, metric, scope), several)
    for classifier in (c.title for c in job.scoring.classifiers[1:]):
        mean = _mean(good, ranking_metric, scope, classifier)
        row |= _columns(f"{ranking_metric} by {classifier}", mean, several)
    for metric, over in sorted({(s.metric, s.scope) for r in good for s in r.scores}):
        if metric.startswith("frechet_"):
            row |= _columns(f"{metric} to {over}", _mean(good, metric, over), several)
        elif _has_column(metric, over, scope):
            row |= _columns(metric, _mean(good, metric, over), several)
    ranked = _mean(good, ranking_metric, scope)
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
        "reason": last_line(bad[0].reason) if bad else _failed_metrics(good),
    }


def _failed_metrics(results: Sequence[CellResult]) -> str:
    """Return why metrics of cells have no scores, each reason once; empty where every metric has some."""
    return "; ".join(dict.fromkeys(last_line(s.reason) for r in results for s in r.failed_metrics))


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
    return "".join(filter(str.isprintable, stripped.splitlines()[-1])) if stripped else ""


def _columns(column: str, mean: Value | None, several: bool) -> Row:
    """Return the columns of a score: value, interval and, in a suite of several seeds, the number of seeds with it."""
    numbers = (mean.value, mean.low, mean.high) if mean else (None, None, None)
    row: Row = dict(zip((column, f"{column}_low", f"{column}_high"), numbers, strict=True))
    return row | ({f"{column}_seeds": mean.seeds if mean else 0} if several else {})


def _mean(results: Sequence[CellResult], metric: str, scope: str, classifier: str | None = None) -> Value | None:
    """Return a score over the seeds that have it, with the noise floor of their mean; None where none has it."""
    scored = [(r, s) for r in results if (s := r.score(metric, scope, classifier)) is not None]
    if not scored:
        return None
    floor = None
    if len(scored) > 1 and scope == results[0].scope:
        from bench.core.distances import mean_noise_floor

        sizes = tuple(_sizes(r, s) for r, s in scored)
        floor = mean_noise_floor(metric, tuple(_target(results[0]).tolist()), sizes)
    return mean_over_seeds([_value(s) for _, s in scored], metric_info.metric(metric).scale, floor)


def _value(score: CellScore) -> Value:
    assert score.value is not None
    return Value(score.value, score.ci_low, score.ci_high, score.n, noise_floor=score.noise_floor)


def _sizes(result: CellResult, score: CellScore) -> tuple[int, ...]:
    """Return the number of samples behind a score, by prompt where it is a mean over prompts."""
    if score.metric != OVER_PROMPTS:
        return (score.n,)
    scope, classifier = f"{score.scope} at ", score.classifier
    of_prompts = [s for s in result.scores if (s.metric, s.classifier) == (OF_PROMPT, classifier)]
    return tuple(s.n for s in of_prompts if s.scope.startswith(scope))


def _target(result: CellResult) -> npt.NDArray[np.float64]:
    """Return the target of a task as results.csv has it, so that comparisons of finished runs give the same numbers."""
    return target_shares(target_text(result.job.cell.target))


def tied_with_best(lines: Sequence[Row], results: Sequence[CellResult], resources: Resources) -> list[str]:
    """Return "yes" where a row does not differ significantly from the best row of its task, else "no".

    The test is that of `compare` (`bench.core.stats.paired_test`): sample i of every method began from the same noise,
    so both methods are redrawn together. Differences of the ranking metric are tested at 5 % with Holm's correction
    over the methods of the task. The best row itself is "best"; rows without the ranking metric have no mark.
    """
    from bench.core.stats import holm

    of_method: dict[str, list[CellResult]] = {}
    for r in sorted(results, key=lambda r: r.job.cell.seed):
        of_method.setdefault(r.job.cell.title, []).append(r)
    ranked = [line for line in lines if line["status"] == "ok" and line[results[0].ranking_metric] is not None]
    titles = [str(line["method"]) for line in ranked]
    p = [_p(of_method[titles[0]], of_method[title], resources) for title in titles[1:]]
    verdicts = iter(["best", *("no" if rejected else "yes" for rejected in holm(p, 0.05))])
    return [next(verdicts) if line["method"] in titles else "" for line in lines]


def _p(a: Sequence[CellResult], b: Sequence[CellResult], resources: Resources) -> float:
    """Return the two-sided p of "both methods have the same ranking metric", as `compare` gives it."""
    from bench.core.distances import l2
    from bench.core.stats import Estimate, independent_difference, paired_test

    metric, scope, target = a[0].ranking_metric, a[0].scope, _target(a[0])
    sides = [[(r, s) for r in side if (s := r.score(metric, scope)) is not None] for side in (a, b)]
    seeds = [[r.job.cell.seed for r, _ in side] for side in sides]
    if seeds[0] == seeds[1]:
        first, second = (
            [answers for r, _ in side for answers in predicted_answers(resources, r.job)] for side in sides
        )
        test = paired_test(list(zip(first, second, strict=True)), lambda shares: l2(shares, target))
        if test is not None:
            return float(test.difference.p)
    freedom = metric_info.metric(metric).scale.freedom
    estimates = (Estimate.of_seeds([_value(s) for _, s in side], freedom) for side in sides)
    return float(independent_difference(*estimates).p)
