"""`run_bench.py rank`: means, groups and tests over tasks against their closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

import bench
from bench.comparison.ranking import rank
from bench.core.errors import Incompatible
from bench.core.stats import holm_adjusted
from bench.results.run import Run
from tests.support.runs import Call, caller, failed, read_rows, refusal, score, write_run

call = pytest.fixture(caller)
HALF = 0.05  # of every interval
MEANS = {"best": 0.15, "second": 0.17, "third": 0.25, "vanilla": 0.35}
TARGETS = ("0.5/0.5", "0.1/0.9")


def made(folder: Path, *more: dict[str, Any], means: dict[str, float] | None = None) -> Run:
    """Two tasks, whose discrepancies lie 0.05 below and above a method's mean."""
    rows = []
    for target, shift in zip(TARGETS, (-0.05, 0.05), strict=True):
        for method, mean in (means or MEANS).items():
            value = mean + shift
            rows.append(score(method, "fd_l2_hard", "eyeglasses", value, HALF, target=target))
            rows.append(score(method, "frechet_x", "balanced", 100 * (1 + value), 10.0, target=target))
    return Run.open(write_run(folder, [*rows, *more]))


def test_the_mean_has_the_mean_error_of_the_tasks_since_they_share_noise(tmp_path: Path) -> None:
    ranking = rank(made(tmp_path))
    assert [m.method for m in ranking.methods] == list(MEANS)
    for m in ranking.methods:
        ends = (m.discrepancy.value, m.discrepancy.low, m.discrepancy.high)
        assert ends == pytest.approx((MEANS[m.method], MEANS[m.method] - HALF, MEANS[m.method] + HALF))
    assert [m.rank for m in ranking.methods] == [1, 2, 3, 4]


def test_p_groups_and_the_smallest_difference_that_is_found(tmp_path: Path) -> None:
    ranking = rank(made(tmp_path))
    error = 2**0.5 * HALF / norm.ppf(0.975)  # of the difference of two methods, on a task and of the mean
    values = np.array(list(MEANS.values()))
    rows, columns = np.triu_indices(4, 1)
    p = 2 * norm.sf((values[columns] - values[rows]) / error)
    assert ranking.p[rows, columns] == pytest.approx(holm_adjusted(p))
    assert np.array_equal(ranking.p, ranking.p.T)
    # best and third differ, second differs from neither: no single group holds all three.
    assert [m.groups for m in ranking.methods] == ["a", "ab", "b", "c"]
    assert ranking.detectable == pytest.approx((norm.ppf(1 - 0.05 / 12) + norm.ppf(0.8)) * error)


def test_the_ratio_of_frechet_distances_adds_both_errors_on_the_log_scale(tmp_path: Path) -> None:
    first, *_, vanilla = rank(made(tmp_path)).methods
    assert vanilla.frechet_ratio is not None
    assert (vanilla.frechet_ratio.value, vanilla.frechet_ratio.low) == (1.0, None)
    assert first.frechet_ratio is not None
    quantile = norm.ppf(0.975)
    ratios, lows = [], []
    for shift in (-0.05, 0.05):
        a, b = 100 * (1 + MEANS["best"] + shift), 100 * (1 + MEANS["vanilla"] + shift)
        ratios.append(a / b)
        lows.append(a / b * np.exp(-quantile * np.hypot(10 / a, 10 / b) / t.ppf(0.975, 9)))
    assert first.frechet_ratio.value == pytest.approx(np.mean(ratios))
    assert first.frechet_ratio.low == pytest.approx(np.mean(lows))


def test_equal_methods_are_one_group_with_equal_ranks(tmp_path: Path) -> None:
    ranking = rank(made(tmp_path, means={"one": 0.2, "vanilla": 0.2}))
    assert [(m.method, m.groups, m.rank) for m in ranking.methods] == [("one", "a", 1.5), ("vanilla", "a", 1.5)]
    assert ranking.p[0, 1] == 1


def test_a_method_without_a_value_on_a_task_is_left_out_with_the_reason(tmp_path: Path, call: Call) -> None:
    extra = score("lame", "fd_l2_hard", "eyeglasses", 0.0, 0.0, target=TARGETS[0])
    run = made(tmp_path, extra, failed("lame", "out of memory", target=TARGETS[1]))
    assert rank(run).left_out == {"lame": "eyeglasses 10/90: failed: out of memory"}
    code, out, _ = call("rank", tmp_path)
    assert code == 0
    assert "lame is left out: eyeglasses 10/90: failed: out of memory." in out


def test_one_method_cannot_be_ranked(tmp_path: Path, call: Call) -> None:
    run = made(tmp_path, means={"vanilla": 0.2})
    with pytest.raises(Incompatible, match=r"two methods with fd_l2_hard on every task, got vanilla"):
        rank(run)
    assert "got vanilla" in refusal(call("rank", tmp_path))


def test_the_files_hold_the_table(tmp_path: Path, call: Call) -> None:
    made(tmp_path)
    assert call("rank", tmp_path, "--out", tmp_path / "r.csv")[0] == 0
    assert call("rank", tmp_path, "--out", tmp_path / "r.md")[0] == 0
    rows = read_rows(tmp_path / "r.csv")
    frame = bench.rank(tmp_path).to_frame()
    assert [row["method"] for row in rows] == frame["method"].tolist()
    assert [float(row["fd_l2_hard"]) for row in rows] == pytest.approx(frame["fd_l2_hard"].tolist())
    assert pd.to_numeric(frame["frechet_ratio_low"]).notna().sum() == 3
    text = (tmp_path / "r.md").read_text()
    assert r"| second | ab | 0.170 \[0.120, 0.220\] | 2.0 | 0.866" in text
    assert "--out must end in .csv or .md" in refusal(call("rank", tmp_path, "--out", tmp_path / "r.txt"))
