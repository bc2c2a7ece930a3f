"""Seconds an image as ratios to vanilla's in the same run, which another machine mostly shares, from costs.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import ConfigError
from bench.results.run import Run

COLUMNS = ("task", "method", "seed", "seconds_per_image", "device")


def ratios(run: Run) -> dict[tuple[str, str], float] | None:
    """(method, device) to the median, over tasks and seeds, of its seconds an image over vanilla's of the same cell.

    None where no costs.csv lies beside the results, or vanilla is not in the run.

    Raises:
        ConfigError: a costs.csv that cannot be read, lacks a column, or holds a time that is none.
    """
    path = run.file.parent / "costs.csv"
    base = run.rows.loc[run.rows["method_file"] == "vanilla", "method"]
    if not path.is_file() or base.empty:
        return None
    frame = _read(path)
    seconds = frame["seconds_per_image"]
    own = frame[frame["method"] == base.iloc[0]].drop_duplicates(["task", "seed", "device"])
    joined = frame.assign(seconds=seconds).merge(own, on=["task", "seed", "device"], suffixes=("", "_vanilla"))
    ratio = joined["seconds"] / joined["seconds_per_image_vanilla"]
    found = ratio.groupby([joined["method"], joined["device"]], sort=False).median()
    return {(str(m), str(d)): float(found[m, d]) for m, d in found.index if m != base.iloc[0]}


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError, pd.errors.ParserError) as error:  # an empty file and bad UTF-8 are ValueErrors
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(f"cannot read {path}: {reason}; restore the file that the run wrote") from error
    for column in COLUMNS:
        if column not in frame:
            raise ConfigError(f"{path}, line 1: no column {column!r}; restore the file that the run wrote")
    seconds = pd.to_numeric(frame["seconds_per_image"], errors="coerce").astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(seconds) & (seconds > 0)))
    if bad.size:
        line, text = bad[0] + 2, frame["seconds_per_image"].iloc[bad[0]]
        raise ConfigError(
            f"{path}, line {line}, column seconds_per_image: must be a number > 0, got {text!r:.60}; restore the file "
            "that the run wrote"
        )
    return frame.assign(seconds_per_image=seconds)
