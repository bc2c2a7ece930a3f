"""The samples of a finished run in the store beside it: images, and what the classifier saw in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.design import BY_BATCH, BY_CLASS, Design
from bench.core.errors import ConfigError
from bench.core.probability_rows import predicted_classes
from bench.core.schema import PROMPTS
from bench.results.tables import read_records
from bench.storage.files import read_arrays
from bench.storage.store import Store

COLUMNS = ("attributes", "target", "method", "seed", "prompt", "text", "n", "model_sha256", "sample_key")

Floats = npt.NDArray[np.float64]


class CellRow(Protocol):
    """The columns of a row of results.csv that say where the samples of its cell are."""

    @property
    def attributes(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def n_asked(self) -> int: ...  # noqa: D102
    @property
    def guidance_batch(self) -> int: ...  # noqa: D102
    @property
    def design(self) -> str: ...  # noqa: D102
    @property
    def sample_key(self) -> str: ...  # noqa: D102
    @property
    def classifier_sha256(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Part:
    """Samples of a cell that have a key of their own: those of one prompt, or all of a cell without prompts.

    Attributes:
        sample_key: their key in the store.
        n: number of them.
        prompt: the prompt's name; empty in a cell without prompts.
        text: the prompt's text.
        model_sha256: digest of the model with that text.
    """

    sample_key: str
    n: int
    prompt: str = ""
    text: str = ""
    model_sha256: str = ""

    def folders(self, store: Store, batch: int) -> list[Path]:
        """Return the folder of every shard, given the size of a guidance batch."""
        return [store.shard(self.sample_key, i, size) for i, size in enumerate(self.batches(batch))]

    def batches(self, batch: int) -> list[int]:
        """Return the number of samples of every shard, given the size of a guidance batch."""
        return [min(batch, self.n - start) for start in range(0, self.n, batch)]


@dataclass(frozen=True)
class StoredSamples:
    """The samples of a run's cells.

    Attributes:
        file: the run's results.csv.
        has_prompts: whether the samples are of several prompts.
    """

    file: Path
    has_prompts: bool

    @property
    def root(self) -> Path:
        """The store's folder, which is there only where the run was made."""
        return self.file.resolve().parent.parent / "store"

    def parts(self, row: CellRow) -> Sequence[Part]:
        """Return the parts of a cell in the order of its samples.

        Raises:
            ConfigError: the run has prompts, and its prompts.csv is missing, damaged, or lacks those of the cell.
        """
        if not self.has_prompts:
            return [Part(row.sample_key, int(row.n_asked))]
        path = self.file.parent / PROMPTS
        cell = (row.attributes, row.target, row.method, int(row.seed))
        cells = _prompt_parts(path, path.stat().st_mtime_ns if path.is_file() else 0)
        if cell not in cells:
            raise ConfigError(
                f"{path} has no prompts of {row.method} on {row.attributes} with seed {row.seed}, which {self.file} "
                "has; restore the file that the run wrote"
            )
        return cells[cell]

    def shards(self, row: CellRow) -> list[Path]:
        """Return the store's folder of every shard of a cell, in the order of its samples.

        Raises:
            ConfigError: as `parts`.
        """
        store, batch = Store(self.root), int(row.guidance_batch)
        return [folder for prompt_samples in self.parts(row) for folder in prompt_samples.folders(store, batch)]

    def images(self, row: CellRow, n: int) -> npt.NDArray[np.uint8] | None:
        """Return the samples of a cell that `places` chooses, uint8 [at most n, 3, h, w].

        None where the store lacks some of them or they are damaged.
        """
        store, batch = Store(self.root), int(row.guidance_batch)
        blocks = list[npt.NDArray[np.uint8]]()
        for prompt_samples, count in self._shown(row, n):
            for folder, start in zip(prompt_samples.folders(store, batch), range(0, count, batch), strict=False):
                # Read without the store's own mending: a report removes nothing.
                arrays = read_arrays(folder)
                if arrays is None or "images" not in arrays:
                    return None
                blocks.append(arrays["images"][: count - start])
        return np.concatenate(blocks)

    def labels(self, row: CellRow, n: int) -> npt.NDArray[np.int64] | None:
        """Return the predicted class of the task's joint for the samples of `images`, int64 [at most n].

        -1 where the classifier, which is the row's, abstained. None where the store lacks some of its answers or they
        are damaged.

        Raises:
            ConfigError: a row is neither probabilities nor NaN throughout; or as `parts`.
        """
        answers = self.answers(row)
        if answers is None:
            return None
        chosen = [p[self.places(row, n)] for p in answers.values()]
        attributes = tuple(Attribute(name, tuple(map(str, range(p.shape[1])))) for name, p in answers.items())
        return predicted_classes(chosen, attributes)

    def places(self, row: CellRow, n: int) -> npt.NDArray[np.int64]:
        """Return the samples that stand for a cell, int64 [at most n]: the first ones, spread equally over prompts."""
        begins = np.cumsum([0, *(prompt_samples.n for prompt_samples in self.parts(row))])
        shown = self._shown(row, n)
        return np.concatenate([begin + np.arange(count) for begin, (_, count) in zip(begins, shown, strict=False)])

    def _shown(self, row: CellRow, n: int) -> list[tuple[Part, int]]:
        """Return every part and how many of the n samples are of it: equally many, the first parts one more."""
        parts = self.parts(row)
        share, rest_of_n = divmod(n, len(parts))
        return [
            (prompt_samples, min(prompt_samples.n, share + (i < rest_of_n))) for i, prompt_samples in enumerate(parts)
        ]

    def answers(self, row: CellRow) -> dict[str, Floats] | None:
        """Return the classifier's probabilities for a cell: attribute to float64 [n, K], row i of sample i.

        Rows are NaN for samples on which the classifier abstained. None where the store lacks some of them or they are
        damaged.
        """
        stored = _features(self.root, row.classifier_sha256, tuple(self.shards(row)))
        names = row.attributes.split("+")
        return {name: stored[name] for name in names} if stored is not None and stored.keys() >= set(names) else None

    def design(self, row: CellRow) -> Design | None:
        """Return how the samples of a cell depend on one another; None where the store lacks the assigned classes."""
        if row.design == BY_CLASS:
            return _by_class(tuple(self.shards(row)))
        batches = [size for part in self.parts(row) for size in part.batches(int(row.guidance_batch))]
        n = sum(batches)
        if row.design == BY_BATCH:
            return Design(np.zeros(n, dtype=np.int64), np.repeat(np.arange(len(batches)), batches))
        return Design.independent(n)


@lru_cache(maxsize=8)
def _prompt_parts(path: Path, _modified_ns: int) -> dict[tuple[str, str, str, int], list[Part]]:
    cells: dict[tuple[str, str, str, int], list[Part]] = {}
    for row in read_records(path, COLUMNS):
        cell = (row["attributes"], row["target"], row["method"], row.whole("seed"))
        prompt_samples = Part(row["sample_key"], row.whole("n"), row["prompt"], row["text"], row["model_sha256"])
        cells.setdefault(cell, []).append(prompt_samples)
    return cells


@lru_cache(maxsize=512)
def _by_class(folders: tuple[Path, ...]) -> Design | None:
    # Read without the store's own mending: a report removes nothing. The checksums are those of the images too.
    stored = [read_arrays(folder, verify=False) for folder in folders]
    assigned = [arrays["assigned_class"] for arrays in stored if arrays is not None and "assigned_class" in arrays]
    return Design(np.concatenate(assigned)) if len(assigned) == len(folders) else None


@lru_cache(maxsize=512)  # a cell is read again for every metric of it
def _features(root: Path, digest: str, folders: tuple[Path, ...]) -> dict[str, Floats] | None:
    # The table has a classifier's title, the store the extractor's name; both have the hash of its weights.
    names = [path.name.rpartition("-")[0] for path in (root / "features").glob(f"*-{digest[:16]}")]
    if not names:
        return None
    store, blocks = Store(root), []
    for folder in folders:
        # Read without the store's own mending: a report removes nothing.
        arrays = read_arrays(store.features(names[0], digest, folder))
        if arrays is None:
            return None
        blocks.append(arrays)
    return {name: np.concatenate([block[name] for block in blocks]).astype(np.float64) for name in blocks[0]}
