"""Compare leaderboards with those of a commit, row by row: order, values, intervals, and how far digits moved.

    python -m tests.benchmarks.unchanged 7ffecc2                       # leaderboards/ of the tree against that commit
    python -m tests.benchmarks.unchanged 7ffecc2 --folder elsewhere    # another folder of runs against it

Old names of columns and metrics are read as `bench.results.tables` reads them. Columns that say how and when a number
was made (hashes, versions, commits, reasons) are left out. Ends with exit code 1 where a row or a number differs.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.results.tables import Record, read_records

ROOT = Path(__file__).parents[2]
FILES = ("leaderboard.csv", "results.csv")
KEYS = ("task", "attributes", "target", "method", "seed", "metric", "scope", "classifier", "status")
PROVENANCE = ("commit", "bench_version", "sample_key", "classifier_sha256", "model_sha256", "reason", "fields")


def rows_of(path: Path) -> list[Record]:
    """Read the rows of a table, with old names as the reader of runs takes them."""
    return read_records(path, ("method",))


def at_commit(commit: str, name: str, folder: Path) -> Path | None:
    """Write a file of a commit into a folder; None where the commit does not have it."""
    shown = subprocess.run(["git", "show", f"{commit}:{name}"], cwd=ROOT, capture_output=True, check=False)
    if shown.returncode:
        return None
    path = folder / name.replace("/", "-")
    path.write_bytes(shown.stdout)
    return path


def difference(old: str | None, new: str | None) -> float | None:
    """Return the relative difference of two fields, 0.0 where they are alike; None where no number can be had."""
    if old == new:
        return 0.0
    try:
        a, b = float(old or "nan"), float(new or "nan")
    except ValueError:
        return None
    return abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else None


def compare(old: Sequence[Mapping[str, str]], new: Sequence[Mapping[str, str]]) -> tuple[list[str], float]:
    """Return the differences of two tables as sentences, and the largest relative difference of a number."""
    keys = [tuple(row.get(key, "") for key in KEYS) for row in new]
    before = [tuple(row.get(key, "") for key in KEYS) for row in old]
    if before != keys:
        lost, added = set(before) - set(keys), set(keys) - set(before)
        return [f"other rows or another order: {len(lost)} gone, {len(added)} new, {len(before)} before"], math.inf
    sentences, largest = [], 0.0
    for key, one, two in zip(keys, old, new, strict=True):
        for column in one.keys() & two.keys() - {*KEYS, *PROVENANCE}:
            moved = difference(one[column], two[column])
            if moved:
                largest = max(largest, moved)
            if moved is None or moved > 0:
                sentences.append(f"{' '.join(key)}, {column}: {one[column]} -> {two[column]}")
    return sentences, largest


def main() -> int:
    """Compare every leaderboard, and print a line per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--folder", type=Path, default=ROOT / "leaderboards")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for new in sorted(path for name in FILES for path in options.folder.glob(f"*/{name}")):
            old = at_commit(options.commit, f"leaderboards/{new.parent.name}/{new.name}", Path(folder))
            if old is None:
                print(f"{new.parent.name}/{new.name}: not in {options.commit}")
                continue
            rows = rows_of(new)
            sentences, largest = compare(rows_of(old), rows)
            failed |= bool(sentences)
            print(
                f"{new.parent.name}/{new.name}: {len(rows)} rows, {len(sentences)} differences, largest {largest:.2g}"
            )
            print(*(f"    {sentence}" for sentence in sentences[:10]), sep="\n" if sentences else "")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
