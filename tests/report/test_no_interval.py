"""Values without an interval, as metrics give them at a small n, in tables, plots, pages and comparisons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.comparison.comparability import why_not
from bench.comparison.gate import check
from bench.comparison.gate_config import Gates
from bench.core.value import Scale, Value, mean_over_seeds
from bench.protocols.evaluator import Reference, Sample
from bench.results.run import Run
from evaluators import fd_infinity, frechet, kid, prdc
from evaluators.features.comparisons import INTERVAL_N
from tests.support.runs import Call, caller, edited_run, read_rows

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "golden" / "run"
FRECHET = "frechet_efficientnet_lite0"
REFUSED = "no interval: at n = 20 it would be too narrow, it needs 100"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def without(old: dict[str, Any]) -> dict[str, Any]:
    """Return a row of any of the three tables without the intervals of Frechet distances."""
    if old.get("metric") == FRECHET:
        return {**old, "ci_low": "", "ci_high": "", "reason": REFUSED}
    return {
        column: "" if column.startswith(FRECHET) and column.endswith(("_low", "_high")) else value
        for column, value in old.items()
    }


def test_tables_plots_page_and_comparison_show_the_value_alone(tmp_path: Path, call: Call) -> None:
    run = edited_run(RUN, tmp_path / "run", without)
    rows = [row for row in read_rows(run / "results.csv") if row["metric"] == FRECHET]
    assert len(rows) == 42
    assert {row["ci_low"] for row in rows} == {""}
    commands = (
        ("plot", run, "--only", "pareto", "--out", tmp_path / "plots"),
        ("report", run, "--out", tmp_path / "page.html"),
        *(("table", "full", run, "--format", f) for f in ("latex", "markdown", "csv")),
        ("check", run, "--baseline", run / "results.csv"),
    )
    for command in commands:
        code, out, err = call(*command)
        assert (code, "Traceback" in err) == (0, False), f"{command}: {out}{err}"
        assert "nan" not in out
    assert list((tmp_path / "plots").glob("pareto*.pdf"))
    assert REFUSED in (tmp_path / "page.html").read_text()
    out = call("compare", f"{run}:vanilla", f"{run}:sample_guidance", "--out", tmp_path / "ab.csv")[1]
    lines = [row for row in read_rows(tmp_path / "ab.csv") if row["metric"] == FRECHET]
    assert {row["reason"] for row in lines} == {f"{FRECHET} has no interval, so there is no test of it"}, out


def test_the_gate_takes_a_change_within_it_and_refuses_a_larger_one_that_it_cannot_test(tmp_path: Path) -> None:
    baseline = Run.open(edited_run(RUN, tmp_path / "baseline", without))
    before = next(float(row["value"]) for row in read_rows(RUN / "results.csv") if row["metric"] == FRECHET)
    for factor, verdict in ((1.01, "same"), (0.5, "same"), (1.5, "not comparable")):

        def scaled(old: dict[str, Any], factor: float = factor) -> dict[str, Any]:
            row = without(old)
            return {**row, "value": factor * float(row["value"])} if row.get("metric") == FRECHET else row

        outcome = check(Run.open(edited_run(RUN, tmp_path / str(factor), scaled)), baseline, Gates())
        items = [item for item in outcome.items if item.metric == FRECHET]
        assert {item.verdict for item in items} == {verdict}
        assert items[0].new == pytest.approx(factor * before)
        assert items[0].reason == f"{FRECHET} has no interval, so there is no test of it"


def test_a_second_seed_without_an_interval_is_not_tested_either() -> None:
    row = Run.open(RUN).by_key
    first = next(rows[0] for key, rows in row.items() if key.metric == FRECHET)
    bare = first._replace(seed=first.seed + 1, ci_low=math.nan, ci_high=math.nan)
    assert why_not([first, first], [first, first]) == ""
    assert "has no interval" in why_not([first, first], [first, bare])


def test_the_mean_over_seeds_is_that_of_the_values_alone() -> None:
    values = [Value(v, None, None, 20) for v in (1.0, 2.0, 3.0)]
    mean = mean_over_seeds(values, Scale(0.0))
    half = 4.302652729911275 / math.sqrt(3)  # Student's t of 2 degrees of freedom
    assert (mean.value, mean.low, mean.high) == (2.0, 0.0, pytest.approx(2.0 + half))
    assert mean_over_seeds(values[:1], Scale(0.0)) == values[0]


@pytest.mark.parametrize(
    ("evaluator", "metric"),
    [
        (frechet.Evaluator(), "frechet_net"),
        (fd_infinity.Evaluator(), "fd_infinity_net"),
        (kid.Evaluator(), "kid_net"),
        (prdc.Evaluator(), "precision_k5_net"),
        (prdc.Evaluator(), "recall_k5_net"),
    ],
)
def test_the_interval_begins_at_100_samples(evaluator: Any, metric: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((INTERVAL_N, 4)) + 0.5, rng.standard_normal((200, 4))

    def score(n: int) -> Any:
        sample = Sample({}, {"net": x[:n]}, np.full(n, -1))
        scores = evaluator.evaluate(sample, Reference((), np.ones(1), {"net": {"real": y}}))
        return next(s for s in scores if s.metric == metric)

    few, enough = score(INTERVAL_N - 1), score(INTERVAL_N)
    assert few.status == enough.status == "ok"
    assert (few.ci_low, few.ci_high, enough.reason) == (None, None, "")
    assert few.reason == "no interval: at n = 99 it would be too narrow, it needs 100"
    assert enough.ci_low < enough.value < enough.ci_high or enough.value == enough.ci_high
