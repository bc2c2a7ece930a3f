"""Simulated coverage of every interval: `python -m tests.benchmarks.coverage [--only PATTERN] [--draws N]`.

Prints one line per metric, setting and n: the share of intervals that hold the truth (aim: 0.93 to 0.97), the shares
that lie below and above it, their mean width, and the share of draws without an interval. `--only` takes part of the
text "METRIC, SETTING", or a pattern with *.
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch

from bench.core.progress import track
from tests.benchmarks import coverage_classes, coverage_features, coverage_mixture, coverage_seeds
from tests.support.coverage import Coverage, Row, measure

ROWS: tuple[Row, ...] = (*coverage_classes.ROWS, *coverage_mixture.ROWS, *coverage_features.ROWS, *coverage_seeds.ROWS)
HEADER = ("metric", "setting", "n", "draws", "coverage", "below", "above", "mean width", "undefined")


def matching(pattern: str) -> list[Row]:
    """Return the rows whose "METRIC, SETTING" contains the text, or matches the pattern with *."""
    names = [f"{row.metric}, {row.setting}" for row in ROWS]
    return [row for row, name in zip(ROWS, names, strict=True) if pattern in name or fnmatch(name, pattern)]


def line(c: Coverage) -> str:
    """Return the line of a result, as Markdown."""
    shares = (f"{share:.3f}" for share in (c.coverage, c.below, c.above))
    cells = (c.row.metric, c.row.setting, str(c.n), str(c.draws), *shares, f"{c.width:.3g}", f"{c.undefined:.3f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Print the simulated coverage of every interval.")
    parser.add_argument("--only", default="", metavar="PATTERN", help='part of "METRIC, SETTING", or a pattern with *')
    parser.add_argument("--draws", type=int, metavar="N", help="simulated samples per line; default: the row's own")
    options = parser.parse_args()
    jobs = [(row, n) for row in matching(options.only) for n in row.sizes]
    if not jobs:
        parser.error(
            f"--only {options.only} matches no row, expected part of one of: {sorted({r.metric for r in ROWS})}"
        )
    sys.stdout.write(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}\n")
    for row, n in track(jobs, "coverage"):
        sys.stdout.write(line(measure(row, n, options.draws)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
