"""The methods of a task that are not significantly different from the best, metric by metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.comparison.comparability import why_not
from bench.comparison.differences import EXACT, compare_lines
from bench.core.stats import holm
from bench.results.key import Key
from bench.results.metric_info import metric
from bench.results.run import Run
from bench.results.score_row import mean_value

ALPHA = 0.05


def marks(run: Run, keys: Sequence[Key]) -> Mapping[str, str]:
    """Mark the methods of one task by one metric: "best", "tied" (not significantly different from the best) or "".

    The best is compared with every other method by the test of `run_bench.py compare`, with Holm's correction. A
    method that cannot be compared with the best (another n, no interval) gets "".

    Args:
        run: the finished run.
        keys: the score of each method; all of the same task, metric, scope and classifier.

    Returns:
        Method to mark; empty where the metric has no better direction, or fewer than two methods have a value.
    """
    better = metric(keys[0].metric).better
    good = {key.method: rows for key in keys if (rows := run.good(key))}
    if better is None or len(good) < 2:
        return {}
    sign = 1.0 if better == "lower" else -1.0
    # Equal values that differ by rounding keep the order of the run.
    values = {name: round(sign * mean_value(rows).value, 12) for name, rows in good.items()}
    best = min(values, key=lambda name: values[name])
    marked = dict.fromkeys(good, "")
    marked[best] = "best"
    p: dict[str, float] = {}
    for name, rows in good.items():
        if name == best or why_not(good[best], rows):
            continue
        compared = compare_lines(run, good[best], run, rows)
        if compared.test == EXACT:
            marked[name] = "tied" if float(compared.difference.p) == 1 else ""
        else:
            p[name] = float(compared.difference.p)
    for name, rejected in zip(p, holm(list(p.values()), ALPHA), strict=True):
        marked[name] = "" if rejected else "tied"
    return marked
