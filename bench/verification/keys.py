"""The sample keys of a results file, recomputed from its rows: everything that decides the samples, hashed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.attributes import Attribute
from bench.discovery import ROOT
from bench.errors import BenchError
from bench.plan import LEARNT_FROM, Context, Work, sample_key
from bench.suite import Cell, build_method
from bench.verification.check import Check, judged
from bench.verification.table import CELL, exact_target, name_of


def check_keys(rows: pd.DataFrame, data_digests: Mapping[str, str]) -> Check:
    """Whether each cell's key follows from its own row: weights, method, fields, sampler, batch, seed and task.

    Args:
        rows: of the file.
        data_digests: as of `Context`, from the suite: the rows do not name the image sets that methods learn from.
    """
    wrong, unseen, seen = [], [], 0
    changed = sources_changed(str(rows["commit"].iloc[0]))
    for cell, own in rows.groupby(list(CELL), sort=False):
        row = own.iloc[0]
        try:
            key = _key(row, data_digests)
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
    return judged("sample keys", wrong, f"{seen} keys follow from their rows", unseen)


def _key(row: Any, data_digests: Mapping[str, str]) -> str | None:
    fields = json.loads(row["fields"])
    method = build_method(row["method_file"], fields)
    if any(need in method.traits.needs and need not in data_digests for need in LEARNT_FROM):
        return None
    attributes = tuple(Attribute(name, ("", "")) for name in row["attributes"].split("+"))
    sampler = {
        "name": row["sampler"],
        "steps": int(row["steps"]),
        "eta": float(row["eta"]),
        "precision": row["precision"],
        "spacing": row["spacing"],
    }
    cell = Cell(row["method"], row["method_file"], fields, attributes, exact_target(row["target"]), int(row["seed"]))
    batch, n = int(row["guidance_batch"]), int(row["n_asked"])
    work = Work(cell, row["model"], sampler, {}, batch, batch, n, "cpu", Path(), (), ())
    return sample_key(work, Context(row["model_sha256"], dict(data_digests), _classifiers(method), (), (), ()))


def _classifiers(method: Any) -> dict[str, str]:
    from bench.cell import guide

    return {method.classifier: guide(method.classifier).digest} if "classifier" in method.traits.needs else {}


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
