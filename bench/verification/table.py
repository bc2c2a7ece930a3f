"""What a results file says by itself: no store, no model and no torch is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.results.read import target_shares
from bench.verification.check import Check, classified

CELL = ("attributes", "target", "method", "seed")
SUM = 1e-9  # shares are quotients of whole numbers: their sum misses 1 by rounding alone


def check_protocol(rows: pd.DataFrame, here: int) -> Check:
    """Whether the file was made by the protocol of this bench."""
    told = int(rows["protocol"].iloc[0])
    wrong = [] if told == here else [f"protocol {told}, this bench has {here}: its numbers mean something else"]
    return classified("protocol", wrong, f"protocol {told}")


def check_shares(rows: pd.DataFrame) -> Check:
    """Whether the shares of the classes of every joint sum to 1."""
    wrong, seen = [], 0
    shares = rows[(rows["status"] == "ok") & (rows["metric"] == "share_hard")]
    names = shares["scope"].map(lambda scope: str(scope).partition("=")[0])
    for (*cell, _, scope), own in shares.groupby([*(shares[c] for c in (*CELL, "classifier")), names], sort=False):
        seen += 1
        total = float(own["value"].sum())
        if abs(total - 1) > SUM:
            wrong.append(f"the shares of {scope} of {name_of(cell)} sum to {total:.6g}")
    return classified("shares", wrong, f"{seen} sets of shares sum to 1", [] if seen else ["no row is of share_hard"])


def check_rows(rows: pd.DataFrame) -> Check:
    """Whether the cells of a task have rows of the same metrics, scopes and classifiers."""
    scored = rows[rows["metric"] != ""]
    wrong, seen = [], 0
    for _, task in scored.groupby(["attributes", "target"], sort=False):
        cells = {key: _lines(own) for key, own in task.groupby(["method", "seed"], sort=False)}
        every = set[tuple[str, str, str]]().union(*cells.values())
        for (method, seed), found in cells.items():
            seen += len(found)
            first = task.iloc[0]
            cell = name_of((first["attributes"], first["target"], method, seed))
            wrong += [f"{cell} has no row of {metric} over {scope}" for _, metric, scope in sorted(every - found)]
    return classified("rows", wrong, f"{seen} rows, the same for every method of a task")


def _lines(rows: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(rows[["classifier", "metric", "scope"]].itertuples(index=False, name=None))


def name_of(cell: Any) -> str:
    """A cell in a sentence, from the values of `CELL`."""
    attributes, target, method, seed = cell
    return f"{method} on {attributes} {target} (seed {seed})"


def exact_target(text: str) -> tuple[float, ...]:
    """The target of a row; one third is written with six digits."""
    shares = target_shares(text)
    if np.ptp(shares) < 1e-6:
        return (1 / len(shares),) * len(shares)
    return tuple(shares.tolist())
