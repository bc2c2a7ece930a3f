"""prompts.csv of a run with prompts: whether it is that of the suite, and the cells with the keys that it names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

from bench.engine.tables import prompt_rows
from bench.results.read import APOSTROPHE
from bench.results.run import Run
from bench.results.shards import Part, parts
from bench.verification.check import Check, classified
from bench.verification.recompute import Compared


def with_file_keys(run: Run, cells: Sequence[Compared]) -> list[Compared]:
    """The cells with the keys that prompts.csv has for their prompts, under which the store is then read.

    Raises:
        ConfigError: prompts.csv is missing or damaged.
    """
    found = []
    for cell in cells:
        keys = [part.sample_key for part in _parts(run, cell)]
        prompted = tuple(
            dataclasses.replace(part, sample_key=key)
            for part, key in zip(cell.job.prompt_jobs, keys, strict=False)  # another number of prompts is said below
        )
        found.append(dataclasses.replace(cell, job=dataclasses.replace(cell.job, prompt_jobs=prompted)))
    return found


def check_prompts(run: Run, cells: Sequence[Compared]) -> Check:
    """Whether prompts.csv has the suite's prompts: names, texts, numbers of samples, and the models asked in them."""
    wrong = [clause for cell in cells for clause in _differences(run, cell)]
    count = len(cells[0].context.prompts) if cells else 0
    return classified("prompts", wrong, f"{count} prompts, those of the suite's set")


def _differences(run: Run, cell: Compared) -> Iterator[str]:
    theirs = _parts(run, cell)
    if len(theirs) != len(cell.context.prompts):
        yield f"{cell.name} has {len(theirs)} prompts, the suite {len(cell.context.prompts)}"
        return
    for part, own in zip(theirs, prompt_rows(cell.job), strict=True):
        for column in ("prompt", "text", "n", "model_sha256"):
            if getattr(part, column) != own[column]:
                yield f"{column} of prompt {own['prompt']} of {cell.name} is {str(getattr(part, column))[:40]}"


def _parts(run: Run, cell: Compared) -> Sequence[Part]:
    return parts(run, SimpleNamespace(**{name: APOSTROPHE.sub("", text) for name, text in cell.rows[0].items()}))
