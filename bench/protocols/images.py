"""The labelled image sets that data sets provide and methods, evaluators and recipes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import ConfigError


@dataclass(frozen=True)
class LabelledImages:
    """Images with the true class of each attribute.

    Attributes:
        name: the data set's public name.
        images: uint8 [n, 3, h, w], RGB; may be memory-mapped.
        labels: int64 [n, number of attributes].
        attributes: the attributes, in the order of the columns of `labels`.
        joint: float64, the declared distribution with one axis per attribute, summing to 1.
        digest: hash of everything that determines the images and labels.
        credit: the line to show beside the images; empty where none is due.
        left_out: the unusable files that were skipped, each with the reason.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    attributes: tuple[Attribute, ...]
    joint: npt.NDArray[np.float64]
    digest: str
    credit: str = ""
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def load(self) -> None:
        """Make the images now, of a set that makes them on demand; else do nothing."""

    def column(self, attributes: tuple[Attribute, ...]) -> npt.NDArray[np.int64]:
        """Return the labels int64 [n] of the joint of `attributes`.

        Raises:
            ConfigError: the set has no such attribute, or other classes of it.
        """
        index = self.columns_of(attributes)
        return joint_labels(self.labels[:, index], attributes)

    def columns_of(self, attributes: tuple[Attribute, ...]) -> list[int]:
        """Return the columns of `labels` that hold `attributes`.

        Raises:
            ConfigError: the set has no such attribute, or other classes of it.
        """
        for a in attributes:
            if a not in self.attributes:
                has = "; ".join(f"{b.name}: {', '.join(b.classes)}" for b in self.attributes) or "no labels"
                raise ConfigError(
                    f"data set {self.name} must have {a.name} with classes {', '.join(a.classes)}, got {has}; declare "
                    f"it as `{a.name}: {{column: NAME, classes: [{', '.join(a.classes)}]}}`"
                )
        return [self.attributes.index(a) for a in attributes]

    def declared(self, attributes: tuple[Attribute, ...]) -> npt.NDArray[np.float64]:
        """Return the declared distribution float64 [K] of the joint of `attributes`.

        Raises:
            ConfigError: the set has no such attribute, or other classes of it.
        """
        index = self.columns_of(attributes)
        summed_over = tuple(i for i in range(len(self.attributes)) if i not in index)
        marginal = self.joint.sum(axis=summed_over)
        order = np.argsort(
            np.argsort(index)
        )  # the axes of `marginal` are in the set's order, not in that of the argument
        return np.transpose(marginal, order).reshape(product(attributes).n_classes)


class ImagesOnDemand(LabelledImages):
    """A set whose images are made when they are first read.

    Its hash and length are available without them, so cached weights trained on it are looked up without its images.
    """

    def __init__(
        self,
        name: str,
        n: int,
        make: Callable[[], Mapping[str, npt.NDArray[Any]]],
        attributes: tuple[Attribute, ...],
        joint: npt.NDArray[np.float64],
        digest: str,
        credit: str = "",
        left_out: tuple[str, ...] = (),
    ) -> None:
        """Describe the set.

        Args:
            name: the data set's public name.
            n: number of images.
            make: returns the arrays `images` and `labels`.
            attributes: see `LabelledImages`, like the arguments below.
            joint: the declared distribution.
            digest: hash of everything that determines the images and labels.
            credit: the line to show beside the images.
            left_out: the unusable files that were skipped.
        """
        fields = {"name": name, "attributes": attributes, "joint": joint, "digest": digest, "credit": credit}
        fields["left_out"] = left_out
        self.__dict__.update(fields, _n=n, _make=make)  # frozen: attributes cannot be assigned

    @cached_property
    def _arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        return self.__dict__["_make"]()  # type: ignore[no-any-return]

    def load(self) -> None:
        """Make the images now."""
        self._arrays  # noqa: B018 -- a cached property, whose first reading makes them

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The images uint8 [n, 3, h, w], made when they are first read."""
        return self._arrays["images"]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The labels int64 [n, number of attributes], made when they are first read."""
        return self._arrays["labels"]

    def __len__(self) -> int:
        return int(self.__dict__["_n"])
