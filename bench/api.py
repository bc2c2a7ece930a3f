"""The public verbs of the bench: what the command line does, from Python. Every input is validated once, here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Unpack

from bench.engine.run_options import OUT, RunOptions, options_of, with_recorded_cells

if TYPE_CHECKING:
    from bench.comparison.gate import Outcome as GateOutcome
    from bench.comparison.head_to_head import Comparison
    from bench.config.suite import Suite
    from bench.engine.options import Options
    from bench.engine.runner import Outcome
    from bench.environment.doctor import Finding
    from bench.environment.requirements import Item
    from bench.estimate.plan import Plan
    from bench.profiling.profile import Profile
    from bench.report.paper.formats import PaperTable
    from bench.report.tradeoff.points import Setting
    from bench.results.run import Run
    from bench.sweeps.sweep import Sweep
    from bench.sweeps.tuned import Tuning
    from bench.verification.check import Check
    from bench.verification.verify import Verification

    RunLike: TypeAlias = Run | str | Path
    SuiteLike: TypeAlias = Suite | Mapping[str, object] | str | Path
    Axes: TypeAlias = Mapping[str, str | Sequence[Setting]]


def load_suite(suite: SuiteLike) -> Suite:
    """Return a validated suite, given the name of a shipped one, a YAML file, or a mapping of its keys.

    Raises:
        UnknownName: no shipped suite has this name; the nearest are named.
        ConfigError: the file cannot be read, or a key or value is not valid.

    >>> bench.load_suite("quick").n
    200
    >>> bench.load_suite("quik")
    Traceback (most recent call last):
    bench.core.errors.UnknownName: unknown suite 'quik'; did you mean 'quick'? known: ...
    """
    from bench.config.suite import Suite, read_suite, suite_of

    if isinstance(suite, Mapping):
        return suite_of(suite)
    return suite if isinstance(suite, Suite) else read_suite(str(suite))


def plan(suite: SuiteLike, **options: Unpack[RunOptions]) -> Plan:
    """Check a suite and the options of a run, without sampling or writing; `plan(...).forecast()` predicts its cost.

    Raises:
        ConfigError: an option is out of range, or the suite needs what is not here.

    >>> plan = bench.plan("quick", only={"method": "vanilla"})
    >>> plan.suite.suite, plan.options.only
    ('quick', {'method': {'vanilla'}})
    """
    from bench.environment.requirements import refuse_missing
    from bench.estimate.plan import Plan

    how, chosen = options_of(with_recorded_cells(suite, options)), load_suite(suite)
    refuse_missing(chosen)
    return Plan(chosen, how)


def run(suite: SuiteLike, **options: Unpack[RunOptions]) -> Run:
    """Run a suite, or what is missing of it, and return the finished run.

    Runs resume: call it again after any interruption. A cell that failed or was skipped says why in its rows.

    Raises:
        ConfigError: something in the suite or the options cannot be run; nothing is written.

    >>> bench.run("quick", workers=0)
    Traceback (most recent call last):
    bench.core.errors.ConfigError: --workers must be at least 1, got 0
    """
    return open_run(execute(suite, **options).folder)


def execute(suite: SuiteLike, **options: Unpack[RunOptions]) -> Outcome:
    """Run a suite as `run` does, and return its folder and the cells that failed or were skipped, with reasons."""
    from bench.config.suite import list_suites
    from bench.environment.requirements import refuse_missing

    how, chosen = options_of(with_recorded_cells(suite, options)), load_suite(suite)
    if chosen.suite in list_suites():
        refuse_missing(chosen)
    return run_suite(chosen, how)


def run_suite(suite: Suite, options: Options) -> Outcome:
    """Run a validated suite: preflight, execute, write the tables, then the pictures that are drawn from them."""
    from bench.sweeps.tuned import run_tuned

    return run_tuned(suite, options)


def open_run(folder: str | Path) -> Run:
    """Read a finished run, given its folder or its results.csv.

    Raises:
        ConfigError: there is none, or its tables contradict each other.

    >>> run = bench.open_run("leaderboards/quick")
    >>> run.methods[:3]
    ['vanilla', 'sample_guidance', 'distribution_guidance']
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
    0  eyeglasses uniform    0.332    0.106   0.002  B better
    1  eyeglasses uniform    0.290    0.085   0.003  B better
    """
    from bench.comparison import head_to_head as tests

    first = _opened(run)
    sides = tests.Side(first, a or b), tests.Side(first if other_run is None else _opened(other_run), b or a)
    tests.check_sides(sides)
    return tests.Comparison(tuple(tests.compare(sides, _listed(task), _listed(metric))), sides)


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

    new, base = _opened(run), _opened(baseline)
    return gate.check(new, base, read_gates(None if gates is None else Path(gates), base.gateable))


def paper_table(run: RunLike, template: str, claimed: str | Path | None = None) -> PaperTable:
    """Lay out a finished run as a table of a paper, with `to_latex`, `to_markdown`, `to_html` and `to_csv`.

    The template is a shipped one's name (`python run_bench.py list templates`) or a YAML file; `claimed` is a CSV of
    method, task, value and citation, shown beside the measured values.

    Raises:
        ConfigError: no such template, a file cannot be read, or the run has none of the template's metrics.

    >>> bench.paper_table("leaderboards/quick", "costs").to_markdown().splitlines()[4]
    '| eyeglasses uniform | vanilla | 20 | 0 | 0.236 | 0 | 0 |'
    """
    from bench.report.paper.claims import read_claims
    from bench.report.paper.formats import PaperTable
    from bench.report.paper.table import build
    from bench.report.paper.template import read_template

    chosen, finished = read_template(template), _opened(run)
    return PaperTable(build(chosen, finished, None if claimed is None else read_claims(Path(claimed), finished)))


def write_page(run: RunLike, path: str | Path | None = None) -> Path:
    """Write a finished run as one HTML file that opens from disk and loads nothing, and return the file.

    The file is page.html beside results.csv unless a path FILE.html is given.

    Raises:
        ConfigError: the path does not end in .html, or cannot be written.
    """
    from bench.report.page.document import write

    return write(_opened(run), None if path is None else Path(path))


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

    finished = _opened(run)
    target = finished.file.parent / "plots" if folder is None else Path(folder)
    return write(finished_of(finished), target, _listed(only))


def verify(run: RunLike, suite: str | None = None, resample: int = 0) -> Verification:
    """Check a results file by itself and, where its store is beside it, recompute every number.

    `suite` names its suite where the run does not record it; `resample` draws that many images again.

    Raises:
        ConfigError: the file or the suite cannot be read, or `resample` is negative.
    """
    from bench.verification.verify import Verification

    return Verification(tuple(checks(run, suite, resample)))


def checks(run: RunLike, suite: str | None = None, resample: int = 0) -> Iterator[Check]:
    """Yield the checks of `verify` as they are made."""
    from bench.verification.verify import verify as every_check

    return every_check(_opened(run), None if suite is None else load_suite(suite), resample)


def sweep(
    method: str,
    fields: Axes,
    *,
    sampler: Axes | None = None,
    guidance_batch: Sequence[int] | str | None = None,
    task: Sequence[str] = (),
    suite: SuiteLike = "quick",
    seed: int = 1000,
    search: int | None = None,
    name: str | None = None,
    **options: Unpack[RunOptions],
) -> Sweep:
    """Run a method at many settings: fairness against quality against cost, and the Pareto front.

    Args:
        method: a method's name, or its title in the suite.
        fields: values per field of the method, such as {"strength": [50, 100]}; with `search` a range "10..300:log".
        sampler: values per setting of the sampler, such as {"steps": [10, 25]}.
        guidance_batch: numbers of samples that are steered together.
        task: tasks of the suite; every task unless given.
        suite: the base suite: everything that is not swept.
        seed: of noise and fits; report what you pick on another one.
        search: trials in which Optuna searches the ranges; the whole grid runs unless given.
        name: of the sweep and its folder; "sweep-METHOD" unless given.

    Raises:
        ConfigError: something cannot be run, or nothing varies; nothing is sampled.

    >>> bench.sweep("class_gap_guidance", {"strength": [100]})
    Traceback (most recent call last):
    bench.core.errors.ConfigError: nothing to vary: ...
    """
    from bench.sweeps.axes import axes_of, axis_of
    from bench.sweeps.sweep import SweepPlan
    from bench.sweeps.sweep import sweep as run_sweep

    how, listed, sampling = options_of(options), axes_of("--set", fields), axes_of("--sampler", sampler or {})
    if guidance_batch is not None:
        sampling.append(axis_of("--guidance-batch", "guidance_batch", guidance_batch))
    return run_sweep(SweepPlan(method, load_suite(suite), listed, sampling, _listed(task), seed, search, name), how)


def tune(suite: SuiteLike, **options: Unpack[RunOptions]) -> Tuning:
    """Choose the settings of a suite's tuned methods: the same budget, noise and rule of choice for each of them.

    `tuning` in the suite is the budget, `tuned: true` marks the methods, and each method declares its search space.
    The trials and the chosen settings go to OUT/SUITE/tuning.csv; `run` then runs the suite with them. Tuning resumes:
    call it again after any interruption.

    Raises:
        ConfigError: the suite tunes nothing, or something in it cannot be run; nothing is sampled.
        UnknownName: a search space names no field of its method.

    >>> bench.tune("quick")
    Traceback (most recent call last):
    bench.core.errors.ConfigError: suite quick tunes nothing; add `tuned: true` to the methods to tune, and a budget...
    """
    from bench.sweeps.tuned import tune_suite

    return tune_suite(load_suite(suite), options_of(options))


def profile(
    suite: SuiteLike = "quick",
    *,
    methods: Sequence[str] = (),
    batches: Sequence[int] = (1, 16, 64),
    steps: Sequence[int] = (),
    devices: Sequence[str] = ("cpu",),
    rounds: int = 5,
    run: RunLike | None = None,
    trace: bool = False,
    out: str | Path = OUT,
) -> Profile:
    """Measure the cost of every method: seconds by stage, calls, FLOPs and memory, beside vanilla.

    The table and the plots are written to OUT/SUITE/profile.

    Args:
        suite: as `load_suite`.
        methods: titles; every method unless given, and vanilla always.
        batches: numbers of images that are steered together.
        steps: numbers of sampling steps; the suite's own unless given.
        devices: torch devices.
        rounds: measurements per stage, after a warm-up.
        run: a finished run of the suite, for the plot of seconds against discrepancy.
        trace: write a Chrome trace of each method as well.
        out: folder of the profile and of the store.

    Raises:
        ConfigError: something cannot be run; nothing is written.

    >>> bench.profile("quick", rounds=0)
    Traceback (most recent call last):
    bench.core.errors.ConfigError: --rounds must be at least 1, got 0
    """
    from bench.profiling.plots import profile_with_plots
    from bench.profiling.profile import Choice

    choice = Choice(Path(out), _listed(methods), tuple(batches), tuple(steps), _listed(devices), rounds, trace)
    return profile_with_plots(load_suite(suite), choice, None if run is None else _opened(run))


def train(recipe: str | Path, out: str | Path | None = None, force: bool = False) -> Mapping[str, object]:
    """Train the weights that a recipe describes, or resume where the folder stopped; return the training's record.

    A recipe is a shipped asset's name or a YAML file; weights go to `out` (models/NAME by default); `force` restarts.

    Raises:
        ConfigError: the recipe does not exist or is not valid, or the folder holds a training of another recipe.

    >>> bench.train("avatars-une")
    Traceback (most recent call last):
    bench.core.errors.UnknownName: unknown recipe 'avatars-une'; did you mean 'avatars-unet'...
    """
    from bench.recipes.train import recipe_named, train_recipe

    path, name = recipe_named(str(recipe))
    return train_recipe(path, Path("models") / name if out is None else Path(out), force)


def prepare(suite: SuiteLike, mirror: str | Path | None = None) -> list[Item]:
    """Fetch the weights that a suite needs, from the hub or a folder `mirror`; return all it takes from elsewhere.

    Raises:
        ConfigError: the disk has no room, or the mirror is not a folder.

    >>> bench.prepare("quick")
    []
    """
    from bench.environment.requirements import prepare as fetch_missing

    return fetch_missing(load_suite(suite), None if mirror is None else Path(mirror))


def doctor() -> list[Finding]:
    """Examine the installation: packages, weights, extractors, devices and the cache folder."""
    from bench.environment.doctor import examine

    return examine()


def _opened(run: RunLike) -> Run:
    return open_run(run) if isinstance(run, str | Path) else run


def _listed(names: Sequence[str]) -> tuple[str, ...]:
    """Return names as a tuple; one name alone may be given without brackets."""
    return (names,) if isinstance(names, str) else tuple(names)
