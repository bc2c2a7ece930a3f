"""Running a sweep's suites, each kept beside its tables so that `run` can run it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from bench.config.suite import MethodChoice, Suite
from bench.core.errors import ConfigError
from bench.core.yaml_models import read_yaml
from bench.engine import runner
from bench.engine.options import Options
from bench.engine.preflight import prepare
from bench.engine.runner import Outcome
from bench.report.tradeoff.points import Point, read_points
from bench.storage.files import write_bytes
from bench.sweeps.axes import Axis
from bench.sweeps.grid import Protocol, Variant, settings_of, tree_of, with_variants
from bench.sweeps.search import search

KEPT = "SUITE.yaml"
HEAD = "# Written by `run_bench.py sweep`; `run_bench.py run` runs it again.\n"


def check_free(out: Path, suites: Sequence[Suite], name: str) -> None:
    """Refuse to write over a run that no sweep made.

    Raises:
        ConfigError: a folder that the sweep would write holds tables, but no suite that a sweep kept.
    """
    for folder in dict.fromkeys([out / name, *(out / suite.suite for suite in suites)]):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"cannot write {folder}: it is a file; choose another --name or --out")
        if (folder / "results.csv").is_file() and not (folder / KEPT).is_file():
            raise ConfigError(f"{folder} holds a run that is no sweep; choose another --name or --out")


def run_grid(
    plans: Sequence[Protocol], found: Sequence[Variant], options: Options
) -> tuple[list[Point], list[Outcome]]:
    """Run every suite with every variant, and read what came of it.

    All are checked before the first begins: nothing is sampled or written where one of them cannot be run.

    Raises:
        ConfigError: as `bench.engine.runner.run`.
    """
    suites = [with_variants(plan.suite, found) for plan in plans]
    for suite in suites:
        if _kept(suite, options) != _text(suite):
            prepare(suite, options)
    points: list[Point] = []
    outcomes = []
    for plan, suite in zip(plans, suites, strict=True):
        outcomes.append(run_kept(suite, options))
        points += read_points(outcomes[-1].folder, suite, settings_of(plan, found))
    tasks = list(dict.fromkeys(point.task for point in points))
    return sorted(points, key=lambda point: tasks.index(point.task)), outcomes


def run_search(
    plan: Protocol, choice: MethodChoice, axes: Sequence[Axis], n_trials: int, options: Options
) -> tuple[list[Point], list[Outcome]]:
    """Search a method's fields within one suite, which grows by a method a trial, and read what came of it.

    Raises:
        ConfigError: as `bench.engine.runner.run`.
    """
    earlier = _earlier(plan, options)

    def evaluate(found: Sequence[Variant]) -> Sequence[Point]:
        if earlier and all(v.choice in earlier[0].methods for v in found):
            return earlier[1]
        return run_grid([plan], found, options)[0]

    return run_grid([plan], search(choice, axes, n_trials, evaluate), options)


def _earlier(plan: Protocol, options: Options) -> tuple[Suite, list[Point]] | None:
    """The suite that a search left in the same folder, and its points, where it differs in its methods alone."""
    kept = options.out / plan.suite.suite / KEPT
    if not kept.is_file():
        return None
    try:
        suite = read_yaml(kept, Suite)
    except ConfigError:
        return None  # written by another release, or edited; it is written again
    if suite.model_copy(update={"methods": plan.suite.methods}).model_dump() != plan.suite.model_dump():
        return None
    folder = run_kept(suite, options).folder
    return suite, read_points(folder, suite, {m.title: m.fields for m in suite.methods})


def run_kept(suite: Suite, options: Options) -> Outcome:
    """Run a suite, kept in its folder before it begins, so that one that was stopped can go on."""
    if _kept(suite, options) != _text(suite):
        write_bytes(options.out / suite.suite / KEPT, _text(suite).encode())
    return runner.run(suite, options)


def _text(suite: Suite) -> str:
    return HEAD + yaml.safe_dump(tree_of(suite), sort_keys=False, allow_unicode=True)


def _kept(suite: Suite, options: Options) -> str | None:
    try:
        return (options.out / suite.suite / KEPT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
