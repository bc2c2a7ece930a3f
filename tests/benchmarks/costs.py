"""How well the cost model tells the seconds of the committed leaderboards from each other's.

    python -m tests.benchmarks.costs

For every pair of suites: the seconds of sampling that the second's costs.csv foretells of the first, at the pace of the
first's own vanilla (what a dry run times on the machine), beside those that the first's costs.csv measured. Cells that
share samples count once, and cells whose method the second lacks are left out. Without the pace, in brackets.
"""

from __future__ import annotations

import csv
from pathlib import Path

from bench.core.plugins import ROOT
from bench.estimate import costs
from bench.estimate.costs import Measured, Pace


def read(folder: Path) -> tuple[int, list[Measured]]:
    """Samples a cell, and the measured rows, each sample once."""
    with (folder / "results.csv").open(newline="") as f:
        cells = {row["method"]: row for row in csv.DictReader(f)}
    with (folder / "costs.csv").open(newline="") as f:
        rows = {(row["method"], row["seconds_per_image"]): row for row in csv.DictReader(f)}
    found = [
        Measured(
            folder.name, cells[title]["method_file"], title, row["task"], float(row["nfe_per_image"]), float(each), 0.0
        )
        for (title, each), row in rows.items()
    ]
    return int(next(iter(cells.values()))["n_asked"]), found


def main() -> None:
    """Print one line a pair."""
    runs = {path.parent.name: read(path.parent) for path in sorted((ROOT / "leaderboards").glob("*/costs.csv"))}
    for name, (n, rows) in runs.items():
        for other, (_, told) in runs.items():
            if other == name:
                continue
            pairs = [(row, near) for row in rows if (near := costs.nearest(told, row.method, row.title, row.task))]
            pace = [row.seconds_per_call for row in rows if row.method == "vanilla"]
            here = Pace(sum(pace) / len(pace), 0.0, name)
            measured = n * sum(row.seconds for row, _ in pairs)
            asked = [costs.Expected(n * row.calls, 0.0) for row, _ in pairs]
            plain = sum(costs.seconds(a, near, None) for a, (_, near) in zip(asked, pairs, strict=True))
            paced = sum(
                costs.seconds(a, costs.rescaled(near, told, here), None)
                for a, (_, near) in zip(asked, pairs, strict=True)
            )
            share = f"{len(pairs)} of {len(rows)} cells"
            print(
                f"{name} from {other} ({share}): measured {measured:,.0f} s, told {paced:,.0f} "
                f"({paced / measured - 1:+.0%}; without the pace {plain / measured - 1:+.0%})"
            )


if __name__ == "__main__":
    main()
