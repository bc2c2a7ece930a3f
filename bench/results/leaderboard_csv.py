"""Read leaderboard.csv and name its columns."""

from __future__ import annotations

import csv
from pathlib import Path

MARKS = {"best": "best", "yes": "tied", "no": "", "": ""}


def frechet_head(column: str, beside: list[str]) -> str:
    """What a Frechet distance is to, and of whose features, where the columns beside it are not all of the same."""
    metric, _, scope = column.partition(" to ")
    several = len({other.partition(" to ")[0] for other in beside}) > 1
    return f"of {metric.removeprefix('frechet_')} to {scope}" if several else f"to {scope}"


def columns(row: dict[str, str], prefix: str) -> list[str]:
    """The columns of the metrics of a prefix, without their intervals'."""
    return [c for c in row if c.startswith(prefix) and not c.endswith(("_low", "_high"))]


def method_name(row: dict[str, str]) -> str:
    """The method of a leaderboard row, with a warning where it guided with the network that classifies it."""
    return row["method"] + (" (guided by its classifier)" if row.get("guided_by_classifier") == "True" else "")


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, as text."""
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def interval(row: dict[str, str], column: str, digits: int) -> str:
    """A value with its interval, or a dash where there is none."""
    if not row[column]:
        return "-"
    value = f"{float(row[column]):.{digits}f}"
    if not row[f"{column}_low"]:
        return value
    return f"{value} [{float(row[f'{column}_low']):.{digits}f}, {float(row[f'{column}_high']):.{digits}f}]"
