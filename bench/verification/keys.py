"""The sample keys of a results file, recomputed from its rows: everything that decides the samples, hashed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from bench.config.build import build_method
from bench.core.attributes import Attribute
from bench.core.errors import BenchError
from bench.core.plugins import ROOT
from bench.core.specs import Fields, SamplerSpec
from bench.engine.cells import Cell
from bench.engine.context import RunContext
from bench.engine.keys import LEARNT_FROM, joined_key, sample_key
from bench.engine.prompts import prompt_seed
from bench.results.run import Run
from bench.results.shards import parts
from bench.verification.check import Check, classified
from bench.verification.table import CELL, exact_target, name_of


def check_keys(run: Run, data_digests: Mapping[str, str]) -> Check:
    """Whether each cell's key follows from its own row: weights, method, fields, sampler, batch, seed and task.

    Of a run with prompts, each prompt's key must follow from the cell's row and its own of prompts.csv.

    Args:
        run: the file.
        data_digests: as of `Context`, from the suite: the rows do not name the image sets that methods learn from.
    """
    rows, wrong, unseen, seen = run.rows, [], [], 0
    changed = sources_changed(str(rows["commit"].iloc[0]))
    for cell, own in rows.groupby(list(CELL), sort=False):
        row = own.iloc[0]
        try:
            key = _cell_key(run, row, data_digests)
        except BenchError as error:
            unseen.append(f"{name_of(cell)}: {error}")
            continue
        if key is None:
            unseen.append(f"{row['method']} learns from images that only its suite names")
        elif key != row["sample_key"] and changed:
            unseen.append(f"made at commit {row['commit'] or 'unknown'}, whose methods are not those here")
        elif any(k != key for k in own["sample_key"]):
            wrong.append(f"the key of {name_of(cell)} is not that of its settings")
        else:
            seen += 1
    return classified("sample keys", wrong, f"{seen} keys follow from their rows", unseen)


def _cell_key(run: Run, row: Any, data_digests: Mapping[str, str]) -> str | None:
    """The key of a cell; None where it cannot be known from the file. A prompt whose own key is wrong makes another."""
    if not run.has_prompts:
        return _key(row, row["model_sha256"], int(row["seed"]), data_digests)
    of = parts(run, row)
    seeds = [prompt_seed(int(row["seed"]), part.text) for part in of]
    keys = [_key(row, part.model_sha256, seed, data_digests) for part, seed in zip(of, seeds, strict=True)]
    if joined_key([part.model_sha256 for part in of]) != row["model_sha256"]:
        return ""
    known = [key for key in keys if key is not None]
    if len(known) < len(of):
        return None
    return joined_key(known) if known == [part.sample_key for part in of] else ""


def _key(row: Any, model_digest: str, seed: int, data_digests: Mapping[str, str]) -> str | None:
    fields = json.loads(row["fields"])
    method = build_method(row["method_file"], fields)
    if any(need in method.traits.needs and need not in data_digests for need in LEARNT_FROM):
        return None
    attributes = tuple(Attribute(name, ("", "")) for name in row["attributes"].split("+"))
    sampler = SamplerSpec(row["sampler"], int(row["steps"]), float(row["eta"]), row["precision"], row["spacing"])
    cell = Cell(row["method"], row["method_file"], Fields(fields), attributes, exact_target(row["target"]), seed)
    context = RunContext(model_digest, data_digests, _classifiers(method), ())
    return sample_key(cell, method.traits, sampler, int(row["guidance_batch"]), context)


def _classifiers(method: Any) -> dict[str, str]:
    from bench.engine.resources import Resources

    return (
        {method.classifier: Resources().guide(method.classifier).digest} if "classifier" in method.traits.needs else {}
    )


def sources_changed(commit: str) -> bool:
    """Whether methods/ may be another than at a commit: it is, the commit had changes, or is not known here."""
    if not commit or commit.endswith("+"):
        return True
    try:
        found = subprocess.run(
            ["git", "diff", "--quiet", commit, "--", "methods"], cwd=ROOT, capture_output=True, check=False
        )
    except OSError:
        return True
    return found.returncode != 0
