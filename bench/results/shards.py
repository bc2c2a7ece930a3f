"""Where a cell's samples are in the store beside its run: its own shards, or those of its prompts one after another."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError
from bench.core.schema import PROMPTS
from bench.results.read import APOSTROPHE
from bench.results.run import Run
from bench.storage.store import Store

COLUMNS = ("attributes", "target", "method", "seed", "prompt", "text", "n", "model_sha256", "sample_key")


@dataclass(frozen=True)
class Part:
    """What was sampled by itself.

    Attributes:
        sample_key: of its samples.
        n: number of them.
        prompt: its prompt's name; empty of a cell without prompts.
        text: what the prompt says.
        model_sha256: of the model, asked in its words.
    """

    sample_key: str
    n: int
    prompt: str = ""
    text: str = ""
    model_sha256: str = ""

    def folders(self, store: Store, batch: int) -> list[Path]:
        """The folder of every shard, of guidance batches of this size."""
        starts = enumerate(range(0, self.n, batch))
        return [store.shard(self.sample_key, i, min(batch, self.n - start)) for i, start in starts]


def parts(run: Run, row: Any) -> Sequence[Part]:
    """The parts of the cell that a row of results.csv is of, in the order of its samples.

    Raises:
        ConfigError: the run has prompts, and its prompts.csv is missing, damaged, or lacks the cell's.
    """
    if not run.has_prompts:
        return [Part(row.sample_key, int(row.n_asked))]
    file = run.file.parent / PROMPTS
    found = _read(file, _stamp(file)).get((row.attributes, row.target, row.method, str(row.seed)))
    if found is None:
        raise ConfigError(
            f"{file} has no prompts of {row.method} on {row.attributes} with seed {row.seed}, which {run.file} has; "
            "restore the file that the run wrote"
        )
    return found


def shards(run: Run, row: Any) -> list[Path]:
    """The store's folder of every shard of a row's cell, in the order of its samples.

    Raises:
        ConfigError: as `parts`.
    """
    store, batch = Store(run.store), int(row.guidance_batch)
    return [folder for part in parts(run, row) for folder in part.folders(store, batch)]


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=8)
def _read(file: Path, _stamp: int) -> dict[tuple[str, ...], list[Part]]:
    found: dict[tuple[str, ...], list[Part]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as f:
            reader = csv.DictReader(f, strict=True)
            for row in reader:
                texts = {name: APOSTROPHE.sub("", row[name]) for name in COLUMNS}
                cell = (texts["attributes"], texts["target"], texts["method"], texts["seed"])
                part = Part(
                    texts["sample_key"], int(texts["n"]), *(texts[c] for c in ("prompt", "text", "model_sha256"))
                )
                found.setdefault(cell, []).append(part)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error!s:.100}; restore the file that the run wrote") from error
    return found
