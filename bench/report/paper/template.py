"""Templates of paper tables: small YAML files with the columns and options of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bench.core.errors import UnknownName
from bench.core.yaml_models import Strict, read_yaml

HERE = Path(__file__).parent / "templates"


class ColumnChoice(Strict):
    """One column, or one per match where `metric` or `scope` hold the wildcards * and ?.

    Attributes:
        heading: above the column, stacked where it has several lines; {metric} and {scope} are replaced by the match.
        metric: as in results.csv, e.g. "fd_l2_hard" or "frechet_*".
        scope: as in results.csv; "task" is the joint attribute of each task.
        cost: a column of costs.csv, in place of a metric; lower is better.
        optional: where the run lacks the column, leave it out with a footnote instead of raising an error.
        claimed: whether the values of --claimed are shown beside it.
    """

    heading: str = Field(min_length=1)
    metric: str | None = None
    scope: str = "task"
    cost: str | None = None
    optional: bool = False
    claimed: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> ColumnChoice:
        if (self.metric is None) == (self.cost is None):
            raise ValueError(f"column {self.heading!r} must have either `metric` or `cost`; give one of them")
        return self


class Template(Strict):
    """A template file.

    Attributes:
        template: its name, also the LaTeX label.
        caption: the table's caption.
        across: "task": a group of columns per task; the name of a method's field: a group of columns per value of the
            field; None: a block of rows per task.
        interval: "brackets": value [low, high]; "plus_minus": the value and the larger distance to an end.
        wide: whether the table spans both columns of a two-column paper.
        columns: in order.
    """

    template: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    caption: str
    across: str | None = None
    interval: Literal["brackets", "plus_minus"]
    wide: bool = False
    columns: tuple[ColumnChoice, ...] = Field(min_length=1)

    @field_validator("columns")
    @classmethod
    def _one_is_claimed(cls, columns: tuple[ColumnChoice, ...]) -> tuple[ColumnChoice, ...]:
        if sum(c.claimed for c in columns) > 1:
            raise ValueError(
                "only one column may have `claimed: true`, since a claim has one value per method and task"
            )
        return columns


def list_templates() -> dict[str, str]:
    """Return the names of the shipped templates, each with the first line of its file's comment."""
    return {p.stem: p.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for p in sorted(HERE.glob("*.yaml"))}


def read_template(name: str) -> Template:
    """Read a shipped template by its name, or any template by its file.

    Raises:
        UnknownName: no shipped template has this name.
        ConfigError: the file cannot be read or is not valid; file, line, key and what was expected are named.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name), Template)
    if name not in list_templates():
        raise UnknownName("template", name, [*list_templates(), "FILE.yaml"])
    return read_yaml(HERE / f"{name}.yaml", Template)
