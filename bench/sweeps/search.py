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
    check_optuna("--search", ", or use values instead of ranges and leave --search out")


def check_optuna(what: str, instead: str = "") -> None:
    """Refuse what needs Optuna where it is not installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import optuna  # noqa: F401 -- checks that it is installed
    except ImportError as error:
        raise ConfigError(
            f"{what} needs optuna, which is not installed; pip install 'fairdiff-bench[search]'{instead}"
        ) from error


def dimensions(choice: MethodChoice, axes: Sequence[Axis], option: str = "--set") -> list[Dimension]:
    """Return the ranges among the axes; the method is built with both ends of each to check them.

    Args:
        choice: the method, with the fields that stay.
        axes: over its fields.
        option: the source of the axes, for errors.

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
                    raise ConfigError(f"{option} {axis.name} must have whole ends, as the field has, got {end:g}")
                build_method(choice.name, {**choice.fields, axis.name: int(end) if whole else end})
            ranges.append(Dimension(axis, whole))
    return ranges


class Trials:
    """The trials of one method, each suggested from the results of the earlier ones.

    The suggestions depend on the seed and the results only. A search that was interrupted and is started again
    therefore suggests the same settings, finds their cells in the store, and continues. More trials begin with the
    same ones.

    Source: Ozaki et al. 2022, Multiobjective Tree-Structured Parzen Estimator, JAIR 73; Optuna's `TPESampler`.

    Attributes:
        tried: the distinct settings suggested so far, in order, by the digest of the method's fields.
    """

    def __init__(
        self,
        choice: MethodChoice,
        axes: Sequence[Axis],
        objectives: int,
        first: Settings | None = None,
        prefix: str = "",
    ) -> None:
        """Begin a search.

        Args:
            choice: the method, with the fields that stay.
            axes: ranges, and values to choose from; without any, every trial is the method as it is.
            objectives: number of values that a trial is told, all to be minimised.
            first: the setting of the first trial, a value of every axis; a suggestion unless given.
            prefix: begins the title of every setting.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=["minimize"] * objectives, sampler=optuna.samplers.TPESampler(seed=SEED)
        )
        self._choice, self._ranges, self._prefix = choice, dimensions(choice, axes), prefix
        self._listed = [axis for axis in axes if isinstance(axis, Values)]
        self.tried: dict[str, Variant] = {}
        if first:
            listed = {axis.name: json.dumps(first[axis.name]) for axis in self._listed}
            self._study.enqueue_trial({**first, **listed})

    def ask(self) -> Variant:
        """Return the next setting, which may be one that was tried before."""
        self._trial = self._study.ask()
        variant = _variant(
            self._choice, self._listed, _suggested(self._trial, self._ranges, self._listed), self._prefix
        )
        return self.tried.setdefault(digest_of(variant.choice.fields), variant)

    def tell(self, reached: Sequence[float] | None) -> None:
        """Take the objectives of the setting that was asked last; None where it could not be measured."""
        import optuna

        state = optuna.trial.TrialState.FAIL if reached is None else optuna.trial.TrialState.COMPLETE
        self._study.tell(self._trial, reached, state=state)


def search(choice: MethodChoice, axes: Sequence[Axis], n_trials: int, evaluate: Evaluate) -> list[Variant]:
    """Try settings one after another, as `Trials` suggests them.

    Args:
        choice: the method, with the fields that stay.
        axes: ranges, and values to choose from.
        n_trials: number of settings to try; a repeated setting counts and is not run again.
        evaluate: runs missing cells; discrepancy, Fréchet distance and passes are minimised.

    Returns:
        The distinct settings tried, in order.
    """
    trials = Trials(choice, axes, 3)
    points: Sequence[Point] = []
    for number in range(n_trials):
        before = len(trials.tried)
        variant = trials.ask()
        if len(trials.tried) > before:
            console.print(f"trial {number + 1} of {n_trials}: {variant.choice.title}", markup=False, soft_wrap=True)
            points = evaluate(list(trials.tried.values()))
        trials.tell(next(p.objectives for p in points if p.settings.items() >= variant.settings.items()))
    return list(trials.tried.values())


def _suggested(trial: Trial, ranges: Sequence[Dimension], listed: Sequence[Values]) -> Settings:
    chosen: Settings = {d.axis.name: d.suggest(trial) for d in ranges}
    for axis in listed:  # Optuna's categories must be plain values, and a window is a list
        names = [json.dumps(value) for value in axis.values]
        chosen[axis.name] = json.loads(trial.suggest_categorical(axis.name, names))
    return chosen


def _variant(choice: MethodChoice, listed: Sequence[Values], chosen: Settings, prefix: str) -> Variant:
    fixed = [axis for axis in listed if len(axis.values) == 1]
    further = {name: value for name, value in chosen.items() if name not in {axis.name for axis in fixed}}
    variant = variants(choice, fixed, further)[0]
    titled = (
        variant.choice.model_copy(update={"label": f"{prefix}{variant.choice.title}"}) if prefix else variant.choice
    )
    return Variant(titled, variant.settings)
