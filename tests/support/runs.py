"""Finished runs made of numbers: a results.csv, and a store with what the classifier saw, without a network."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cli
from bench.core.attributes import Attribute
from bench.core.csv_text import to_csv
from bench.protocols.evaluator import Reference, Sample
from bench.results.read import COLUMNS
from bench.storage.files import write_arrays
from bench.storage.store import Store
from evaluators.fairness_discrepancy import Evaluator

GLASSES = Attribute("eyeglasses", ("absent", "present"))
JUDGE = "d" * 64
BATCH = 50
COMMON: dict[str, Any] = {
    "suite": "made",
    "model": "toy",
    "attributes": "eyeglasses",
    "target": "0.5/0.5",
    "seed": 0,
    "status": "ok",
    "reason": "",
    "noise_floor": "",
    "n": 200,
    "n_asked": 200,
    "guidance_batch": BATCH,
    "design": "independent",
    "sampler": "ddim",
    "steps": 20,
    "eta": 0.0,
    "spacing": "logsnr",
    "precision": "fp32",
    "nfe_per_image": 20.0,
    "backward_per_image": 0.0,
    "fields": "{}",
    "classifier": "attribute_cnn",
    "guided_by_classifier": "False",
    "classifier_confusion": json.dumps({"eyeglasses": [[987, 0], [0, 1013]]}),
    "model_sha256": "a" * 64,
    "classifier_sha256": JUDGE,
    "sample_key": "b" * 64,
    "protocol": 2,
    "bench_version": "source",
    "commit": "c" * 40,
}


def score(method: str, metric: str, scope: str, value: float, half: float, **changes: Any) -> dict[str, Any]:
    """A row with an interval of value +- half."""
    ends = {"value": value, "ci_low": value - half, "ci_high": value + half}
    return {**COMMON, "method": method, "method_file": method, "metric": metric, "scope": scope, **ends, **changes}


def undefined(method: str, metric: str, scope: str, reason: str, **changes: Any) -> dict[str, Any]:
    """A row without a value."""
    blank = {"value": "", "ci_low": "", "ci_high": "", "status": "undefined", "reason": reason}
    return {**score(method, metric, scope, 0.0, 0.0), **blank, **changes}


def failed(method: str, reason: str, **changes: Any) -> dict[str, Any]:
    """The row of a cell that failed."""
    blank = {"status": "failed", "n": "", "nfe_per_image": "", "backward_per_image": ""}
    return undefined(method, "", "", reason, **blank, **changes)


def classified(
    method: str, labels: np.ndarray, target: Sequence[float] = (0.5, 0.5), store: Path | None = None, **changes: Any
) -> list[dict[str, Any]]:
    """The rows that the shipped evaluator gives for these classes of GLASSES, kept in the store where there is one.

    A class of -1 is a sample that the classifier abstained on.
    """
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    probabilities[labels < 0] = np.nan
    sample = Sample({"eyeglasses": probabilities}, {}, np.full(len(labels), -1))
    key = f"{method}{changes.get('seed', 0)}".encode().hex().ljust(64, "0")
    if store is not None:
        for i, start in enumerate(range(0, len(labels), BATCH)):
            part = probabilities[start : start + BATCH]
            shard = Store(store).shard(key, i, len(part))
            write_arrays(Store(store).features("attribute_cnn", JUDGE, shard), {"eyeglasses": part})
    rows = []
    for s in Evaluator().evaluate(sample, Reference((GLASSES,), np.array(target))):
        ends = {"ci_low": s.ci_low, "ci_high": s.ci_high, "noise_floor": s.noise_floor, "n": s.n, "n_asked": s.n}
        more = {"sample_key": key, "target": "/".join(f"{r:.6g}" for r in target), **ends, **changes}
        rows.append(score(method, s.metric, s.scope, float(s.value or 0), 0.0, **more))
    return rows


def half_and_half(n: int, present: int) -> np.ndarray:
    """Classes of n samples of which the last `present` are 1."""
    return np.repeat([0, 1], [n - present, present])


def write_run(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the rows as folder/results.csv; the path of that file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.csv"
    with path.open("w", newline="") as f:
        columns = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])  # older files have no `task`
        writer = csv.DictWriter(f, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows({"design": "independent"} | row for row in rows)  # older files have no such column
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV, as text."""
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def edited_run(run: Path, folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Path:
    """A run's three tables in `folder`, with every row changed by `edit`, or left out where that gives None."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("results.csv", "leaderboard.csv", "costs.csv"):
        rows = [row for old in read_rows(run / name) if (row := edit(old)) is not None]
        (folder / name).write_text(to_csv(rows), encoding="utf-8")
    return folder


Call = Callable[..., tuple[int, str, str]]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def refusal(outcome: tuple[int, str, str]) -> str:
    """The one sentence of a command that refused its input."""
    code, _, said = outcome
    assert code == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    return said
