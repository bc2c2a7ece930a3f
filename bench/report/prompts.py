"""What a run with prompts has beside its tables: prompts.csv, one row a cell and prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.plan import Context, Work


def prompt_rows(work: Work, context: Context) -> Iterator[dict[str, Any]]:
    """The prompts of a cell: their texts, and everything of them that decides their samples."""
    for part, prompt in zip(work.prompted, context.prompts, strict=True):
        yield {
            "prompt": part.prompt,
            "text": part.text,
            "n": part.n,
            "model_sha256": prompt.model_digest,
            "sample_key": part.sample_key,
        }
