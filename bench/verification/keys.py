"""The sample keys of a results file, recomputed from its rows: everything that decides the samples, hashed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from bench.config.build import build_method
from bench.core.attributes import Attribute
from bench.core.errors import BenchError
from bench.core.plugins import ROOT, package_of
from bench.core.specs import Fields, SamplerSpec
from bench.engine.cells import Cell
from bench.engine.context import RunContext
from bench.engine.keys import LEARNT_FROM, joined_key, sample_key
from bench.engine.prompts import prompt_seed
from bench.results.run import Run
from bench.results.score_row import ScoreRow
from bench.verification.check import Check, classified
from bench.verification.table import CELL, exact_target, name_of


def check_keys(run: Run, data_digests: Mapping[str, str]) -> Check:
    """Check that each cell's key follows from its row: weights, method, fields, sampler, batch, seed and task.

    Of a run with prompts, each prompt's key must follow from the cell's row and its row of prompts.csv.

    Args:
        run: the finished run.
        data_digests: as of `Context`, from the suite: the rows do not name the image sets that methods learn from.
    """
    wrong, unchecked, count = [], [], 0
    keys_of: dict[tuple[object, ...], set[str]] = {}
    columns = (run.rows[name].tolist() for name in (*CELL, "sample_key"))
    for *names, key in zip(*columns, strict=True):
        keys_of.setdefault(tuple(names), set()).add(key)
    changed = sources_changed(run.cells[0].commit)
    for row in run.cells:
        cell = (row.attributes, row.target, row.method, row.seed)
        try:
            key = _cell_key(run, row, data_digests)
        except BenchError as error:
            unchecked.append(f"{name_of(cell)}: {error}")
            continue
        if key is None:
            unchecked.append(f"{row.method} learns from images that only its suite names")
        elif key != row.sample_key and (package := package_of("method", row.method_file)) is not None:
            unchecked.append(f"method {row.method_file} is of package {package}, which may have changed")
        elif key != row.sample_key and changed:
            unchecked.append(f"made at commit {row.commit or 'unknown'}, whose methods are not those here")
        elif keys_of[cell] != {key}:
            wrong.append(f"the key of {name_of(cell)} is not that of its settings")
        else:
            count += 1
    return classified("sample keys", wrong, f"{count} keys follow from their rows", unchecked)


def _cell_key(run: Run, row: ScoreRow, data_digests: Mapping[str, str]) -> str | None:
    """Return the key of a cell; None where the file does not say all of it, "" where a prompt's key is wrong."""
    if not run.has_prompts:
        return _key(row, row.model_sha256, row.seed, data_digests)
    parts = run.stored.parts(row)
    seeds = [prompt_seed(row.seed, part.text) for part in parts]
    keys = [_key(row, part.model_sha256, seed, data_digests) for part, seed in zip(parts, seeds, strict=True)]
    if joined_key([part.model_sha256 for part in parts]) != row.model_sha256:
        return ""
    complete = [key for key in keys if key is not None]
    if len(complete) < len(parts):
        return None
    return joined_key(complete) if complete == [part.sample_key for part in parts] else ""


def _key(row: ScoreRow, model_digest: str, seed: int, data_digests: Mapping[str, str]) -> str | None:
    fields = json.loads(row.fields)
    method = build_method(row.method_file, fields)
    if any(need in method.traits.needs and need not in data_digests for need in LEARNT_FROM):
        return None
    attributes = tuple(Attribute(name, ("", "")) for name in row.attributes.split("+"))
    sampler = SamplerSpec(row.sampler, row.steps, row.eta, "bf16" if row.precision == "bf16" else "fp32", row.spacing)
    cell = Cell(row.method, row.method_file, Fields(fields), attributes, exact_target(row.target), seed)
    context = RunContext(model_digest, data_digests, _classifiers(method), ())
    return sample_key(cell, method.traits, sampler, row.guidance_batch, context)


def _classifiers(method: Any) -> dict[str, str]:
    from bench.engine.resources import Resources

    return (
        {method.classifier: Resources().guide(method.classifier).digest} if "classifier" in method.traits.needs else {}
    )


def sources_changed(commit: str) -> bool:
    """Return whether methods/ may differ from a commit's: it does, the commit had changes, or it is unknown here."""
    if not commit or commit.endswith("+"):
        return True
    try:
        diff = subprocess.run(
            ["git", "diff", "--quiet", commit, "--", "methods"], cwd=ROOT, capture_output=True, check=False
        )
    except OSError:
        return True
    return diff.returncode != 0
