"""Seconds per image as ratios to vanilla's in the same run, which depend less on the machine than the seconds do."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.results.run import Run
from bench.results.tables import Record, read_records

COLUMNS = ("task", "method", "seed", "seconds_per_image", "device")


def ratios(run: Run) -> dict[tuple[str, str], float] | None:
    """Return, by (method, device), the median over cells of seconds per image over vanilla's of the same cell.

    None where no costs.csv lies beside the results, or vanilla is not in the run.

    Raises:
        ConfigError: a costs.csv that cannot be read, lacks a column, or holds a time that is not above 0.
    """
    path = run.file.parent / "costs.csv"
    vanilla = next((row.method for row in run.cells if row.method_file == "vanilla"), None)
    if not path.is_file() or vanilla is None:
        return None
    frame = _seconds(read_records(path, COLUMNS))
    base = frame[frame["method"] == vanilla].drop_duplicates(["task", "seed", "device"])
    joined = frame.merge(base, on=["task", "seed", "device"], suffixes=("", "_vanilla"))
    ratio = joined["seconds"] / joined["seconds_vanilla"]
    medians = ratio.groupby([joined["method"], joined["device"]], sort=False).median()
    return {(str(m), str(d)): float(medians[m, d]) for m, d in medians.index if m != vanilla}


def _seconds(records: Sequence[Record]) -> pd.DataFrame:
    """Return task, method, seed and device as text, and "seconds" per image, float64."""
    columns: dict[str, list[str] | list[float]] = {
        name: [row[name] for row in records] for name in COLUMNS if name != "seconds_per_image"
    }
    seconds = []
    for row in records:
        number = row.number("seconds_per_image")
        if number is None or number <= 0:
            raise row.wrong("seconds_per_image", "must be a number > 0")
        seconds.append(number)
    return pd.DataFrame({**columns, "seconds": seconds})
