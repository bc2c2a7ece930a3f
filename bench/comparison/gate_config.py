"""Gates: how much worse a metric may become before a run is refused. Read from YAML."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from bench.core.errors import ConfigError, UnknownName
from bench.core.yaml_models import Strict, read_yaml
from bench.protocols.evaluator import Better
from bench.results.metric_info import COUNTED, metric

Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Gate(Strict):
    """The size of a change of one metric that is let through, in one of two forms.

    Attributes:
        absolute: in the metric's unit.
        relative: as a part of the baseline's value, such as 0.05.
        scope: which scopes it is for: a name, or a pattern.
        classifier: which of the suite's other classifiers it is for: a name, or a pattern; "" is the first classifier,
            whose numbers order the methods, alone.
        better: the better direction of a metric that the bench does not know.
    """

    absolute: Size | None = None
    relative: Size | None = None
    scope: str = "*"
    classifier: str = Field(
        default="", validation_alias=AliasChoices("classifier", "judge")
    )  # "judge" is its earlier name
    better: Better | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Gate:
        if (self.absolute is None) == (self.relative is None):
            raise ValueError("a gate must have either `absolute` or `relative`, and not both")
        return self

    def size(self, baseline: float) -> float:
        """In the metric's unit."""
        return self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(baseline)


DEFAULT = {
    "fd_l2_hard": Gate(absolute=0.05),
    "fd_l2_prompt_mean": Gate(absolute=0.05),
    "frechet_*": Gate(relative=0.05),
    "epsilon_*": Gate(absolute=0.05),
    **{name: Gate(relative=0.0) for name in COUNTED},
}


class Latency(Strict):
    """The gate of seconds per image, each method's as a ratio to vanilla's in the same run.

    Attributes:
        relative: how much larger the ratio may become, as a part of the baseline's.
    """

    relative: Size


class Gates(Strict):
    """The gated metrics, and how strict their gates are.

    Attributes:
        alpha: how often a table whose true values are all unchanged may be called worse.
        correction: over the table's tests: "holm" holds alpha for the whole table; "benjamini_hochberg" finds more in
            large tables and lets that part of its alarms be false.
        metrics: name or pattern to gate; the first that fits counts, and what none fits is not gated.
        latency: of seconds; not gated unless given, since other work on either machine moves them.
    """

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    correction: Literal["holm", "benjamini_hochberg"] = "holm"
    metrics: Annotated[dict[str, Gate], Field(min_length=1)] = Field(default_factory=lambda: dict(DEFAULT))
    latency: Latency | None = None

    def gate(self, name: str, scope: str, classifier: str = "") -> Gate | None:
        """The gate of a metric over a scope, by the first classifier ("") or another one."""
        fits = (
            g
            for pattern, g in self.metrics.items()
            if fnmatchcase(name, pattern) and fnmatchcase(scope, g.scope) and fnmatchcase(classifier, g.classifier)
        )
        return next(fits, None)

    def better(self, name: str, gate: Gate) -> Better | None:
        """The better direction of a gated metric: the gate's, else what the bench knows."""
        return gate.better or metric(name).better


def read_gates(path: Path | None, gateable: dict[str, set[tuple[str, str]]]) -> Gates:
    """Return the gates of a file, or the default ones.

    Args:
        path: a YAML file, or None.
        gateable: the baseline's metrics, each with its scopes and classifiers, "" for the first.

    Raises:
        ConfigError: the file cannot be read or is not valid, or gates a metric whose better direction is not known.
        UnknownName: a gate fits no metric, scope or classifier of the baseline, so that a misspelt one would guard
            nothing.
    """
    gates = read_yaml(path, Gates) if path is not None else Gates()
    for pattern, gate in gates.metrics.items() if path is not None and "metrics" in gates.model_fields_set else ():
        fits = [name for name in gateable if fnmatchcase(name, pattern)]
        if not fits:
            raise UnknownName(f"metric in {path}", pattern, gateable)
        places = set[tuple[str, str]]().union(*(gateable[name] for name in fits))
        if not any(fnmatchcase(scope, gate.scope) for scope, _ in places):
            raise UnknownName(f"scope of {pattern} in {path}", gate.scope, {scope for scope, _ in places})
        if not any(fnmatchcase(classifier, gate.classifier) for _, classifier in places):
            others = {classifier for _, classifier in places if classifier} or {"none but the first"}
            raise UnknownName(f"other classifier of {pattern} in {path}", gate.classifier, others)
        blind = next((name for name in fits if gates.better(name, gate) is None), None)
        if blind is not None:
            raise ConfigError(
                f"{path}: {pattern}: it is not known which direction of {blind} is better; add `better: lower` or "
                "`better: higher`"
            )
    return gates
