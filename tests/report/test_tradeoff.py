"""The Pareto front and the hypervolume: closed forms, properties, an independent library; and what is made of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.config.suite import read_suite
from bench.core.csv_text import to_csv
from bench.core.errors import UnknownName
from bench.core.pareto import hypervolume, pareto_front
from bench.core.value import Value
from bench.report.plots.style import style
from bench.report.tradeoff.plot import draw, write_plot
from bench.report.tradeoff.points import Point, read_points
from bench.report.tradeoff.summary import on_front, volumes
from bench.report.tradeoff.tables import write_tables
from bench.results.tables import read_records

# Few different values, so that ties and equal points come up.
CLOUDS = st.integers(1, 4).flatmap(
    lambda m: arrays(np.float64, st.tuples(st.integers(1, 12), st.just(m)), elements=st.integers(0, 6).map(float))
)


def test_front_of_three_points() -> None:
    assert pareto_front([[1, 3], [2, 2], [3, 3]]).tolist() == [True, True, False]


def test_equal_points_are_both_on_the_front_and_a_tie_in_one_objective_is_dominated() -> None:
    assert pareto_front([[1, 2], [1, 2], [1, 3]]).tolist() == [True, True, False]


def test_no_points_have_an_empty_front_and_no_volume() -> None:
    assert pareto_front([]).shape == (0,)
    assert hypervolume([], [1, 1]) == 0


def test_hypervolume_of_a_staircase_is_the_sum_of_its_steps() -> None:
    # Below (4, 4): [1, 4] x [3, 4] and [2, 4] x [2, 3], areas 3 and 2; the third point lies within.
    assert hypervolume([[1, 3], [2, 2], [3, 3]], [4, 4]) == 5


def test_hypervolume_of_two_boxes_is_their_union() -> None:
    # 2 x 2 x 1 + 1 x 1 x 3 - their common 1 x 1 x 1
    assert hypervolume([[1, 1, 2], [2, 2, 0]], [3, 3, 3]) == 4 + 3 - 1


def test_a_point_on_or_beyond_the_reference_adds_nothing() -> None:
    assert hypervolume([[0, 3], [5, 0]], [3, 3]) == 0
    assert hypervolume([[1, 1], [0, 3]], [3, 3]) == 4


@given(CLOUDS)
@settings(deadline=None)
def test_front_and_volume_equal_moocore(points: np.ndarray) -> None:
    corner = np.full(points.shape[1], 5.0)
    if points.shape[1] > 1:  # moocore has no single objective
        ours = pareto_front(points)
        assert ours.tolist() == moocore.is_nondominated(points, keep_weakly=True).tolist()
        assert hypervolume(points, corner) == pytest.approx(moocore.hypervolume(points, ref=corner))
    else:
        assert hypervolume(points, corner) == max(0.0, 5 - points.min())


@given(CLOUDS)
@settings(deadline=None)
def test_what_is_dominated_adds_no_volume_and_the_front_is_the_front_of_itself(points: np.ndarray) -> None:
    front = points[pareto_front(points)]
    assert len(front)
    assert pareto_front(front).all()
    corner = np.full(points.shape[1], 7.0)
    assert hypervolume(front, corner) == pytest.approx(hypervolume(points, corner))
    assert hypervolume(points[::-1], corner) == pytest.approx(hypervolume(points, corner))
    assert 0 < hypervolume(points[:1], corner) <= hypervolume(points, corner) * (1 + 1e-12)


@pytest.mark.parametrize("points", [[[1.0, np.nan]], [[np.inf, 1.0]], [[[1.0]]]])
def test_what_is_no_point_is_refused(points: Any) -> None:
    with pytest.raises(ValueError, match="points must be"):
        pareto_front(points)
    with pytest.raises(ValueError, match="points must be"):
        hypervolume(points, [2.0, 2.0])


def test_a_reference_of_other_objectives_is_refused() -> None:
    with pytest.raises(ValueError, match="the reference must have 2 objectives"):
        hypervolume([[1, 1]], [2, 2, 2])


def at(method: str, fairness: float | None, quality: float, calls: float, task: str = "t", **more: Any) -> Point:
    """A point of a made trade-off."""
    fd = None if fairness is None else Value(fairness, fairness - 0.1, fairness + 0.1)
    title = f"{method} at {fairness}, {quality}"
    found = {"run": "r", "title": title, "settings": {"window": [0, 1]}, "backward": 0.0, "noise_floor": 0.1, **more}
    return Point(
        task=task, method=method, fairness=fd, quality=Value(quality), calls=calls, n=9, seeds=1, status="ok",
        reason="", **found,
    )  # fmt: skip


def test_volume_is_the_share_of_the_box_below_vanilla() -> None:
    points = [at("vanilla", 0.5, 400, 20), at("m", 0.25, 300, 20), at("m", 0.1, 500, 20), at("m", None, 1, 1)]
    assert on_front(points) == [False, True, True, None]
    found = {(v.method, v.objectives): v for v in volumes(points)}
    # (0.5 - 0.25) (400 - 300) of 0.5 x 400; the second point is beyond vanilla's quality
    assert found["m", 2].value == pytest.approx(0.25 * 100 / (0.5 * 400))
    assert found["m", 2].reference == (0.5, 400)
    assert found["m", 2].n_points == 2
    assert found["vanilla", 2].value == 0
    assert set(found) == {("vanilla", 2), ("m", 2)}, "at one cost, three objectives have no volume"


def test_volume_over_cost_is_below_the_dearest_vanilla() -> None:
    points = [at("vanilla", 0.5, 400, 20), at("vanilla", 0.4, 500, 10), at("m", 0.2, 300, 15, backward=1.0)]
    assert on_front(points) == [False, True, True]
    found = {(v.method, v.objectives): v for v in volumes(points)}
    box = 0.5 * 500 * 20
    assert found["m", 3].reference == (0.5, 500, 20)
    assert found["m", 3].value == pytest.approx(0.3 * 200 * (20 - 16) / box)
    assert found["vanilla", 3].value == 0, "each vanilla point is at the corner in one objective"


def test_tasks_are_apart_and_an_empty_box_has_no_share() -> None:
    points = [at("vanilla", 0.0, 400, 20), at("m", 0.0, 300, 20), at("m", 0.9, 900, 90, task="u")]
    assert on_front(points) == [False, True, True]
    assert [(v.task, v.method, v.value) for v in volumes(points)] == [("t", "vanilla", None), ("t", "m", None)]


def test_a_label_that_a_spreadsheet_would_compute_is_a_method_like_others(tmp_path: Path) -> None:
    suite = read_suite("quick")
    quick = Path(__file__).parents[2] / "leaderboards" / "quick" / "leaderboard.csv"
    renamed = suite.model_copy(
        update={"methods": [m.model_copy(update={"label": f"-{m.title}"}) for m in suite.methods]}
    )
    rows = [{**row, "method": f"-{row['method']}"} for row in read_records(quick, ())]
    (tmp_path / "leaderboard.csv").write_text(to_csv(rows), encoding="utf-8")
    assert "'-vanilla" in (tmp_path / "leaderboard.csv").read_text()
    points = read_points(tmp_path, renamed, {m.title: {} for m in renamed.methods})
    assert {p.title for p in points} == {f"-{m.title}" for m in suite.methods}
    with pytest.raises(UnknownName, match=r"method of suite quick, in .*leaderboard\.csv, line 2"):
        read_points(tmp_path, suite, {m.title: {} for m in suite.methods})


@pytest.mark.parametrize("sign", ["-", "+", "=", "@"])
def test_a_plot_of_labels_that_a_spreadsheet_would_compute(tmp_path: Path, sign: str) -> None:
    """The labels of methods and the values of settings: in the legend, the points and the front."""
    points = [at("vanilla", 0.5, 400, 20, settings={})]
    for i in range(3):
        points += [
            at(f"{sign}m", 0.3 - 0.1 * i, 300 + i, 20, settings={"loss": f"{sign}{i}", "rule": f"{sign}r{i % 2}"})
        ]
    with style():
        fig = draw(points, "frechet_x to real")
    shown = {entry.get_text() for legend in fig.legends for entry in legend.get_texts()}
    assert {f"loss {sign}{i}" for i in range(3)} <= shown
    assert {f"rule {sign}r{i}" for i in range(2)} <= shown
    assert {c.get_label() for c in fig.axes[0].containers} == {p.title for p in points}
    files = write_plot(points, "frechet_x to real", tmp_path)
    assert [f.name for f in files] == ["trade-off.png", "trade-off.pdf"]
    tables = [f.read_text() for f in write_tables(points, "frechet_x to real", tmp_path)]
    assert all(f"'{sign}m" in table for table in tables)


def test_tables_hold_the_numbers_and_blanks(tmp_path: Path) -> None:
    points = [at("vanilla", 0.5, 400, 20, settings={}), at("m", 0.25, 300, 20), at("m", None, 1, 1)]
    files = write_tables(points, "frechet_x to real", tmp_path)
    assert [f.name for f in files] == ["trade-off.csv", "hypervolume.csv"]
    with files[0].open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["window"] for r in rows] == ["", "[0, 1]", "[0, 1]"]
    assert [r["pareto"] for r in rows] == ["no", "yes", ""]
    assert [r["fd_l2_hard"] for r in rows] == ["0.5", "0.25", ""]
    assert [r["frechet_x to real"] for r in rows] == ["400", "300", "1"]
    write_tables(points[1:], "frechet_x to real", tmp_path)
    assert not (tmp_path / "hypervolume.csv").exists(), "without vanilla there is no corner"
