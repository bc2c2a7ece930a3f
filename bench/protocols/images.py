"""The labelled-image protocol that every data set fits."""

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
    """Images with the true value of each attribute.

    Attributes:
        name: the data set's public name.
        images: uint8 [n, 3, h, w], RGB; may be memory-mapped.
        labels: int64 [n, number of attributes].
        attributes: the attributes, in the order of the columns of `labels`.
        joint: the declared distribution, one axis an attribute, summing to 1.
        digest: hash of everything that decides the images and labels.
        credit: the line to show where the images are shown; empty where none is owed.
        left_out: the files that were tolerated as unusable, each with the reason.
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
        """Labels [n] of the joint of `attributes` (of the one attribute where there is only one)."""
        index = self.places(attributes)
        return joint_labels(self.labels[:, index], attributes)

    def places(self, attributes: tuple[Attribute, ...]) -> list[int]:
        """The columns of `labels` that hold `attributes`.

        Raises:
            ConfigError: the set has no such attribute, or other classes of it.
        """
        for a in attributes:
            if a not in self.attributes:
                has = "; ".join(f"{b.name}: {', '.join(b.classes)}" for b in self.attributes)
                raise ConfigError(
                    f"data set {self.name} must have {a.name} with classes {', '.join(a.classes)}, got {has}; declare "
                    f"it as `{a.name}: {{column: NAME, classes: [{', '.join(a.classes)}]}}`"
                )
        return [self.attributes.index(a) for a in attributes]

    def declared(self, attributes: tuple[Attribute, ...]) -> npt.NDArray[np.float64]:
        """The declared distribution [K] of the joint of `attributes`."""
        index = self.places(attributes)
        rest = tuple(i for i in range(len(self.attributes)) if i not in index)
        kept = self.joint.sum(axis=rest)
        order = np.argsort(np.argsort(index))  # the axes of `kept` stand in the set's order, not in the asked one
        return np.transpose(kept, order).reshape(product(attributes).n_classes)


class ImagesOnDemand(LabelledImages):
    """A set whose images are made when they are first looked at.

    Its hash and length are known without them, which is all that weights trained on it are found by.
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
            make: gives `images` and `labels`.
            attributes: as of `LabelledImages`.
            joint: likewise.
            digest: likewise.
            credit: likewise.
            left_out: likewise.
        """
        known = {"name": name, "attributes": attributes, "joint": joint, "digest": digest, "credit": credit}
        known["left_out"] = left_out
        self.__dict__.update(known, _n=n, _make=make)  # frozen: no attribute may be set

    @cached_property
    def _arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        return self.__dict__["_make"]()  # type: ignore[no-any-return]

    def load(self) -> None:
        """Make the images now."""
        self._arrays  # noqa: B018 -- a cached property, whose first reading makes them

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """As of `LabelledImages`."""
        return self._arrays["images"]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """As of `LabelledImages`."""
        return self._arrays["labels"]

    def __len__(self) -> int:
        return int(self.__dict__["_n"])
