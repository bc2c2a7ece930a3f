"""The tables of a finished run as pandas frames with plain dtypes, for readers who compute with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.results.read import COLUMNS
from bench.results.tables import Record

LEADERBOARD = ("task", "method", "status", "reason", "tied_best")  # texts; the others are numbers
COSTS = ("attributes", "task", "method", "device")
WHOLE = ("n", "prompts", "seeds", "seed")


def scores_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell and score, given the rows of `bench.results.read.read_results`.

    Texts are plain objects in place of categoricals, and "task", by which all tables can be merged, comes first.
    """
    categorical = [str(name) for name in rows if isinstance(rows[name].dtype, pd.CategoricalDtype)]
    frame = rows.assign(**{name: rows[name].astype(object) for name in categorical})
    further = [name for name in rows if name not in ("task", *COLUMNS)]
    first = [
        "task",
        "method",
        "seed",
        "metric",
        "scope",
        "classifier",
        "value",
        "ci_low",
        "ci_high",
        "noise_floor",
        "n",
    ]
    others = [name for name in rows if name not in (*first, *further)]
    return frame[[*first, *others, *further]].reset_index(drop=True)


def leaderboard_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per method and task; numbers as float64 with NaN where blank, counts as nullable Int64."""
    return _frame(records, LEADERBOARD)


def costs_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per cell; numbers as float64 with NaN where blank, the seed as nullable Int64."""
    return _frame(records, COSTS)


def _frame(records: Sequence[Record], texts: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, object] = {}
    for name in records[0] if records else texts:
        if name in texts:
            columns[name] = pd.Series([record[name] for record in records], dtype=object)
        elif name == "guided_by_classifier":
            columns[name] = np.array([record[name] == "True" for record in records])
        elif name in WHOLE or name.endswith("_seeds"):
            wholes = [record.whole(name) if record[name] else pd.NA for record in records]
            columns[name] = pd.Series(wholes, dtype="Int64")
        else:
            columns[name] = np.array([record.number(name) for record in records], dtype=np.float64)
    return pd.DataFrame(columns)
