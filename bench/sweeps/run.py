"""Run the suites of a sweep; each suite's file is written beside its tables, so that `run` can run it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from bench.config.suite import MethodChoice, Suite
from bench.core.errors import ConfigError
from bench.core.yaml_models import read_yaml
from bench.engine import runner
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.engine.resources import Resources
from bench.engine.runner import Outcome
from bench.estimate.show import warn_of_memory
from bench.report.plots.pictures import draw_pictures
from bench.report.tradeoff.points import Point, read_points
from bench.storage.files import write_bytes
from bench.sweeps.axes import Axis
from bench.sweeps.grid import Protocol, Variant, settings_of, tree_of, with_variants
from bench.sweeps.search import search

SUITE_FILE = "SUITE.yaml"
HEAD = "# Written by `run_bench.py sweep` or `tune`; `run_bench.py run` runs it again.\n"


def check_free(out: Path, suites: Sequence[Suite], name: str) -> None:
    """Refuse to overwrite a run that is not a sweep's.

    Raises:
        ConfigError: a folder that the sweep would write holds tables without the suite file of a sweep.
    """
    for folder in dict.fromkeys([out / name, *(out / suite.suite for suite in suites)]):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"cannot write {folder}: it is a file; choose another --name or --out")
        if (folder / "results.csv").is_file() and not (folder / SUITE_FILE).is_file():
            raise ConfigError(f"{folder} holds a run that is no sweep; choose another --name or --out")


def run_grid(
    plans: Sequence[Protocol], added: Sequence[Variant], options: Options
) -> tuple[list[Point], list[Outcome]]:
    """Run every suite with every variant, and read the points.

    All suites are checked before the first begins: if one of them cannot run, nothing is sampled or written.

    Raises:
        ConfigError: as `bench.engine.runner.run`.
    """
    suites = [with_variants(plan.suite, added) for plan in plans]
    for suite in suites:
        if _written(suite, options) != _text(suite):
            preflight(suite, options)
    points: list[Point] = []
    outcomes = []
    for plan, suite in zip(plans, suites, strict=True):
        outcomes.append(run_suite(suite, options))
        points += read_points(outcomes[-1].folder, suite, settings_of(plan, added))
    tasks = list(dict.fromkeys(point.task for point in points))
    return sorted(points, key=lambda point: tasks.index(point.task)), outcomes


def run_search(
    plan: Protocol, choice: MethodChoice, axes: Sequence[Axis], n_trials: int, options: Options
) -> tuple[list[Point], list[Outcome]]:
    """Search a method's fields within one suite, which grows by a method per trial, and read the points.

    Raises:
        ConfigError: as `bench.engine.runner.run`.
    """
    earlier = earlier_points(plan, options)

    def evaluate(tried: Sequence[Variant]) -> Sequence[Point]:
        if earlier and all(v.choice in earlier[0].methods for v in tried):
            return earlier[1]
        return run_grid([plan], tried, options)[0]

    return run_grid([plan], search(choice, axes, n_trials, evaluate), options)


def earlier_points(plan: Protocol, options: Options, pictures: bool = True) -> tuple[Suite, list[Point]] | None:
    """Return the suite that a search left in the same folder, and its points, if only its methods differ."""
    file = options.out / plan.suite.suite / SUITE_FILE
    if not file.is_file():
        return None
    try:
        suite = read_yaml(file, Suite)
    except ConfigError:
        return None  # from another release, or edited: it is rewritten
    if suite.model_copy(update={"methods": plan.suite.methods}).model_dump() != plan.suite.model_dump():
        return None
    folder = run_suite(suite, options, pictures).folder
    return suite, read_points(folder, suite, {m.title: m.fields for m in suite.methods})


def run_suite(suite: Suite, options: Options, pictures: bool = True, resources: Resources | None = None) -> Outcome:
    """Run a suite whose file is written to its folder first, so that an interrupted sweep resumes.

    Args:
        suite: what to run.
        options: how to run it.
        pictures: draw the pictures of its tables as well.
        resources: of this process, where runs follow each other.
    """
    if _written(suite, options) != _text(suite):
        write_bytes(options.out / suite.suite / SUITE_FILE, _text(suite).encode())
    draw = draw_pictures if pictures else None
    return runner.run(suite, options, draw=draw, before=warn_of_memory, resources=resources)


def _text(suite: Suite) -> str:
    return HEAD + yaml.safe_dump(tree_of(suite), sort_keys=False, allow_unicode=True)


def _written(suite: Suite, options: Options) -> str | None:
    try:
        return (options.out / suite.suite / SUITE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
