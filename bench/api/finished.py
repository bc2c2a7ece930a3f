"""The functions on finished runs: what the command line does with one, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bench.comparison.gate import Outcome as GateOutcome
    from bench.comparison.head_to_head import Comparison
    from bench.comparison.ranking import Ranking
    from bench.report.paper.formats import PaperTable
    from bench.results.export import Exported
    from bench.results.run import Run

    RunLike: TypeAlias = Run | str | Path


def open_run(folder: str | Path) -> Run:
    """Read a finished run, given its folder or its results.csv.

    Raises:
        ConfigError: there is none, or its tables contradict each other.

    >>> run = bench.open_run("leaderboards/quick")
    >>> run.methods[:3]
    ['vanilla', 'random_class', 'rejection']
    """
    from bench.results.run import Run

    return Run.open(Path(folder))


def compare(
    run: RunLike,
    a: str | None = None,
    b: str | None = None,
    *,
    other_run: RunLike | None = None,
    task: Sequence[str] = (),
    metric: Sequence[str] = (),
) -> Comparison:
    """Compare two methods of a run, or two runs, with a test of every difference.

    Args:
        run: the run of A, or its folder.
        a: method of A; every method that both runs have where neither `a` nor `b` is given.
        b: method of B; `a` where it is not given.
        other_run: the run of B; `run` unless given.
        task: names or attributes of tasks; every task unless given.
        metric: metrics or patterns such as "share_*"; the main ones unless given.

    Raises:
        ConfigError: A and B are the same, or share no method.
        UnknownName: no such method, task or metric.

    >>> compared = bench.compare("leaderboards/quick", "vanilla", "distribution_guidance", metric="fd_l2_hard")
    >>> compared.to_frame()[["task", "value_a", "value_b", "p_holm", "verdict"]].round(3).head(2)
                     task  value_a  value_b  p_holm   verdict
    0  eyeglasses uniform    0.332    0.099   0.001  B better
    1  eyeglasses uniform    0.290    0.127   0.016  B better
    """
    from bench.comparison import head_to_head as tests

    first = opened(run)
    sides = tests.Side(first, a or b), tests.Side(first if other_run is None else opened(other_run), b or a)
    tests.check_sides(sides)
    return tests.Comparison(tuple(tests.compare(sides, names_of(task), names_of(metric))), sides)


def rank(run: RunLike) -> Ranking:
    """Rank a run's methods by the mean of the ranking metric over its tasks, in groups that no test separates.

    Raises:
        Incompatible: fewer than two methods have the ranking metric on every task.

    >>> ranking = bench.rank("leaderboards/quick")
    >>> ranking.to_frame().columns[:3].tolist()
    ['method', 'groups', 'fd_l2_hard']
    """
    from bench.comparison import ranking

    return ranking.rank(opened(run))


def check(run: RunLike, baseline: RunLike, gates: str | Path | None = None) -> GateOutcome:
    """Compare a run with its baseline: is any gated number significantly worse, and by more than its gate?

    `gates` is a YAML file of gates (docs/regression-gate.md); the default gates hold unless it is given.

    Raises:
        ConfigError: a run or the gates cannot be read, or nothing of the baseline is gated.

    >>> outcome = bench.check("leaderboards/quick", baseline="leaderboards/quick/results.csv")
    >>> outcome.passed, outcome.to_frame()["verdict"].unique().tolist()
    (True, ['same'])
    """
    from bench.comparison import gate
    from bench.comparison.gate_config import read_gates

    new, base = opened(run), opened(baseline)
    return gate.check(new, base, read_gates(None if gates is None else Path(gates), base.gateable))


def paper_table(run: RunLike, template: str, claimed: str | Path | None = None) -> PaperTable:
    """Lay out a finished run as a table of a paper, with `to_latex`, `to_markdown`, `to_html` and `to_csv`.

    The template is a shipped one's name (`python run_bench.py list templates`) or a YAML file; `claimed` is a CSV of
    method, task, value and citation, shown beside the measured values, and of the metric that they are of.

    Raises:
        ConfigError: no such template, a file cannot be read, or the run has none of the template's metrics.

    >>> bench.paper_table("leaderboards/quick", "costs").to_markdown().splitlines()[4]
    '| eyeglasses uniform | vanilla | 20 | 0 | 0.149 | 0 | 0 |'
    """
    from bench.report.paper.claims import read_claims
    from bench.report.paper.formats import PaperTable
    from bench.report.paper.table import build
    from bench.report.paper.template import read_template

    chosen, finished = read_template(template), opened(run)
    return PaperTable(build(chosen, finished, None if claimed is None else read_claims(Path(claimed), finished)))


def write_page(run: RunLike, path: str | Path | None = None) -> Path:
    """Write a finished run as one HTML file that opens from disk and loads nothing, and return the file.

    The file is page.html beside results.csv unless a path FILE.html is given.

    Raises:
        ConfigError: the path does not end in .html, or cannot be written.
    """
    from bench.report.page.document import write

    return write(opened(run), None if path is None else Path(path))


def write_plots(
    run: RunLike, folder: str | Path | None = None, only: Sequence[str] = ()
) -> tuple[list[Path], dict[str, str]]:
    """Write a run's plots as PNG and PDF; return the files, and the reason of each plot that has no data.

    The folder is RUN/plots unless given; `only` names plots, and all that the run has data for are drawn without it.

    Raises:
        UnknownName: no plot has this name.
        Incompatible: the run has no data for a plot in `only`.
    """
    from bench.report.plots.figures import finished_of
    from bench.report.plots.gallery import write_plots as write

    finished = opened(run)
    target = finished.file.parent / "plots" if folder is None else Path(folder)
    return write(finished_of(finished), target, names_of(only))


def export(
    run: RunLike,
    folder: str | Path,
    *,
    method: Sequence[str] = (),
    task: Sequence[str] = (),
    seed: Sequence[int] = (),
) -> Exported:
    """Write the images of cells as PNG files into a new or empty folder, with a metadata.csv.

    Without `method`, `task` and `seed`, every cell whose samples are in the store beside the run.

    Raises:
        UnknownName: no such method, task or seed.
        ConfigError: the folder holds something, or the store has no samples of what was chosen.

    >>> bench.export("leaderboards/quick", "docs")
    Traceback (most recent call last):
    bench.core.errors.ConfigError: FOLDER must be a new or empty folder, got docs; nothing is written over
    """
    from bench.results.export import export as write

    return write(opened(run), Path(folder), names_of(method), names_of(task), tuple(seed))


def opened(run: RunLike) -> Run:
    """Return a run that is given by itself, by its folder or by its results.csv."""
    return open_run(run) if isinstance(run, str | Path) else run


def names_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return names as a tuple; one name alone may be given without brackets."""
    return (names,) if isinstance(names, str) else tuple(names)
