"""Equal tuning: the same number of trials, the same noise and the same rule of choice for every tuned method."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.config.build import build_method
from bench.config.suite import MethodChoice, Suite, TaskChoice
from bench.config.tuning import TuningChoice
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.progress import console
from bench.core.specs import Fields
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.engine.resources import Resources
from bench.report.tradeoff.points import Point, quality_of, read_points
from bench.results.leaderboard_csv import GUIDED
from bench.results.tables import Record, read_records
from bench.results.tuning import TuningRow
from bench.sweeps.axes import Axis
from bench.sweeps.grid import VANILLA, Protocol, Variant, settings_of, tree_of, validated, with_variants
from bench.sweeps.run import SUITE_FILE, check_free, earlier_points, run_suite
from bench.sweeps.search import Trials, check_optuna
from bench.sweeps.space import check_budget, first_setting, space_of

COSTS = ("task", "method", "nfe_per_image", "backward_per_image", "fit_nfe", "fit_backward")
UNUSED = ("other_classifiers", "statistics", "downstream", "tuning")  # keys of a suite that no trial needs

Evaluate = Callable[[Sequence[Variant]], Sequence[Point]]


@dataclass(frozen=True)
class TuningPlan:
    """A tuning that has not begun.

    Attributes:
        tuning: budget and rule.
        choices: the tuned methods as trials list them, by their titles in the leaderboard.
        spaces: what is searched of each, by the same titles; empty where nothing is.
        protocols: one suite per task, or one for all of them; vanilla stands in each.
        key: hash of everything that decides the tuning, but for the sources of the methods.
    """

    tuning: TuningChoice
    choices: Mapping[str, MethodChoice]
    spaces: Mapping[str, Sequence[Axis]]
    protocols: tuple[Protocol, ...]
    key: str

    def trials_of(self, title: str) -> Trials:
        """Begin the search of a method; its first trial is the defaults."""
        choice, axes = self.choices[title], self.spaces[title]
        prefix = f"{title.removesuffix(' (tuned)')}: "
        return Trials(choice, axes, 2, first_setting(choice, axes), prefix)


def plan_tuning(suite: Suite) -> TuningPlan:
    """Check what a suite tunes.

    Raises:
        ConfigError: the suite tunes nothing, measures no fairness or no quality, or the budget is too small.
        UnknownName: a search space names no field.
    """
    tuning = suite.tuning
    choices = {
        m.title: m.model_copy(update={"tuned": False, "chosen": {}, "label": "defaults"})
        for m in suite.methods
        if m.tuned
    }
    if tuning is None or not choices:
        raise ConfigError(
            f"suite {suite.suite} tunes nothing; add `tuned: true` to the methods to tune, and a budget, such as "
            "`tuning: {trials: 20, n: 200}`"
        )
    quality_of(suite)
    spaces = {title: space_of(choice) for title, choice in choices.items()}
    for title, choice in choices.items():
        check_budget(choice, spaces[title], tuning.trials)
        first_setting(choice, spaces[title])
    groups = [(task,) for task in suite.tasks] if tuning.per == "task" else [suite.tasks]
    protocols = tuple(Protocol(_suite(suite, tuning, tasks), {}) for tasks in groups)
    decided = [
        [title, choice.name, _fields(choice), list(map(repr, spaces[title]))] for title, choice in choices.items()
    ]
    key = digest_of([tuning.model_dump(mode="json"), decided, [tree_of(p.suite) for p in protocols]])
    return TuningPlan(tuning, choices, spaces, protocols, key)


def _fields(choice: MethodChoice) -> str:
    return Fields(dataclasses.asdict(build_method(choice.name, choice.fields))).text


def _suite(suite: Suite, tuning: TuningChoice, tasks: Sequence[TaskChoice]) -> Suite:
    """Return the suite of the trials: vanilla on the tuning's seeds, with the metrics that decide the choice alone."""
    tree = {key: value for key, value in tree_of(suite).items() if key not in UNUSED}
    name = f"{suite.suite}-tuning"
    if tuning.per == "task":
        name += f"-{re.sub(r'[^A-Za-z0-9_.]+', '-', tasks[0].title)}"
    metrics = ["fairness_discrepancy", "frechet", *(["prompt_discrepancy"] if suite.prompts else [])]
    tree |= {"suite": name, "n": tuning.n, "seeds": list(tuning.seeds), "metrics": metrics}
    tree |= {"tasks": [task.model_dump(mode="json", exclude_unset=True) for task in tasks]}
    if "features" in tree:
        tree["features"] = tree["features"][:1]
    tree["references"] = dict(list(tree["references"].items())[:1])
    return validated({**tree, "methods": [{"name": VANILLA.name}]})


def tune(plan: TuningPlan, options: Options) -> list[TuningRow]:
    """Run every trial, or what is missing of them, and return one row per task, method and setting.

    Raises:
        ConfigError: something cannot be run here, or a folder holds another run; nothing is sampled.
    """
    check_optuna("tuning")
    if options.only:
        raise ConfigError("`only` is for `run`: a tuning treats all of its methods and tasks alike; leave it out")
    suites = [protocol.suite for protocol in plan.protocols]
    check_free(options.out, suites, suites[0].suite)
    resources = Resources()
    for protocol in plan.protocols:
        if not (options.out / protocol.suite.suite / SUITE_FILE).is_file():
            firsts = [plan.trials_of(title).ask() for title in plan.choices]
            preflight(with_variants(protocol.suite, firsts), options, resources)
    return [row for protocol in plan.protocols for row in _tuned(plan, protocol, options, resources)]


def _tuned(plan: TuningPlan, protocol: Protocol, options: Options, resources: Resources) -> list[TuningRow]:
    """Search every method within one suite, which grows by a setting per method and round, and choose."""
    earlier = earlier_points(protocol, options, pictures=False)

    def run(tried: Sequence[Variant]) -> Sequence[Point]:
        suite = with_variants(protocol.suite, tried)
        folder = run_suite(suite, options, pictures=False, resources=resources).folder
        return read_points(folder, suite, settings_of(protocol, tried))

    def evaluate(tried: Sequence[Variant]) -> Sequence[Point]:
        listed = earlier[0].methods if earlier else ()
        return earlier[1] if earlier and all(v.choice in listed for v in _runs(tried)) else run(tried)

    tried, numbers = _search(plan, protocol.suite.suite, evaluate)
    points = run([variant for of_method in tried.values() for variant in of_method])
    costs = read_records(options.out / protocol.suite.suite / "costs.csv", COSTS, may_be_empty=True)
    rows = []
    for title, of_method in tried.items():
        measured = [measure(points, variant) for variant in of_method]
        index, note = choose(measured, plan.tuning.frechet_factor)
        for i, candidate in enumerate(measured):
            row = _Row(plan, title, of_method[i], numbers[title][i], i == index, note if i == index else "")
            rows += [row.on(point, candidate.ratios[point.task], costs) for point in candidate.points]
    tasks = list(dict.fromkeys(row.task for row in rows))
    return sorted(rows, key=lambda row: tasks.index(row.task))


def _runs(tried: Sequence[Variant]) -> list[Variant]:
    """Return the settings that are sampled beside vanilla; vanilla itself is in every suite."""
    return [variant for variant in tried if variant.choice.name != VANILLA.name]


def _search(plan: TuningPlan, name: str, evaluate: Evaluate) -> tuple[dict[str, list[Variant]], dict[str, list[int]]]:
    """Return the distinct settings of every method and the number of the trial that tried each of them first."""
    searches = {title: plan.trials_of(title) for title in plan.choices}
    numbers: dict[str, list[int]] = {title: [] for title in searches}
    points: Sequence[Point] = []
    for number in range(1, plan.tuning.trials + 1):
        asking = [title for title in searches if number == 1 or plan.spaces[title]]
        trials = {title: searches[title].ask() for title in asking}
        added = [title for title in trials if len(searches[title].tried) > len(numbers[title])]
        for title in added:
            numbers[title].append(number)
        if added:
            console.print(
                f"{name}: trial {number} of {plan.tuning.trials} of {len(asking)} methods", markup=False, soft_wrap=True
            )
            points = evaluate([variant for search in searches.values() for variant in search.tried.values()])
        for title, variant in trials.items():
            searches[title].tell(measure(points, variant).objectives(plan.tuning.frechet_factor))
    return {title: list(search.tried.values()) for title, search in searches.items()}, numbers


@dataclass(frozen=True)
class Candidate:
    """A setting on the tasks that it is chosen for.

    Attributes:
        points: one per task.
        ratios: the Fréchet distance divided by vanilla's, by task; None where one of the two has no value.
    """

    points: tuple[Point, ...]
    ratios: Mapping[str, float | None]

    @property
    def value(self) -> float | None:
        """The ranking metric's mean over the tasks; None where one of them has no value."""
        values = [point.fairness.value for point in self.points if point.fairness is not None]
        return sum(values) / len(values) if values and len(values) == len(self.points) else None

    @property
    def ratio(self) -> float | None:
        """The largest ratio of the tasks; None where one of them has no value."""
        ratios = [ratio for ratio in self.ratios.values() if ratio is not None]
        return max(ratios) if ratios and len(ratios) == len(self.ratios) else None

    def objectives(self, factor: float) -> tuple[float, float] | None:
        """Return the ranking metric and the excess of the ratio over the factor; among those without, the first counts.

        None where one of the two has no value.
        """
        value, ratio = self.value, self.ratio
        return None if value is None or ratio is None else (value, max(0.0, ratio - factor))


def measure(points: Sequence[Point], variant: Variant) -> Candidate:
    """Return what a setting reached, given the points of its suite."""
    title = VANILLA.title if variant.choice.name == VANILLA.name else variant.choice.title
    of_variant = tuple(point for point in points if point.title.removesuffix(GUIDED) == title)
    vanilla = {point.task: point for point in points if point.title == VANILLA.title}
    ratios: dict[str, float | None] = {}
    for point in of_variant:
        unguided = vanilla[point.task].quality
        defined = point.quality is not None and unguided is not None and unguided.value > 0
        ratios[point.task] = point.quality.value / unguided.value if defined and point.quality and unguided else None
    return Candidate(of_variant, ratios)


def choose(candidates: Sequence[Candidate], factor: float) -> tuple[int, str]:
    """Return the index of the setting to run, and how it was chosen where the rule could not choose.

    The rule: the least ranking metric among settings whose Fréchet distance is at most `factor` times vanilla's. Equal
    values go to the earlier trial, the defaults first. Where no setting is within the factor, the one with the least
    Fréchet distance is taken; where none was measured, the defaults.

    Args:
        candidates: at least one, the defaults first.
        factor: of vanilla's Fréchet distance.
    """
    measured = [(i, c.value, c.ratio) for i, c in enumerate(candidates)]
    complete = [(i, value, ratio) for i, value, ratio in measured if value is not None and ratio is not None]
    within = [(value, i) for i, value, ratio in complete if ratio <= factor]
    if within:
        return min(within)[1], ""
    if complete:
        ratio, nearest = min((ratio, i) for i, _, ratio in complete)
        return nearest, (
            f"no setting is within {factor:g} of vanilla's Frechet distance; the nearest, {ratio:.3g} of it, is taken"
        )
    return 0, "no trial has both a discrepancy and a Frechet distance; the defaults are taken"


@dataclass(frozen=True)
class _Row:
    """A setting of a method, before it is written per task."""

    plan: TuningPlan
    title: str
    variant: Variant
    number: int
    chosen: bool
    note: str

    def on(self, point: Point, ratio: float | None, costs: Sequence[Record]) -> TuningRow:
        """Return the row of a task."""
        tuning = self.plan.tuning
        return TuningRow(
            task=point.task,
            method=self.title,
            trial=self.number,
            chosen=self.chosen,
            setting=Fields({axis.name: self.variant.settings[axis.name] for axis in self.plan.spaces[self.title]}).text,
            ranking_metric=point.ranking_metric,
            value=point.fairness,
            frechet=point.quality,
            frechet_of=quality_of(self.plan.protocols[0].suite),
            frechet_ratio=ratio,
            frechet_factor=tuning.frechet_factor,
            evaluation=None,
            gap=None,
            nfe_per_image=point.calls,
            backward_per_image=point.backward,
            denoiser_calls=_calls(
                [c for c in costs if c["task"] == point.task and c["method"] == point.title], point.n
            ),
            n=point.n,
            seeds="/".join(map(str, tuning.seeds)),
            status=point.status,
            reason=point.reason,
            note=self.note,
            run=point.run,
            method_file=self.variant.choice.name,
            fields=_fields(self.variant.choice),
            tuning_sha256=self.plan.key,
        )


def _calls(costs: Sequence[Record], n: int) -> float | None:
    """Return NFE and backward passes of the cells of a trial, sampling `n` images each, and of their fits."""
    if not costs:
        return None
    per_image, of_fit = COSTS[2:4], COSTS[4:]
    return sum(
        n * sum(row.number(column) or 0.0 for column in per_image) + sum(row.number(column) or 0.0 for column in of_fit)
        for row in costs
    )
