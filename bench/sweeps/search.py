"""Search a method's fields by Optuna's multi-objective TPE; each trial is an ordinary cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config.build import build_method
from bench.config.suite import MethodChoice
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.progress import console
from bench.report.tradeoff.points import Point
from bench.sweeps.axes import Axis, Range, Values
from bench.sweeps.grid import Protocol, Settings, Variant, variants

if TYPE_CHECKING:
    from optuna import Trial

SEED = 0  # of the suggestions; the samples use the seed of the sweep
DIGITS = 4  # of a suggested number: enough to distinguish settings, few enough to type

# Runs the variants tried so far and returns their points, possibly with others.
Evaluate = Callable[[Sequence[Variant]], Sequence[Point]]


@dataclass(frozen=True)
class Dimension:
    """A range of a field, and whether the field is an integer."""

    axis: Range
    whole: bool

    def suggest(self, trial: Trial) -> float | int:
        """Return a value of the range, rounded to `DIGITS` significant digits unless whole."""
        low, high = self.axis.low, self.axis.high
        if self.whole:
            return int(trial.suggest_int(self.axis.name, int(low), int(high), log=self.axis.log))
        value = trial.suggest_float(self.axis.name, low, high, log=self.axis.log)
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def check_search(n_trials: int, choice: MethodChoice, axes: Sequence[Axis], plans: Sequence[Protocol]) -> None:
    """Refuse a search that cannot run.

    Args:
        n_trials: number of settings to try.
        choice: the method.
        axes: its fields.
        plans: the suites; must be one, with one task, so that every trial has one discrepancy.

    Raises:
        UnknownName: the method has no such field.
        ConfigError: the search cannot run, or Optuna is not installed.
    """
    if n_trials < 1:
        raise ConfigError(f"--search must be at least 1 trial, got {n_trials}")
    if not dimensions(choice, axes):
        raise ConfigError("--search needs a range, as in --set strength=10..300; for values alone leave --search out")
    if len(plans) > 1:
        raise ConfigError(
            f"--search varies the method's fields within one suite, got {len(plans)} samplers or guidance batches; "
            "choose one"
        )
    tasks = plans[0].suite.tasks
    if len(tasks) > 1:
        raise ConfigError(f"--search needs one task, got {len(tasks)}; choose one with --task")
    try:
        import optuna  # noqa: F401 -- checks that it is installed
    except ImportError as error:
        raise ConfigError(
            "--search needs optuna, which is not installed; pip install 'fairdiff-bench[search]', or use values "
            "instead of ranges and leave --search out"
        ) from error


def dimensions(choice: MethodChoice, axes: Sequence[Axis]) -> list[Dimension]:
    """Return the ranges among the axes; the method is built with both ends of each to check them.

    Raises:
        UnknownName: the method has no such field.
        ConfigError: the field is not a number, or refuses an end.
    """
    ranges = []
    for axis in axes:
        if isinstance(axis, Range):
            default = getattr(build_method(choice.name, choice.fields), axis.name, None)
            whole = type(default) is int
            for end in (axis.low, axis.high):
                if whole and not end.is_integer():
                    raise ConfigError(f"--set {axis.name} must have whole ends, as the field has, got {end:g}")
                build_method(choice.name, {**choice.fields, axis.name: int(end) if whole else end})
            ranges.append(Dimension(axis, whole))
    return ranges


def search(choice: MethodChoice, axes: Sequence[Axis], n_trials: int, evaluate: Evaluate) -> list[Variant]:
    """Try settings one after another, each suggested from the results of the earlier ones.

    The suggestions depend on the seed and the results only. A search that was interrupted and is started again
    therefore suggests the same settings, finds their cells in the store, and continues. A larger `n_trials` begins
    with the trials of a smaller one.

    Source: Ozaki et al. 2022, Multiobjective Tree-Structured Parzen Estimator, JAIR 73; Optuna's `TPESampler`.

    Args:
        choice: the method, with the fields that stay.
        axes: ranges, and values to choose from.
        n_trials: number of settings to try; a repeated setting counts and is not run again.
        evaluate: runs missing cells; discrepancy, Fréchet distance and passes are minimised.

    Returns:
        The distinct settings tried, in order.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = dimensions(choice, axes)
    listed = [axis for axis in axes if isinstance(axis, Values)]
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.TPESampler(seed=SEED))
    tried: dict[str, Variant] = {}
    points: Sequence[Point] = []
    for number in range(n_trials):
        trial = study.ask()
        variant = _variant(choice, listed, _suggested(trial, ranges, listed))
        key = digest_of(variant.choice.fields)
        if key not in tried:
            tried[key] = variant
            console.print(f"trial {number + 1} of {n_trials}: {variant.choice.title}", markup=False, soft_wrap=True)
            points = evaluate(list(tried.values()))
        reached = next(p.objectives for p in points if p.settings.items() >= tried[key].settings.items())
        state = optuna.trial.TrialState.FAIL if reached is None else optuna.trial.TrialState.COMPLETE
        study.tell(trial, reached, state=state)
    return list(tried.values())


def _suggested(trial: Trial, ranges: Sequence[Dimension], listed: Sequence[Values]) -> Settings:
    chosen: Settings = {d.axis.name: d.suggest(trial) for d in ranges}
    for axis in listed:  # Optuna's categories must be plain values, and a window is a list
        names = [json.dumps(value) for value in axis.values]
        chosen[axis.name] = json.loads(trial.suggest_categorical(axis.name, names))
    return chosen


def _variant(choice: MethodChoice, listed: Sequence[Values], chosen: Settings) -> Variant:
    fixed = [axis for axis in listed if len(axis.values) == 1]
    further = {name: value for name, value in chosen.items() if name not in {axis.name for axis in fixed}}
    return variants(choice, fixed, further)[0]
