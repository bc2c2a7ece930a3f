"""Declarations of data sets in YAML: one form for every format, in suites and in recipes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.config.limits import MOST_IMAGES
from bench.config.shipped_sets import SETS
from bench.config.target import Target
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import names
from bench.core.yaml_models import Strict


class AttributeChoice(Strict):
    """An attribute, and how a column of the data set gives it.

    Attributes:
        name: what the bench calls it.
        column: what the data set calls it; the same unless given.
        classes: its classes in label order, which must cover every value: names, or names with the values that each
            stands for. The format's own, else the sorted values found, unless given.
        edges: for a column of numbers: class 0 is below the first edge, class k from edge k - 1 to below edge k.
    """

    name: str = Field(min_length=1)
    column: str
    classes: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    edges: tuple[float, ...] | None = None

    @field_validator("classes", mode="before")
    @classmethod
    def _as_text(cls, classes: Any) -> Any:
        """Whole numbers as the text that a label file has."""
        if isinstance(classes, dict):
            return {_text(name): _texts(group) for name, group in classes.items()}
        return _texts(classes)

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: Any) -> Any:
        if classes is not None and (len(set(classes)) < len(classes) or len(classes) < 2):
            raise ValueError(f"classes must be two or more different names, got {list(classes)}")
        if isinstance(classes, dict):
            values = [value for group in classes.values() for value in group]
            if len(set(values)) < len(values):
                raise ValueError(f"a value must belong to one class, got {classes}")
        return classes

    @field_validator("edges")
    @classmethod
    def _ascend(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges is not None and (not edges or any(a >= b for a, b in itertools.pairwise(edges))):
            raise ValueError(f"edges must be one or more ascending numbers, got {list(edges)}")
        return edges

    @model_validator(mode="after")
    def _edges_name_their_classes(self) -> AttributeChoice:
        if self.edges is None or self.classes is None:
            return self
        if isinstance(self.classes, dict) or len(self.classes) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} classes; name as many, in a list")
        return self


class Subsample(Strict):
    """Exact quotas over the joint of some attributes: a target distribution, or an exponential long tail.

    Attributes:
        over: the attributes; all of the set's unless given.
        target: "uniform", one share per class of their joint, the last attribute varying fastest, or the shares by the
            classes' names, as in a task.
        long_tail: factor f in (0, 1]: class k of K gets floor(largest * f^(k / (K - 1))) images, as in LDAM (Cao et
            al. 2019, arXiv 1906.07413), so that the last class has f times the first one's.
        largest: images of the first class of a long tail; unless given, all images divided by K.
    """

    over: tuple[str, ...] = ()
    target: Target | None = None
    long_tail: float | None = Field(None, gt=0, le=1)
    largest: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Subsample:
        if (self.target is None) == (self.long_tail is None):
            raise ValueError("subsample must have either `target` or `long_tail`; give one of them")
        if self.largest is not None and self.long_tail is None:
            raise ValueError("`largest` belongs to `long_tail`; with `target`, give the set's `n`")
        return self


class DataSource(Strict):
    """A shipped set by its name alone, or files on disk: their format, where they lie, and what to take of them.

    Attributes:
        name: a shipped set, or a format of `run_bench.py list data`.
        label: what the tables call the set; its name unless given.
        root: the folder or file; for the format `hub`, the id.
        attributes: a list of columns, or a mapping of attributes to their classes or to an `AttributeChoice`; none for
            images without labels, which serve as a reference alone.
        fields: of the format itself (`with` in the file), such as the split.
        n: how many images, all unless given.
        size: side in pixels; in a suite, the model's.
        crop: side of the centre square that is cut out before resizing; the shorter side of an image unless given.
        resample: the filter of resizing, with its support scaled when it shrinks, as Pillow does.
        enlarge: whether an image may be smaller than `size`.
        max_pixels: larger images are not decoded.
        tolerate: how many files may be unusable; each is named either way.
        seed: of the order of the images, of which the first n are taken, and of the subsample.
        subsample: quotas.
    """

    name: str
    label: str | None = None
    root: str | None = Field(None, min_length=1)
    attributes: tuple[AttributeChoice, ...] = ()
    fields: dict[str, Any] = Field(default_factory=dict, alias="with")
    n: int | None = Field(None, ge=1, le=MOST_IMAGES)
    size: int | None = Field(None, ge=8, le=1024)
    crop: int | None = Field(None, ge=8)
    resample: Literal["bicubic", "lanczos", "bilinear", "box"] = "bicubic"
    enlarge: bool = False
    max_pixels: int = Field(64_000_000, ge=1, le=89_000_000)  # Pillow itself warns above 89 million
    tolerate: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    subsample: Subsample | None = None

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def title(self) -> str:
        """Return the set's name in tables and errors."""
        return self.label or self.name

    @field_validator("attributes", mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        """A list of columns, or a mapping, as a list of `AttributeChoice`."""
        if isinstance(value, list | tuple):
            return [{"name": one, "column": one} if isinstance(one, str) else one for one in value]
        if isinstance(value, dict):
            return [_choice(name, how) for name, how in value.items()]
        return value

    @field_validator("attributes")
    @classmethod
    def _names_differ(cls, attributes: tuple[AttributeChoice, ...]) -> tuple[AttributeChoice, ...]:
        names_ = [a.name for a in attributes]
        if len(set(names_)) < len(names_):
            raise ValueError(f"the attributes must have different names, got {names_}")
        if len(names_) > 8:
            raise ValueError(f"a set can have at most 8 attributes, got {len(names_)}; name those that are used")
        return attributes

    @model_validator(mode="after")
    def _whole(self) -> DataSource:
        if self.name in SETS:
            keys = {"name", "label", "n", "size"}
            fields = type(self).model_fields
            extra = sorted(
                key
                for key in self.model_fields_set - keys
                if getattr(self, key) != fields[key].get_default(call_default_factory=True)
            )
            if extra:
                raise ValueError(f"{self.name} is a shipped set, without {', '.join(extra)}; leave that out")
        elif self.name not in names("data format"):
            raise ValueError(str(UnknownName("data set", self.name, [*SETS, *names("data format")])))
        elif self.root is None:
            raise ValueError(f"{self.name} is a format of files; give its `root`")
        elif self.subsample is not None and not self.attributes:
            raise ValueError("subsample needs the set's `attributes`; give them, or leave it out")
        elif self.subsample is not None and not set(self.subsample.over) <= {a.name for a in self.attributes}:
            raise ValueError(
                f"subsample.over must name attributes of the set ({', '.join(a.name for a in self.attributes)}), got "
                f"{', '.join(self.subsample.over)}"
            )
        return self


@dataclass(frozen=True, slots=True)
class ImageSetSpec:
    """An image set as a run uses it.

    Attributes:
        source: the declaration.
        n: how many images; None takes the set's own number.
        size: side in pixels.
    """

    source: DataSource
    n: int | None
    size: int


def shipped(name: str, declared: Collection[str] = ()) -> DataSource:
    """The shipped set of a name.

    Args:
        name: as `bench.data.list_data` has it.
        declared: the names of other sets that the user may have meant.

    Raises:
        UnknownName: no shipped set of this name.
        ConfigError: it is the name of a format, which says nothing of where the files lie.
    """
    if name in SETS:
        return DataSource.model_validate({"name": name})
    if name in names("data format"):
        raise ConfigError(
            f"{name} is a format of files, not a set; declare one, such as data: {{mine: {{name: {name}, root: DIR, "
            "attributes: [...]}}, and use its name"
        )
    raise UnknownName("data set", name, [*SETS, *declared])


def check_set_name(name: str) -> None:
    """Refuse a name for a declared set that a shipped one has, or that cannot stand in a file's name.

    Raises:
        ValueError: with the reason.
    """
    if name in SETS:
        raise ValueError(f"{name!r} is a shipped set; give yours another name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"the name of a set must be of letters, digits, '.', '_' and '-', got {name!r}")


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _texts(values: Any) -> Any:
    return [_text(value) for value in values] if isinstance(values, list | tuple) else values


def _choice(name: Any, how: Any) -> Any:
    if isinstance(how, list | tuple):
        return {"name": name, "column": name, "classes": how}
    if isinstance(how, dict):
        return {"column": name, **how, "name": name}
    return {"name": name, "column": name} if how is None else how
