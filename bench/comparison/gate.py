"""A run against its baseline: `run_bench.py check`. A change is a regression if it is significant and over its gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control

from bench.comparison.comparability import no_interval, other_settings
from bench.comparison.differences import EXACT, Compared, compare_lines
from bench.comparison.gate_config import Gates
from bench.comparison.latency_ratio import ratios
from bench.core.errors import ConfigError
from bench.core.intervals import at_most
from bench.core.stats import holm_adjusted
from bench.results.key import Key
from bench.results.run import Run
from bench.results.score_row import mean_value

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
VERDICTS = ("worse", "failed", "missing", "not comparable", "better", "same")
RED = VERDICTS[:4]  # a gate that could not look is not passed
RATIO = "size alone"  # one machine's seconds have no interval that another's would share


@dataclass(frozen=True)
class Item:
    """One gated number and what became of it.

    Attributes:
        task: the task's name; "all tasks" of a latency.
        method: the method's title.
        metric: the metric's name.
        scope: what it was computed over, and by which classifier where that is not the first.
        verdict: one of `VERDICTS`.
        baseline: the baseline's value, None where it has none.
        new: the new value.
        low: lower end of the 95 % interval of new - baseline.
        high: its upper end.
        p: one-sided p of "not worse" (of "not better" where the verdict is that), corrected over the table.
        gate: how much worse it may become, in the metric's unit.
        test: name of the test.
        reason: why there is no test.
        line: line of the new results.csv, 0 where there is none.
    """

    task: str
    method: str
    metric: str
    scope: str
    verdict: str
    baseline: float | None = None
    new: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    gate: float | None = None
    test: str = ""
    reason: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """The number's task, method, metric and scope."""
        return f"{self.task}, {self.method}: {self.metric} over {self.scope}"


@dataclass(frozen=True)
class Outcome:
    """The verdict of every gated number.

    Attributes:
        items: one per gated number.
        notes: what was not gated, as sentences.
        gates: the rules that decided.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    gates: Gates = Gates()

    @property
    def counts(self) -> dict[str, int]:
        """Verdict to number of items, in the order of `VERDICTS`."""
        numbers = Counter(item.verdict for item in self.items)
        return {verdict: numbers[verdict] for verdict in VERDICTS if numbers[verdict]}

    @property
    def passed(self) -> bool:
        """True if no gated number is worse, failed, missing or not comparable."""
        return not any(item.verdict in RED for item in self.items)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per gated number, with the fields of `Item` as columns."""
        return pd.DataFrame([asdict(item) for item in self.items], columns=[f.name for f in fields(Item)])


def decide(worsening: Floats, p: Floats, gate: Floats, gates: Gates) -> tuple[Flags, Flags, Floats]:
    """The rule: worse if significantly so, corrected over the last axis, and by more than the gate; better likewise.

    Args:
        worsening: float64 [..., m], new less baseline where lower is better, else baseline less new.
        p: two-sided p of no difference.
        gate: >= 0.
        gates: for `alpha` and `correction`.

    Returns:
        bool [..., m]: is worse, is better; and the corrected one-sided p of the side that the change is on.
    """
    correct = holm_adjusted if gates.correction == "holm" else _benjamini_hochberg
    p_worse, p_better = (correct(np.where(side > 0, p / 2, 1 - p / 2)) for side in (worsening, -worsening))
    worse = (p_worse <= gates.alpha) & ~at_most(worsening, gate)
    better = (p_better <= gates.alpha) & ~at_most(-worsening, gate)
    return worse, better, np.where(worsening >= 0, p_worse, p_better)


def _benjamini_hochberg(p: Floats) -> Floats:
    return np.asarray(false_discovery_control(p, axis=-1), dtype=np.float64)


def check(new: Run, baseline: Run, gates: Gates) -> Outcome:
    """Every gated number of the baseline, looked up in the new run and tested.

    Raises:
        ConfigError: the gates fit nothing of the baseline, or ask for seconds that it does not have, or a costs.csv
            cannot be read.
    """
    drafts = [
        _draft(new, baseline, key, gates)
        for key in baseline.by_key
        if gates.gate(key.metric, key.scope, key.classifier)
    ]
    items = _classified([draft for draft in drafts if draft is not None], gates)
    if not items:
        raise ConfigError(f"no metric of {baseline.file} with a value is gated; gate one of {_names(baseline)}")
    latency, notes = _latency(new, baseline, gates), list[str]()
    extra = [
        key for key in new.by_key if key not in baseline.by_key and gates.gate(key.metric, key.scope, key.classifier)
    ]
    if extra:
        notes.append(f"{len(extra)} numbers are not in the baseline and were not gated; --update takes them in")
    return Outcome((*items, *latency), tuple(notes), gates)


def _names(run: Run) -> str:
    return ", ".join(dict.fromkeys(key.metric for key in run.by_key))


Draft = tuple[Item, Compared | None, float]  # what is known before the table's tests; comparison; sign of worse


def _draft(new: Run, baseline: Run, key: Key, gates: Gates) -> Draft | None:
    """None where the baseline itself has no value: there is nothing to hold the new run to."""
    before, after = baseline.good(key), new.good(key)
    name = (key.task.name, key.method, key.metric, key.scope + (f" by {key.classifier}" if key.classifier else ""))
    if not before:
        return None
    gate = gates.gate(key.metric, key.scope, key.classifier)
    assert gate is not None
    old = mean_value(before).value
    item = Item(*name, "same", baseline=old, gate=gate.size(old))
    status, reason = new.reason(key)
    if status:
        verdict = "missing" if status == "missing" else "failed"
        line = new.by_key[key][0].line if key in new.by_key else 0
        return replace(item, verdict=verdict, reason=reason, line=line), None, 0.0
    item = replace(item, new=mean_value(after).value, line=after[0].line)
    reason, untested = other_settings(before, after), no_interval(before, after)
    sign = 1.0 if gates.better(key.metric, gate) == "lower" else -1.0
    # A change within the gate is no regression, with or without a test.
    if untested and not reason and at_most(sign * (mean_value(after).value - old), gate.size(old)):
        return replace(item, reason=untested), None, 0.0
    if reason or untested:
        return replace(item, verdict="not comparable", reason=reason or untested), None, 0.0
    return item, compare_lines(baseline, before, new, after), sign


def _classified(drafts: Sequence[Draft], gates: Gates) -> list[Item]:
    """The items with the verdicts of the table's tests; what is counted takes part in no correction."""
    tested = [(i, c, sign) for i, (_, c, sign) in enumerate(drafts) if c is not None]
    items = [item for item, _, _ in drafts]
    for exact in (False, True):
        group = [(i, c, sign) for i, c, sign in tested if (c.test == EXACT) is exact]
        if not group:
            continue
        worsening = np.array([sign * float(c.difference.value) for _, c, sign in group])
        p = np.array([float(c.difference.p) for _, c, _ in group])
        limit = np.array([items[i].gate for i, _, _ in group], dtype=np.float64)
        if exact:
            worse, better = ~at_most(worsening, limit), ~at_most(-worsening, limit)
            adjusted = np.full(len(group), np.nan)
        else:
            worse, better, adjusted = decide(worsening, p, limit, gates)
        for k, (i, c, _) in enumerate(group):
            verdict = "worse" if worse[k] else "better" if better[k] else "same"
            items[i] = _with_test(items[i], verdict, c, None if exact else float(adjusted[k]))
    return items


def _with_test(item: Item, verdict: str, compared: Compared, p: float | None) -> Item:
    difference = compared.difference
    low, high = (None, None) if p is None else (float(difference.low), float(difference.high))
    return replace(item, verdict=verdict, low=low, high=high, p=p, test=compared.test)


def _latency(new: Run, baseline: Run, gates: Gates) -> list[Item]:
    if gates.latency is None:
        return []
    before, after = ratios(baseline), ratios(new)
    if before is None:
        raise ConfigError(
            f"the gates have `latency`, and no costs.csv with vanilla in it lies beside {baseline.file}; add it, or "
            "leave `latency` out"
        )
    items = []
    for (method, device), old in before.items():
        name, gate = ("all tasks", method, "seconds_per_image", "ratio to vanilla"), gates.latency.relative * old
        ratio = (after or {}).get((method, device))
        if ratio is None:
            reason = f"no seconds of {method} and of vanilla on {device} in a costs.csv beside {new.file}"
            items.append(Item(*name, "missing", old, gate=gate, reason=reason))
            continue
        verdict = "worse" if ratio - old > gate else "better" if old - ratio > gate else "same"
        items.append(Item(*name, verdict, old, ratio, gate=gate, test=RATIO))
    return items
