"""The resources of one process: models, image sets, extractors and evaluators, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy.typing as npt
import torch

from bench.config.build import build_extractor
from bench.config.data_source import ImageSetSpec
from bench.core.errors import ConfigError
from bench.core.plugins import load
from bench.core.specs import ExtractorSpec, ModelSpec
from bench.data import load_data
from bench.engine.reference_statistics import StatisticsFile, read_unchanged
from bench.models import load_model
from bench.protocols.counting import Counted
from bench.protocols.images import LabelledImages
from bench.storage.store import Rows, Store

if TYPE_CHECKING:
    from bench.core.gaussian import Gaussian
    from bench.protocols.evaluator import Evaluator
    from bench.protocols.method import Guided

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
BLOCK = 500  # reference images that an extractor sees in one job


class Recent(Generic[K, V]):
    """Values by key: the `size` that were last added."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made now where it is not here."""
        if key not in self._values:
            value = make()
            while len(self._values) >= self._size:
                self._values.pop(next(iter(self._values)))
            self._values[key] = value
        else:
            self._values[key] = self._values.pop(key)  # used last
        return self._values[key]

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()


class Resources:
    """Models, images and extractors that a process has loaded; driver and workers hand theirs to every job.

    Memory is bounded: two models, eight image sets, eight extractors, four evaluators and eight guided denoisers.
    """

    def __init__(self) -> None:
        self._models: Recent[tuple[ModelSpec, str], Counted] = Recent(2)
        self._images: Recent[ImageSetSpec, LabelledImages] = Recent(8)
        self._extractors: Recent[ExtractorSpec, Any] = Recent(8)
        self._evaluators: Recent[str, Evaluator] = Recent(4)
        self._gives_features: Recent[tuple[ExtractorSpec, int], bool] = Recent(8)
        self._reference_features: Recent[tuple[Path, ExtractorSpec, str, int], Rows] = Recent(16)
        self._statistics: Recent[StatisticsFile, Gaussian] = Recent(8)
        self._built: Recent[str, tuple[Counted, Guided]] = Recent(8)

    def model(self, spec: ModelSpec, device: str) -> Counted:
        """Return a model on a device, with a tally of what it computes."""
        return self._models.get((spec, device), lambda: Counted(load_model(spec.name, device, dict(spec.fields))))

    def images(self, spec: ImageSetSpec) -> LabelledImages:
        """Return an image set."""
        return self._images.get(spec, lambda: load_data(spec.source, spec.n, spec.size))

    def forget_images(self) -> None:
        """Read image sets anew from now on: a run that begins looks at the files as they are."""
        self._images.clear()

    def extractor(self, spec: ExtractorSpec) -> Any:
        """Return an extractor; its protocol depends on what it gives."""
        return self._extractors.get(spec, lambda: build_extractor(spec))

    def guide(self, name: str) -> Any:
        """Return the classifier of a name that a method guides with, with the defaults of its fields."""
        return self.extractor(ExtractorSpec.plain(name))

    def evaluator(self, name: str) -> Evaluator:
        """Return the evaluator of a name; it remembers what it computed of a reference."""

        def make() -> Evaluator:
            evaluator: Evaluator = load("evaluator", name, "Evaluator")()
            return evaluator

        return self._evaluators.get(name, make)

    def gives_features(self, spec: ExtractorSpec, size: int) -> bool:
        """Return whether an extractor gives features of images with this side: references are compared by those."""

        def look() -> bool:
            return "features" in self.extractor(spec).extract(torch.zeros(1, 3, size, size, dtype=torch.uint8))

        return self._gives_features.get((spec, size), look)

    def reference_features(self, store: Store, spec: ExtractorSpec, digest: str, n: int) -> Rows:
        """Return the features of a reference set of n images: the same object on every call.

        An evaluator that remembers statistics of a reference knows it again by that.
        """

        def gather() -> Rows:
            extractor = self.extractor(spec).digest
            sources = [reference_source(store, digest, *block) for block in reference_blocks(n)]
            return Rows([stored(store, store.features(spec.name, extractor, source))["features"] for source in sources])

        return self._reference_features.get((store.root, spec, digest, n), gather)

    def statistics(self, file: StatisticsFile) -> Gaussian:
        """Return the fit of a statistics file: the same object on every call, whose factor is computed once."""
        return self._statistics.get(file, lambda: read_unchanged(file))

    def built(self, sample_key: str, build: Callable[[], tuple[Counted, Guided]]) -> tuple[Counted, Guided]:
        """Return the guided denoiser of a cell with the model that it runs, built now where it is not here."""
        return self._built.get(sample_key, build)


def stored(store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an entry that the store must have by now.

    Raises:
        ConfigError: it has not.
    """
    arrays = store.read(folder)
    if arrays is None:
        raise ConfigError(f"{folder} was removed or damaged while the run went on; run the same command again")
    return arrays


def reference_blocks(n: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the blocks that a reference set of n images is extracted in."""
    return [(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def reference_source(store: Store, digest: str, start: int, stop: int) -> Path:
    """Return the folder by whose name the store has what extractors see of a block of a reference set."""
    return store.root / "references" / digest[:24] / f"{start:06d}-{stop - start}"
