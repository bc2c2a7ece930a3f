"""Suites: a YAML file of axes, validated, and the cells it spans."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bench.attributes import Attribute, check_distribution, product
from bench.data.source import DataSource, check_set_name, shipped
from bench.discovery import load, names, with_member
from bench.downstream import DownstreamChoice
from bench.errors import ConfigError, UnknownName
from bench.given_statistics import StatisticsChoice, check_choices
from bench.model_choice import ModelChoice
from bench.sampler_choice import SamplerChoice
from bench.yaml import JsonFields, Strict, fill, read_yaml

HERE = Path(__file__).parent / "suites"


def _known(kind: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise ValueError(str(UnknownName(kind, name, known)))
    return name


class TaskChoice(Strict):
    """Attributes to debias, and the distribution wanted over their joint: "uniform", or one share a class."""

    attributes: tuple[str, ...] = Field(min_length=1)
    target: Literal["uniform"] | tuple[float, ...] = "uniform"

    @field_validator("target", mode="before")
    @classmethod
    def _is_distribution(cls, target: Any) -> Any:
        if target == "uniform":
            return target
        if not isinstance(target, list | tuple) or not all(type(share) in (int, float) for share in target):
            raise ValueError(f'target must be "uniform" or a list of numbers, one a class, got {target!r:.80}')
        try:
            check_distribution(target, len(target), "target")
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return target


class MethodChoice(Strict):
    """A method's name, with fields of its own in `with`, and a label where one method runs more than once."""

    name: str
    fields: dict[str, Any] = Field(default_factory=dict, alias="with")
    label: str | None = None

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        return _known("method", name, names("method"))

    @property
    def title(self) -> str:
        """What the leaderboard calls it."""
        return self.label or self.name


class ExtractorChoice(Strict):
    """An extractor; a name alone takes the defaults of its fields.

    Unless labelled, its title is its name, and then the model that `with` names: columns say whose features they are.
    """

    name: str
    fields: JsonFields = Field(default_factory=dict, alias="with")
    label: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        return _known("extractor", name, with_member("evaluator", "Extractor"))

    @property
    def seer(self) -> Seer:
        """The extractor, as workers know it."""
        return Seer(self.name, json.dumps(self.fields, sort_keys=True), self.label or self._backbone)

    @property
    def _backbone(self) -> str:
        model = self.fields.get("model")
        if not isinstance(model, str) or not model:
            return self.name
        kind, _, place = model.partition(":")
        short = Path(place.partition("@")[0]).name if kind in ("path", "hub") else model
        return f"{self.name}_{re.sub(r'[^A-Za-z0-9._-]+', '-', short)}"


@dataclasses.dataclass(frozen=True)
class Seer:
    """An extractor by its name and fields; it can be hashed, and travels between processes.

    Attributes:
        name: the public name.
        fields: JSON of the arguments that are not the defaults.
        title: what the tables call it.
    """

    name: str
    fields: str
    title: str


class Suite(Strict):
    """A suite file."""

    suite: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    model: ModelChoice
    n: int = Field(ge=1)
    guidance_batch: int = Field(ge=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    sampler: SamplerChoice = SamplerChoice()
    tasks: tuple[TaskChoice, ...] = Field(min_length=1)
    methods: tuple[MethodChoice, ...] = Field(min_length=1)
    data: dict[str, DataSource] = Field(default_factory=dict)  # sets of one's own, by the names they go by below
    labelled: str | None = None
    observed: str | None = None
    unbiased: str | None = None
    judge: ExtractorChoice = ExtractorChoice(name="attribute_cnn")
    other_judges: tuple[ExtractorChoice, ...] = ()  # give scores of their own; the leaderboard's order is the judge's
    judge_may_guide: bool = False  # let a method guide with the network that judges it; every table then says so
    features: tuple[ExtractorChoice, ...] = (ExtractorChoice(name="efficientnet_lite0"),)
    references: dict[str, int] = Field(default_factory=dict)
    statistics: dict[str, StatisticsChoice] = Field(default_factory=dict)  # references of Frechet distances alone
    downstream: DownstreamChoice | None = None
    metrics: tuple[str, ...] = Field(("fairness_discrepancy", "frechet"), min_length=1)
    prompts: str | None = None  # of a text-to-image model: a prompt set; n and guidance batches are then per prompt

    @field_validator("suite")
    @classmethod
    def _not_the_store(cls, suite: str) -> str:
        if suite.lower() == "store":
            raise ValueError(f"a suite must not be called {suite!r}, the folder of all samples; choose another name")
        return suite

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"the seeds must be different and >= 0, got {list(seeds)}")
        return seeds

    @field_validator("guidance_batch")
    @classmethod
    def _at_most_n(cls, guidance_batch: int, info: ValidationInfo) -> int:
        if guidance_batch > info.data.get("n", guidance_batch):
            raise ValueError(f"guidance_batch must be at most n = {info.data['n']}, got {guidance_batch}")
        return guidance_batch

    @field_validator("methods")
    @classmethod
    def _titles_differ(cls, methods: tuple[MethodChoice, ...]) -> tuple[MethodChoice, ...]:
        twice = _twice([m.title for m in methods])
        if twice is not None:
            raise ValueError(f"two methods are called {twice!r}; give one a `label`")
        return methods

    @field_validator("features", "other_judges")
    @classmethod
    def _extractors_differ(
        cls, found: tuple[ExtractorChoice, ...], info: ValidationInfo
    ) -> tuple[ExtractorChoice, ...]:
        titles = [choice.seer.title for choice in found]
        if info.field_name == "other_judges" and "judge" in info.data:
            titles.append(info.data["judge"].seer.title)
        twice = _twice(titles)
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice; name it once, or give one a `label`")
        return found

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        twice = _twice(list(found))
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice; name it once")
        for name in found:
            _known("metric", name, with_member("evaluator", "Evaluator"))
        return found

    @field_validator("prompts")
    @classmethod
    def _said_once(cls, prompts: str | None, info: ValidationInfo) -> str | None:
        if prompts is not None and "prompts" in getattr(info.data.get("model"), "fields", {}):
            raise ValueError("the prompts are given by the model's `with` too; leave them out there, or here")
        if prompts is not None and "prompt_discrepancy" not in info.data.get("metrics", ["prompt_discrepancy"]):
            raise ValueError("a suite with prompts is ranked by prompt_discrepancy; add it to the suite's metrics")
        return prompts

    @field_validator("data")
    @classmethod
    def _named_apart(cls, found: dict[str, DataSource]) -> dict[str, DataSource]:
        for name, source in found.items():
            check_set_name(name)
            if source.label is not None:
                raise ValueError(f"{name}: a set of a suite goes by the name it has there; leave `label` out")
        return {name: source.model_copy(update={"label": name}) for name, source in found.items()}

    def source(self, name: str) -> DataSource:
        """The image set of a name: one that the suite declares, or a shipped one.

        Raises:
            ConfigError: there is none.
        """
        return self.data[name] if name in self.data else shipped(name, self.data)

    @property
    def judges(self) -> tuple[Seer, ...]:
        """Every judge, the one that decides the leaderboard's order first."""
        return tuple(choice.seer for choice in (self.judge, *self.other_judges))

    @field_validator("references")
    @classmethod
    def _enough(cls, references: dict[str, int]) -> dict[str, int]:
        if any(n < 2 for n in references.values()):
            raise ValueError(f"a reference set must have at least 2 images, got {references}")
        return references

    @field_validator("statistics")
    @classmethod
    def _of_known_features(
        cls, found: dict[str, StatisticsChoice], info: ValidationInfo
    ) -> dict[str, StatisticsChoice]:
        if {"features", "references"} <= info.data.keys():  # else what is wrong with those is said
            check_choices(found, info.data["references"], [choice.seer.title for choice in info.data["features"]])
        return found


def _twice(found: list[str]) -> str | None:
    return next((name for name, times in Counter(found).items() if times > 1), None)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a suite: a method on a task with a seed.

    Attributes:
        title: what the leaderboard calls the method.
        method: the method's public name.
        fields: every field of the method, defaults included, JSON-able.
        attributes: of the task.
        target: float per class of the joint of `attributes`.
        seed: of noise, presets and fit.
    """

    title: str
    method: str
    fields: dict[str, Any]
    attributes: tuple[Attribute, ...]
    target: tuple[float, ...]
    seed: int

    @functools.cached_property
    def task(self) -> str:
        """The task's name: attributes and target."""
        return f"{product(self.attributes).name} {target_name(self.target)}"


def target_name(target: tuple[float, ...]) -> str:
    """Name a target: "uniform", or its shares in percent, e.g. 10/90."""
    if max(target) - min(target) < 1e-9:
        return "uniform"
    return "/".join(f"{100 * share:g}" for share in target)


def list_suites() -> dict[str, str]:
    """Names of the shipped suites, with the first line of each file's comment."""
    return {p.stem: p.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for p in sorted(HERE.glob("*.yaml"))}


def read_suite(name: str) -> Suite:
    """A shipped suite by its name, or any by its file.

    Raises:
        UnknownName: no shipped suite of this name.
        ConfigError: the file cannot be read or is not valid; file, line, key and what was expected are named.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name), Suite)
    if name not in list_suites():
        raise UnknownName("suite", name, [*list_suites(), "FILE.yaml"])
    return read_yaml(HERE / f"{name}.yaml", Suite)


def build_method(name: str, fields: dict[str, Any]) -> Any:
    """A method with checked fields.

    Raises:
        UnknownName: no such method, or no such field.
        ConfigError: a field of the wrong type or out of range.
    """
    return fill(load("method", name, "Method"), fields, "method", name)


def built_methods(suite: Suite) -> dict[str, Any]:
    """Every method of a suite, by its title; raises as `build_method`."""
    return {m.title: build_method(m.name, m.fields) for m in suite.methods}


def build_extractor(seer: Seer) -> Any:
    """An extractor with its fields.

    Raises:
        UnknownName: no such extractor, or no such field.
        ConfigError: a field that it refuses.
        Incompatible: what it needs is not at hand.
    """
    extractor = load("evaluator", seer.name, "Extractor")
    fields = json.loads(seer.fields)
    known = list(inspect.signature(extractor).parameters)
    for key in fields:
        if key not in known:
            raise UnknownName(f"field of extractor {seer.name}", key, known or ["none"])
    try:
        return extractor(**fields)
    except (TypeError, ValueError) as error:  # a value of another type; what is out of range says so itself
        raise ConfigError(f"extractor {seer.name} cannot be made with {fields}: {error}") from error


def resolve_target(choice: TaskChoice, known: tuple[Attribute, ...]) -> tuple[tuple[Attribute, ...], tuple[float, ...]]:
    """The attributes and the distribution over their joint that a task asks for.

    Raises:
        UnknownName: an attribute that the judge does not know.
        ConfigError: an attribute named twice, or a target that is no distribution over the joint.
    """
    by_name = {a.name: a for a in known}
    for name in choice.attributes:
        if name not in by_name:
            raise UnknownName("attribute", name, by_name)
    if len(set(choice.attributes)) < len(choice.attributes):
        raise ConfigError(f"the attributes of a task must be different, got {list(choice.attributes)}")
    attributes = tuple(by_name[name] for name in choice.attributes)
    joint = product(attributes)
    if choice.target == "uniform":
        return attributes, (1 / joint.n_classes,) * joint.n_classes
    values = check_distribution(choice.target, joint.n_classes, f"the target over {', '.join(joint.classes)}")
    return attributes, tuple(values.tolist())


def cells(suite: Suite, known: tuple[Attribute, ...], only: dict[str, set[str]] | None = None) -> list[Cell]:
    """The cells of a suite, in the order of tasks, methods and seeds.

    Args:
        suite: the suite.
        known: the attributes that the judge knows.
        only: of "task", "method" and "seed", the values to keep; a task is named by its attributes joined by "+",
            or by its full name.

    Raises:
        ConfigError: a method or a task that cannot be, two tasks that are one, or an `only` that names nothing.
    """
    only = only or {}
    for key in only:
        if key not in ("task", "method", "seed"):
            raise UnknownName("key of --only", key, ("task", "method", "seed"))
    fields = {title: dataclasses.asdict(method) for title, method in built_methods(suite).items()}
    tasks = [resolve_target(t, known) for t in suite.tasks]
    twice = _twice([f"{product(attributes).name} {target_name(target)}" for attributes, target in tasks])
    if twice is not None:
        raise ConfigError(f"two tasks of suite {suite.suite} are {twice!r}; keep one")
    found = [
        Cell(m.title, m.name, fields[m.title], attributes, target, seed)
        for attributes, target in tasks
        for m in suite.methods
        for seed in suite.seeds
    ]
    for key, wanted in only.items():
        offered = {name for c in found for name in _answers(c, key)}
        for name in wanted - offered:
            raise UnknownName(f"{key} of suite {suite.suite}", name, offered)
    return [c for c in found if all(wanted & _answers(c, key) for key, wanted in only.items())]


def _answers(cell: Cell, key: str) -> set[str]:
    """The values of --only that a cell answers to."""
    if key == "task":
        return {cell.task, product(cell.attributes).name}
    return {cell.title} if key == "method" else {str(cell.seed)}
