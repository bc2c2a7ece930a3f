"""Names and texts of the columns of leaderboard.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Columns that every leaderboard.csv has, beside those of the metrics.
LEADERBOARD = (
    *("task", "method", "fd_noise_floor", "classifier_accuracy", "guided_by_classifier", "nfe_per_image"),
    *("backward_per_image", "n", "seeds", "status", "reason", "tied_best"),
)
MARKS = {"best": "best", "yes": "tied", "no": "", "": ""}


GUIDED = " (guided by its classifier)"  # behind a method's title


def frechet_head(column: str, beside: Sequence[str]) -> str:
    """Return the heading of a Frechet distance: its reference, and its features where those of `beside` differ."""
    metric, _, scope = column.partition(" to ")
    several = len({name.partition(" to ")[0] for name in beside}) > 1
    return f"of {metric.removeprefix('frechet_')} to {scope}" if several else f"to {scope}"


def columns(row: Mapping[str, str], prefix: str) -> list[str]:
    """Return the columns of the metrics that begin so, without those of their intervals and numbers of seeds."""
    return [c for c in row if c.startswith(prefix) and not c.endswith(("_low", "_high", "_seeds"))]


def method_name(row: Mapping[str, str]) -> str:
    """Return the method of a leaderboard row, with a warning where it guided with the network that classifies it."""
    return row["method"] + (GUIDED if row.get("guided_by_classifier") == "True" else "")


def interval(row: Mapping[str, str], column: str, digits: int) -> str:
    """Return a value with its interval, and the number of seeds where some have none; a dash without a value."""
    if not row[column]:
        return "-"
    value, seeds = f"{float(row[column]):.{digits}f}", row.get(f"{column}_seeds", "")
    if row[f"{column}_low"]:
        value += f" [{float(row[f'{column}_low']):.{digits}f}, {float(row[f'{column}_high']):.{digits}f}]"
    return value if seeds in ("", row["seeds"]) else f"{value} ({seeds} of {row['seeds']} seeds)"
