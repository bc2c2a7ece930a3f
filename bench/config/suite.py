"""Suites: a YAML file of axes, validated, and the cells it spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.assets import asset_folder
from bench.config.components import (
    DownstreamChoice,
    ExtractorChoice,
    ModelChoice,
    SamplerChoice,
    StatisticsChoice,
    check_choices,
    check_name,
)
from bench.config.data_source import DataSource, check_set_name, shipped
from bench.config.limits import MOST_IMAGES, Images, Seeds
from bench.config.target import Target
from bench.config.tuning import TuningChoice
from bench.core.attributes import target_name
from bench.core.errors import ConfigError, UnknownName
from bench.core.specs import ExtractorSpec
from bench.core.yaml_models import JsonFields, Strict, describe, read_yaml

HERE = asset_folder("suites")


SHORT_KEYS = {"classifier": "judge", "other_classifiers": "other_judges", "classifier_may_guide": "judge_may_guide"}


def _also_called(key: str) -> AliasChoices:
    return AliasChoices(key, SHORT_KEYS[key])


class TaskChoice(Strict):
    """Attributes to debias, and the target distribution over the classes of their joint.

    Attributes:
        attributes: names of attributes that the classifier knows; the last one varies fastest in their joint.
        target: "uniform", one share per class in label order, such as [0.1, 0.9], or the shares by the classes' names,
            such as {absent: 0.1, present: 0.9}; a class of a joint is called as in "absent+light".
    """

    attributes: tuple[str, ...] = Field(min_length=1)
    target: Target = "uniform"

    @field_validator("target", mode="before")
    @classmethod
    def _not_null(cls, target: Any) -> Any:
        if target is None:
            raise ValueError('target must be "uniform" or shares of the classes, got None; leave it out for uniform')
        return target

    @property
    def title(self) -> str:
        """Return the task's name: attributes and target, as the leaderboard has it unless shares are by class name."""
        if isinstance(self.target, dict):
            shares = "/".join(f"{name} {100 * share:g}" for name, share in self.target.items())
        else:
            shares = "uniform" if self.target == "uniform" else target_name(self.target)
        return f"{'+'.join(self.attributes)} {shares}"


class MethodChoice(Strict):
    """A method; a name alone takes the defaults of its fields.

    Attributes:
        name: as `list methods` has it.
        fields: hyper-parameters that differ from their defaults (`with` in the file).
        label: what the tables call it, where one method runs more than once.
        tuned: whether the suite's tuning chooses the other fields of its search space.
        chosen: these fields by task; `run` reads them from tuning.csv, and run.json records them.
    """

    name: str
    fields: dict[str, Any] = Field(default_factory=dict, alias="with")
    label: str | None = None
    tuned: bool = False
    chosen: dict[str, JsonFields] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        return check_name("method", name, "Method", "method")

    @property
    def title(self) -> str:
        """Return the method's name in the leaderboard."""
        return f"{self.label or self.name} (tuned)" if self.tuned else self.label or self.name

    @field_validator("chosen")
    @classmethod
    def _by_tuning(cls, chosen: dict[str, JsonFields], info: ValidationInfo) -> dict[str, JsonFields]:
        if chosen and not info.data.get("tuned"):
            raise ValueError("these fields are those that a tuning chose; add `tuned: true`, or use `with`")
        return chosen

    def fields_on(self, task: str) -> dict[str, Any]:
        """Return the fields on a task, given its name in the leaderboard: `with`, and what tuning chose for it."""
        return {**self.fields, **self.chosen.get(task, {})}


class Suite(Strict):
    """A suite file.

    Attributes:
        suite: its name; tables go to OUT/SUITE.
        model: a shipped model, `path:DIR` or `hub:OWNER/NAME@REVISION`.
        n: samples per cell; with `prompts`, per prompt.
        guidance_batch: samples that a method steers together, at most `n`; part of the method for methods that couple
            a batch.
        seeds: of noise, fits and assigned classes, 0 to 2^53; one cell per seed, and tables show the mean over seeds.
        sampler: of every method.
        tasks: attributes and target distributions.
        methods: in the order of the tables. `vanilla` is the baseline of `paired_*`, `drift_*` and timing ratios.
        data: image sets of your own, by the names that they go by below.
        labelled: name of the labelled set that methods may learn from.
        observed: name of the biased training set of the methods that train.
        unbiased: name of the source of their small reference set.
        classifier: the attribute classifier that scores the methods, and decides the leaderboard's order.
        other_classifiers: further classifiers with columns of their own; they do not affect the order.
        classifier_may_guide: whether a method may guide with the network that classifies its samples; every table then
            says so.
        features: extractors of the features that distances are computed on.
        references: name of an image set to the number of its images; one without labels will do.
        statistics: published mean and covariance, by the names that tables give them; for Fréchet distances alone.
        downstream: image sets of the metric `downstream_accuracy`.
        metrics: evaluators, as `list evaluators` names them.
        prompts: a prompt set for a text-to-image model: a shipped one's name, or FILE.yaml.
        tuning: the budget of the methods with `tuned: true`.
    """

    suite: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    model: ModelChoice
    n: Images
    guidance_batch: int = Field(ge=1)
    seeds: Seeds = (0,)
    sampler: SamplerChoice = SamplerChoice()
    tasks: tuple[TaskChoice, ...] = Field(min_length=1)
    methods: tuple[MethodChoice, ...] = Field(min_length=1)
    data: dict[str, DataSource] = Field(default_factory=dict)
    labelled: str | None = None
    observed: str | None = None
    unbiased: str | None = None
    classifier: ExtractorChoice = Field(
        ExtractorChoice(name="attribute_cnn"), validation_alias=_also_called("classifier")
    )
    other_classifiers: tuple[ExtractorChoice, ...] = Field((), validation_alias=_also_called("other_classifiers"))
    classifier_may_guide: bool = Field(False, validation_alias=_also_called("classifier_may_guide"))
    features: tuple[ExtractorChoice, ...] = (ExtractorChoice(name="efficientnet_lite0"),)
    references: dict[str, int] = Field(default_factory=dict)
    statistics: dict[str, StatisticsChoice] = Field(default_factory=dict)
    downstream: DownstreamChoice | None = None
    metrics: tuple[str, ...] = Field(("fairness_discrepancy", "frechet"), min_length=1)
    prompts: str | None = None
    tuning: TuningChoice | None = Field(None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, value: object) -> object:
        """Refuse a key beside its short or earlier form; pydantic would name the second one unknown."""
        for key, short in SHORT_KEYS.items():
            if isinstance(value, dict) and key in value and short in value:
                raise ValueError(f"`{short}` is another name for `{key}`; keep one of them")
        return value

    @field_validator("suite")
    @classmethod
    def _not_the_store(cls, suite: str) -> str:
        if suite.lower() == "store":
            raise ValueError(f"a suite must not be called {suite!r}, the folder of all samples; choose another name")
        return suite

    @field_validator("guidance_batch")
    @classmethod
    def _at_most_n(cls, guidance_batch: int, info: ValidationInfo) -> int:
        if guidance_batch > info.data.get("n", guidance_batch):
            raise ValueError(f"guidance_batch must be at most n = {info.data['n']}, got {guidance_batch}")
        return guidance_batch

    @field_validator("methods")
    @classmethod
    def _titles_differ(cls, methods: tuple[MethodChoice, ...]) -> tuple[MethodChoice, ...]:
        twice = repeated([m.title for m in methods])
        if twice is not None:
            raise ValueError(f"two methods are called {twice!r}; give one a `label`")
        return methods

    @field_validator("features", "other_classifiers")
    @classmethod
    def _extractors_differ(
        cls, choices: tuple[ExtractorChoice, ...], info: ValidationInfo
    ) -> tuple[ExtractorChoice, ...]:
        titles = [choice.spec.title for choice in choices]
        if info.field_name == "other_classifiers" and "classifier" in info.data:
            titles.append(info.data["classifier"].spec.title)
        twice = repeated(titles)
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice; name it once, or give one a `label`")
        return choices

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        twice = repeated(list(metrics))
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice; name it once")
        for name in metrics:
            check_name("evaluator", name, "Evaluator", "metric")
        return metrics

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
    def _named_apart(cls, sources: dict[str, DataSource]) -> dict[str, DataSource]:
        for name, source in sources.items():
            check_set_name(name)
            if source.label not in (None, name):
                raise ValueError(f"{name}: a set of a suite goes by the name it has there; leave `label` out")
        return {name: source.model_copy(update={"label": name}) for name, source in sources.items()}

    def source(self, name: str) -> DataSource:
        """The image set of a name: one that the suite declares, or a shipped one.

        Raises:
            ConfigError: there is none.
        """
        return self.data[name] if name in self.data else shipped(name, self.data)

    @field_validator("tuning")
    @classmethod
    def _apart_from_the_evaluation(cls, tuning: TuningChoice | None, info: ValidationInfo) -> TuningChoice | None:
        tuned = [m.title for m in info.data.get("methods", ()) if m.tuned]
        if tuning is None and tuned:
            raise ValueError(f"method {tuned[0]!r} needs it; add the budget, such as `tuning: {{trials: 20, n: 200}}`")
        if tuning is not None:
            tuning.check_beside(info.data.get("seeds", ()), info.data.get("guidance_batch", 1))
        return tuning

    @property
    def classifiers(self) -> tuple[ExtractorSpec, ...]:
        """Every classifier, the one that decides the leaderboard's order first."""
        return tuple(choice.spec for choice in (self.classifier, *self.other_classifiers))

    @field_validator("references")
    @classmethod
    def _enough(cls, references: dict[str, int]) -> dict[str, int]:
        if any(n < 2 for n in references.values()):
            raise ValueError(f"a reference set must have at least 2 images, got {references}")
        if any(n > MOST_IMAGES for n in references.values()):
            raise ValueError(f"a reference set must have at most {MOST_IMAGES} images, got {references}")
        return references

    @field_validator("statistics")
    @classmethod
    def _of_known_features(
        cls, statistics: dict[str, StatisticsChoice], info: ValidationInfo
    ) -> dict[str, StatisticsChoice]:
        if {"features", "references"} <= info.data.keys():  # else what is wrong with those is said
            check_choices(statistics, info.data["references"], [choice.spec.title for choice in info.data["features"]])
        return statistics


class RecordedSuite(BaseModel):
    """The suite in the run.json of a finished run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    suite: Suite


def repeated(texts: list[str]) -> str | None:
    """Return the first text that stands twice in a list; None where all differ."""
    return next((name for name, times in Counter(texts).items() if times > 1), None)


def list_suites() -> dict[str, str]:
    """Names of the shipped suites, with the first line of each file's comment."""
    return {p.stem: p.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for p in sorted(HERE.glob("*.yaml"))}


def read_suite(name: str) -> Suite:
    """Return a suite: a shipped one by its name, any by its YAML file, or that of a finished run by its run.json.

    Raises:
        UnknownName: no shipped suite of this name.
        ConfigError: the file cannot be read or is not valid; file, line, key and what was expected are named.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name), Suite)
    if name.endswith(".json"):
        return read_yaml(Path(name), RecordedSuite).suite
    if name not in list_suites():
        raise UnknownName("suite", name, [*list_suites(), "FILE.yaml"])
    return read_yaml(HERE / f"{name}.yaml", Suite)


def suite_of(keys: Mapping[str, object]) -> Suite:
    """Return a suite, given what its file would hold.

    Raises:
        ConfigError: a key or value is not valid.
    """
    try:
        return Suite.model_validate(dict(keys))
    except ValidationError as error:
        raise ConfigError(describe(error, Suite, "the suite")) from error
