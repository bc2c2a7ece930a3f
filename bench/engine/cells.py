"""The cells that a suite spans."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Set

from bench.config.build import build_method, built_methods
from bench.config.suite import MethodChoice, Suite, TaskChoice, repeated
from bench.core.attributes import Attribute, product, shares_of, target_name
from bench.core.errors import ConfigError, UnknownName
from bench.core.specs import Fields


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a suite: a method on a task with a seed.

    Attributes:
        title: what the leaderboard calls the method.
        method: the method's public name.
        fields: every field of the method, defaults included.
        attributes: of the task.
        target: float per class of the joint of `attributes`.
        seed: of noise, assigned classes and fit.
    """

    title: str
    method: str
    fields: Fields
    attributes: tuple[Attribute, ...]
    target: tuple[float, ...]
    seed: int

    @functools.cached_property
    def task(self) -> str:
        """The task's name: attributes and target."""
        return f"{product(self.attributes).name} {target_name(self.target)}"


def resolve_target(
    choice: TaskChoice, classified: tuple[Attribute, ...]
) -> tuple[tuple[Attribute, ...], tuple[float, ...]]:
    """Return the attributes of a task and its target distribution over their joint.

    Raises:
        UnknownName: an attribute that the classifier does not know.
        ConfigError: an attribute named twice, or a target that is no distribution over the joint's classes.
    """
    by_name = {a.name: a for a in classified}
    for name in choice.attributes:
        if name not in by_name:
            raise UnknownName("attribute", name, by_name)
    if len(set(choice.attributes)) < len(choice.attributes):
        raise ConfigError(f"the attributes of a task must be different, got {list(choice.attributes)}")
    attributes = tuple(by_name[name] for name in choice.attributes)
    joint = product(attributes)
    if choice.target == "uniform":
        return attributes, (1 / joint.n_classes,) * joint.n_classes
    values = shares_of(choice.target, joint.classes, "the target")
    return attributes, tuple(values.tolist())


def cells(suite: Suite, classified: tuple[Attribute, ...], only: Mapping[str, Set[str]] | None = None) -> list[Cell]:
    """Return the cells of a suite, in the order of tasks, methods and seeds.

    Args:
        suite: the suite.
        classified: the attributes that the classifier knows.
        only: of "task", "method" and "seed", the values to run; a task is named by its attributes joined by "+",
            or by its full name.

    Raises:
        ConfigError: a method or a task that cannot be, two tasks that are one, or an `only` that names nothing.
    """
    only = only or {}
    for key in only:
        if key not in ("task", "method", "seed"):
            raise UnknownName("key of --only", key, ("task", "method", "seed"))
    listed = {title: Fields(dataclasses.asdict(method)) for title, method in built_methods(suite).items()}
    tasks = [resolve_target(t, classified) for t in suite.tasks]
    names = [f"{product(attributes).name} {target_name(target)}" for attributes, target in tasks]
    twice = repeated(names)
    if twice is not None:
        raise ConfigError(f"two tasks of suite {suite.suite} are {twice!r}; keep one")
    every = [
        Cell(m.title, m.name, _chosen(m, name) if name in m.chosen else listed[m.title], attributes, target, seed)
        for name, (attributes, target) in zip(names, tasks, strict=True)
        for m in suite.methods
        for seed in suite.seeds
    ]
    for key, values in only.items():
        offered = {name for c in every for name in _answers(c, key)}
        for name in values - offered:
            raise UnknownName(f"{key} of suite {suite.suite}", name, offered)
    return [c for c in every if all(values & _answers(c, key) for key, values in only.items())]


def _chosen(method: MethodChoice, task: str) -> Fields:
    """Return every field of a method on a task whose setting was tuned."""
    return Fields(dataclasses.asdict(build_method(method.name, method.fields_on(task))))


def _answers(cell: Cell, key: str) -> set[str]:
    """The values of --only that a cell answers to."""
    if key == "task":
        return {cell.task, product(cell.attributes).name}
    return {cell.title} if key == "method" else {str(cell.seed)}
