"""The functions that make and check runs: what the command line does, from Python. Every input is validated once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Unpack

from bench.api.finished import names_of, open_run, opened
from bench.engine.run_options import OUT, RunOptions, options_of, with_recorded_cells

if TYPE_CHECKING:
    from bench.api.finished import RunLike
    from bench.config.suite import Suite
    from bench.engine.options import Options
    from bench.engine.runner import Outcome
    from bench.environment.doctor import Finding
    from bench.environment.requirements import Item
    from bench.estimate.plan import Plan
    from bench.plugin_checks.check import Checked
    from bench.profiling.profile import Profile
    from bench.report.tradeoff.points import Setting
    from bench.results.run import Run
    from bench.sweeps.sweep import Sweep
    from bench.sweeps.tuned import Tuning
    from bench.verification.check import Check
    from bench.verification.verify import Verification

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


def verify(run: RunLike, suite: str | None = None, resample: int = 0, other_machine: bool = False) -> Verification:
    """Check a results file by itself and, where its store is beside it, recompute every number.

    `suite` names its suite where the run does not record it; `resample` draws that many images again. Numbers are
    compared to the digit or, with `other_machine`, by the tolerances of their columns.

    Raises:
        ConfigError: the file or the suite cannot be read, or `resample` is negative.
    """
    from bench.verification.verify import Verification

    return Verification(tuple(checks(run, suite, resample, other_machine)))


def checks(run: RunLike, suite: str | None = None, resample: int = 0, other_machine: bool = False) -> Iterator[Check]:
    """Yield the checks of `verify` as they are made."""
    from bench.verification.verify import verify as every_check

    return every_check(opened(run), None if suite is None else load_suite(suite), resample, other_machine)


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
    return run_sweep(SweepPlan(method, load_suite(suite), listed, sampling, names_of(task), seed, search, name), how)


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

    choice = Choice(Path(out), names_of(methods), tuple(batches), tuple(steps), names_of(devices), rounds, trace)
    return profile_with_plots(load_suite(suite), choice, None if run is None else opened(run))


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


def check_plugin(name: str, kind: str | None = None, fields: Mapping[str, object] | None = None) -> Iterator[Checked]:
    """Run the contract checks of a method, evaluator, extractor or model, and yield their outcomes per kind.

    Args:
        name: the plug-in's public name; of a model, that of a shipped one, `path:DIR` or `hub:ID`.
        kind: "method", "evaluator", "extractor" or "model"; every one that the name has unless given.
        fields: values of fields that differ from their defaults, such as a short training.

    Raises:
        UnknownName: no such plug-in or kind.
        ConfigError: fields for an evaluator, which has none.

    >>> checked = next(bench.check_plugin("largest_share"))
    Traceback (most recent call last):
    bench.core.errors.UnknownName: unknown plug-in 'largest_share'; did you mean 'abstained_share'? known: ...
    """
    from bench.plugin_checks.check import check_plugin as check_roles

    return check_roles(name, kind, fields)


def doctor() -> list[Finding]:
    """Examine the installation: packages, weights, extractors, devices and the cache folder."""
    from bench.environment.doctor import examine

    return examine()
