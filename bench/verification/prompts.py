"""prompts.csv of a run with prompts, held against the suite's prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from bench.engine.tables import prompt_rows
from bench.results.run import Run
from bench.results.stored import Part
from bench.verification.check import Check, classified
from bench.verification.recompute import Compared


def with_file_keys(run: Run, cells: Sequence[Compared]) -> list[Compared]:
    """Return the cells with the keys that prompts.csv has for their prompts, under which the store is then read.

    Raises:
        ConfigError: prompts.csv is missing or damaged.
    """
    keyed = []
    for cell in cells:
        keys = [prompt_job.sample_key for prompt_job in _parts(run, cell)]
        prompted = tuple(
            dataclasses.replace(job, sample_key=key)
            for job, key in zip(cell.job.prompt_jobs, keys, strict=False)  # `check_prompts` reports another number
        )
        keyed.append(dataclasses.replace(cell, job=dataclasses.replace(cell.job, prompt_jobs=prompted)))
    return keyed


def check_prompts(run: Run, cells: Sequence[Compared]) -> Check:
    """Check that prompts.csv has the suite's prompts: names, texts, numbers of samples, and model digests."""
    wrong = [clause for cell in cells for clause in _differences(run, cell)]
    count = len(cells[0].context.prompts) if cells else 0
    return classified("prompts", wrong, f"{count} prompts, those of the suite's set")


def _differences(run: Run, cell: Compared) -> Iterator[str]:
    parts = _parts(run, cell)
    if len(parts) != len(cell.context.prompts):
        yield f"{cell.name} has {len(parts)} prompts, the suite {len(cell.context.prompts)}"
        return
    for prompt_job, expected in zip(parts, prompt_rows(cell.job), strict=True):
        for column in ("prompt", "text", "n", "model_sha256"):
            if getattr(prompt_job, column) != expected[column]:
                value = str(getattr(prompt_job, column))[:40]
                yield f"{column} of prompt {expected['prompt']} of {cell.name} is {value}"


def _parts(run: Run, cell: Compared) -> Sequence[Part]:
    row = cell.rows[0]
    return run.stored.parts(run.row_of_cell((row["attributes"], row["target"], row["method"], row.whole("seed"))))
