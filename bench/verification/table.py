"""Checks of a results file by itself, without a store, a model or torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.results.read import target_shares
from bench.verification.check import Check, classified

CELL = ("attributes", "target", "method", "seed")
SUM = 1e-9  # shares are quotients of whole numbers: their sum misses 1 by rounding alone


def check_protocol(rows: pd.DataFrame, here: int) -> Check:
    """Check that the file was made by the protocol of this bench."""
    protocol = int(rows["protocol"].iloc[0])
    wrong = [] if protocol == here else [f"protocol {protocol}, this bench has {here}: its numbers mean something else"]
    return classified("protocol", wrong, f"protocol {protocol}")


def check_shares(rows: pd.DataFrame) -> Check:
    """Check that the shares of the classes of every joint sum to 1."""
    wrong, count = [], 0
    shares = rows[(rows["status"] == "ok") & (rows["metric"] == "share_hard")]
    names = shares["scope"].map(lambda scope: str(scope).partition("=")[0])
    groups = shares.groupby([*(shares[c] for c in (*CELL, "classifier")), names], sort=False)
    for (*cell, _, scope), of_joint in groups:
        count += 1
        total = float(of_joint["value"].sum())
        if abs(total - 1) > SUM:
            wrong.append(f"the shares of {scope} of {name_of(cell)} sum to {total:.6g}")
    return classified("shares", wrong, f"{count} sets of shares sum to 1", [] if count else ["no row is of share_hard"])


def check_rows(rows: pd.DataFrame) -> Check:
    """Check that the cells of a task have rows of the same metrics, scopes and classifiers."""
    scored = rows[rows["metric"] != ""]
    wrong, count = [], 0
    for (attributes, target), of_task in scored.groupby(["attributes", "target"], sort=False):
        cells = {key: _scores(of_cell) for key, of_cell in of_task.groupby(["method", "seed"], sort=False)}
        every = set[tuple[str, str, str]]().union(*cells.values())
        for (method, seed), scores in cells.items():
            count += len(scores)
            cell = name_of((attributes, target, method, seed))
            wrong += [f"{cell} has no row of {metric} over {scope}" for _, metric, scope in sorted(every - scores)]
    return classified("rows", wrong, f"{count} rows, the same for every method of a task")


def _scores(rows: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(rows[["classifier", "metric", "scope"]].itertuples(index=False, name=None))


def name_of(cell: Sequence[object]) -> str:
    """Return a cell's name in a sentence, given the values of `CELL`."""
    attributes, target, method, seed = cell
    return f"{method} on {attributes} {target} (seed {seed})"


def exact_target(text: str) -> tuple[float, ...]:
    """Return the shares of a target; the file writes one third with six digits."""
    shares = target_shares(text)
    if np.ptp(shares) < 1e-6:
        return (1 / len(shares),) * len(shares)
    return tuple(shares.tolist())
