"""Two methods of one run, or two runs, line by line: `run_bench.py compare A B`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.comparison.comparability import why_not
from bench.comparison.differences import EXACT, Compared, compare_lines
from bench.core.errors import ConfigError, UnknownName
from bench.core.stats import holm_adjusted, minimum_detectable_difference
from bench.results.key import Key, Task
from bench.results.metric_info import DEFAULT, metric
from bench.results.run import Run

LEADERBOARD = Path("leaderboards") / "quick"
ALPHA = 0.05
VERDICTS = ("A better", "B better", "tie", "different", "not comparable")


class Side(NamedTuple):
    """One side of a comparison: a run, and the method meant; None for every method."""

    run: Run
    method: str | None


@dataclass(frozen=True)
class Line:
    """One metric of one task, side by side.

    Attributes:
        task: the task's name.
        a: method of the first side.
        b: method of the second side.
        metric: the metric's name.
        scope: what it was computed over.
        classifier: whose classes it is of, where that is not the first classifier's.
        compared: values, difference and test; None where there is none.
        p: two-sided, with Holm's correction over all lines that were tested; None where none was.
        detectable: the smallest true difference that such a test, so corrected, finds in 80 of 100 runs of this size.
        verdict: one of `VERDICTS`.
        reason: why the verdict is "not comparable".
    """

    task: str
    a: str
    b: str
    metric: str
    scope: str
    classifier: str
    compared: Compared | None
    p: float | None
    detectable: float | None
    verdict: str
    reason: str

    def record(self) -> dict[str, str | float | None]:
        """Return the line as a row of a table, with every number unrounded."""
        compared = self.compared
        numbers: dict[str, float | None] = dict.fromkeys(("value_a", "value_b", "difference", "ci_low", "ci_high"))
        if compared is not None:
            ends = (compared.difference.value, compared.difference.low, compared.difference.high)
            numbers = dict(zip(numbers, (compared.a, compared.b, *map(float, ends)), strict=True))
        return {
            **{"task": self.task, "method_a": self.a, "method_b": self.b, "metric": self.metric, "scope": self.scope},
            "classifier": self.classifier,
            **numbers,
            "p_holm": self.p,
            "detectable": self.detectable,
            "verdict": self.verdict,
            "test": compared.test if compared else None,
            "n": compared.n if compared else None,
            "seeds": "/".join(map(str, dict.fromkeys(compared.seeds))) if compared else None,
            "reason": self.reason,
            "note": compared.note if compared else "",
        }


def read_sides(a: str, b: str) -> tuple[Side, Side]:
    """Return the sides that A and B name: METHOD (of the quick leaderboard), FOLDER or FOLDER:METHOD.

    A CSV stands for its folder; a folder alone takes the method that the other side names.

    Raises:
        ConfigError: a run does not exist or cannot be read.
    """
    (folder_a, method_a), (folder_b, method_b) = _parse(a), _parse(b)
    runs = {folder: Run.open(folder) for folder in (folder_a, folder_b)}
    return Side(runs[folder_a], method_a or method_b), Side(runs[folder_b], method_b or method_a)


def check_sides(sides: tuple[Side, Side]) -> None:
    """Refuse sides that cannot be compared.

    Raises:
        ConfigError: A and B are the same.
        UnknownName: a run has no such method.
    """
    for side in sides:
        if side.method is not None and side.method not in side.run.methods:
            raise UnknownName(f"method of {side.run.file.parent}", side.method, side.run.methods)
    a, b = sides
    if a.method == b.method and a.run.file.resolve() == b.run.file.resolve():
        what = f"{a.method or 'all methods'} of {a.run.file.parent}"
        raise ConfigError(f"A and B are the same, {what}; name two methods, or two runs")


def _parse(text: str) -> tuple[Path, str | None]:
    if not text:
        raise ConfigError("A and B must each be METHOD, FOLDER or FOLDER:METHOD, got an empty text")
    if Path(text).exists():
        return Path(text), None
    folder, colon, method = text.rpartition(":")
    if colon and method and (Path(folder).exists() or "/" in folder):
        return Path(folder), method
    if "/" in text or text.endswith(".csv"):
        return Path(text), None  # a path that is not there, and is said so
    return LEADERBOARD, text


@dataclass(frozen=True)
class Comparison:
    """A comparison of two methods or two runs.

    Attributes:
        lines: one per task, metric and scope, in the order of A's file.
        sides: A and B.
    """

    lines: tuple[Line, ...]
    sides: tuple[Side, Side]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per line, numbers unrounded.

        Columns: task, method_a, method_b, metric, scope, classifier, value_a, value_b, difference (B - A), ci_low and
        ci_high (95 %), p_holm (two-sided, Holm's correction over all lines), detectable (the smallest true difference
        that such a test finds in 80 of 100 runs), verdict, test, n, seeds, reason, note (what the test neglects, and
        the shares of samples that the classifier abstained on).
        """
        return pd.DataFrame([line.record() for line in self.lines])


def compare(sides: tuple[Side, Side], tasks: Sequence[str] = (), metrics: Sequence[str] = ()) -> list[Line]:
    """Return every line of the comparison, in the order of A's file.

    Args:
        sides: as `read_sides` gives them, after `check_sides`.
        tasks: task names, or attributes; every task unless given.
        metrics: names or patterns such as "frechet_*"; `bench.results.metric_info.DEFAULT` unless given.

    Raises:
        ConfigError: the sides share no method.
        UnknownName: a task or a metric that neither side has.
    """
    a, b = sides
    keys = _keys(a.run, b.run, tasks, metrics)
    drafts = [_draft(a.run, b.run, *pair) for methods in _methods(a, b) for pair in _of(keys, *methods)]
    p = {i: float(c.difference.p) for i, (_, _, c, _) in enumerate(drafts) if c is not None and c.test != EXACT}
    tested, adjusted = list(p), np.full(len(drafts), np.nan)
    if tested:
        adjusted[tested] = holm_adjusted(np.array(list(p.values())))
    return [_line(*draft, holm, len(tested)) for draft, holm in zip(drafts, adjusted.tolist(), strict=True)]


def _methods(a: Side, b: Side) -> list[tuple[str, str]]:
    if a.method is not None and b.method is not None:
        return [(a.method, b.method)]
    shared = [m for m in a.run.methods if m in b.run.methods]
    if not shared:
        raise ConfigError(f"{a.run.file} and {b.run.file} have no method in common; name one of each, as FOLDER:METHOD")
    return [(m, m) for m in shared]


def _keys(a: Run, b: Run, tasks: Sequence[str], metrics: Sequence[str]) -> list[tuple[Task, str, str, str]]:
    """Return (task, metric, scope, classifier) of either run that the options choose."""
    offered_tasks = list(dict.fromkeys((*a.tasks, *b.tasks)))
    for text in tasks:
        if not any(task.answers(text) for task in offered_tasks):
            raise UnknownName("task", text, {name for t in offered_tasks for name in (t.attributes, t.name)})
    offered = list(dict.fromkeys((*a.metrics, *b.metrics)))
    for pattern in metrics:
        if not any(fnmatchcase(name, pattern) for name in offered):
            raise UnknownName("metric", pattern, offered)
    keys = dict.fromkeys(
        (key.task, key.metric, key.scope, key.classifier)
        for run in (a, b)
        for key in run.by_key
        if (not tasks or any(key.task.answers(text) for text in tasks))
        and any(fnmatchcase(key.metric, pattern) for pattern in (metrics or DEFAULT))
    )
    return sorted(keys, key=lambda key: offered_tasks.index(key[0]))


def _of(keys: list[tuple[Task, str, str, str]], a: str, b: str) -> list[tuple[Key, Key]]:
    return [(Key(task, a, *names), Key(task, b, *names)) for task, *names in keys]


def _draft(run_a: Run, run_b: Run, a: Key, b: Key) -> tuple[Key, Key, Compared | None, str]:
    rows_a, rows_b = run_a.good(a), run_b.good(b)
    for side, run, key, rows in (("A", run_a, a, rows_a), ("B", run_b, b, rows_b)):
        if not rows:
            status, reason = run.reason(key)
            return a, b, None, f"{side}: {status}: {reason}" if status != "missing" else f"{side}: {reason}"
    reason = why_not(rows_a, rows_b)
    return a, b, None if reason else compare_lines(run_a, rows_a, run_b, rows_b), reason


def _line(a: Key, b: Key, compared: Compared | None, reason: str, p: float, tests: int) -> Line:
    common = (a.task.name, a.method, b.method, a.metric, a.scope, a.classifier)
    if compared is None:
        return Line(*common, None, None, None, "not comparable", reason)
    exact = compared.test == EXACT
    difference = float(compared.difference.value)
    different = float(compared.difference.p) == 0 if exact else p <= ALPHA
    better = metric(a.metric).better
    verdict = "tie"
    if different:
        lower = "B better" if difference < 0 else "A better"
        higher = "A better" if difference < 0 else "B better"
        verdict = {"lower": lower, "higher": higher, None: "different"}[better]
    if exact:
        return Line(*common, compared, None, None, verdict, "")
    detectable = minimum_detectable_difference(compared.difference.standard_error, ALPHA / tests)
    return Line(*common, compared, p, float(detectable), verdict, "")


def tally(lines: Sequence[Line]) -> list[tuple[str, str, str, dict[str, int]]]:
    """Return (method of A, method of B, metric, verdict to number of lines), over tasks and scopes."""
    tallies: dict[tuple[str, str, str], dict[str, int]] = {}
    for line in lines:
        counts = tallies.setdefault((line.a, line.b, line.metric), dict.fromkeys(VERDICTS, 0))
        counts[line.verdict] += 1
    return [(*key, counts) for key, counts in tallies.items()]
