"""The marks of leaderboard.csv: the test of `compare`, on runs of several seeds, prompts and designs."""

from __future__ import annotations

import pytest

from bench.api import run_suite
from bench.comparison.differences import PAIRED, compare_lines
from bench.config.suite import read_suite
from bench.core.stats import holm
from bench.engine import leaderboard
from bench.engine.cell_result import CellResult
from bench.engine.options import Options
from bench.engine.resources import Resources
from bench.report.page.ties import marks
from bench.results.key import Key
from bench.results.run import Run
from tests.support.runs import read_rows
from tests.support.small import small_suite


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[tuple[str, str], float]]:
    """A run of two seeds, by class, by batch and independent, and the p of every method against the best by task."""
    folder, p, plain = tmp_path_factory.mktemp("seeds"), dict[tuple[str, str], float](), leaderboard._p

    def recorded(best: list[CellResult], other: list[CellResult], resources: Resources) -> float:
        cell = other[0].job.cell
        return p.setdefault((cell.task, cell.title), plain(best, other, resources))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(leaderboard, "_p", recorded)
        suite = read_suite(str(small_suite(folder, seeds=[0, 1], n=24, guidance_batch=4)))
        assert not run_suite(suite, Options(folder / "out", workers=1)).problems
    return Run.open(folder / "out" / "small"), p


def test_the_marks_of_the_leaderboard_are_those_of_compare_and_of_the_page(
    finished: tuple[Run, dict[tuple[str, str], float]],
) -> None:
    run, p = finished
    assert {row.design for row in run.cells} == {"independent", "by class", "by batch"}
    for task in run.tasks:
        keys = [Key(task, method, run.ranking_metric, task.attributes) for method in run.methods]
        assert marks(run, keys) == {method: run.mark(task, method) for method in run.methods}
        (best,) = (key for key in keys if run.mark(task, key.method) == "best")
        others = [key for key in keys if key != best]
        for key in others:
            compared = [compare_lines(run, run.good(a), run, run.good(b)) for a, b in ((best, key), (key, best))]
            assert {c.test for c in compared} == {PAIRED}
            assert {float(c.difference.p) for c in compared} == {p[task.name, key.method]}, "to the last bit"
            assert compared[0].seeds == (2, 2)
        rejected = holm([p[task.name, key.method] for key in others], 0.05)
        assert [run.mark(task, key.method) == "" for key in others] == rejected


def test_the_leaderboard_has_the_mean_over_seeds_of_results_csv(
    finished: tuple[Run, dict[tuple[str, str], float]],
) -> None:
    run, _ = finished
    for row in read_rows(run.file.parent / "leaderboard.csv"):
        (task,) = (task for task in run.tasks if task.name == row["task"])
        for metric in ("fd_l2_hard", "fd_l2_soft"):
            value = run.value(Key(task, row["method"], metric, task.attributes))
            assert value is not None
            shown = [float(row[f"{metric}{end}"]) for end in ("", "_low", "_high", "_seeds")]
            assert shown == [value.value, value.low, value.high, 2]
            if metric == "fd_l2_hard":
                assert float(row["fd_noise_floor"]) == value.noise_floor
                assert value.noise_floor is not None
                assert value.noise_floor < min(
                    r.noise_floor for r in run.good(Key(task, row["method"], metric, task.attributes))
                )
