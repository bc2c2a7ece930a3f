"""The ratios that the micro-benchmarks measured, beside a stored baseline: each of two things run in turn.

    pytest tests/benchmarks/sampling.py --benchmark-json=new.json
    python -m tests.support.ratios new.json             # beside tests/support/ratios.json
    python -m tests.support.ratios new.json --update    # into it

Ratios carry from one machine to another where seconds do not. Those of processor time are steadier where other work
runs beside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.core.json_text import read_object
from bench.storage.files import write_json

BASELINE = Path(__file__).with_suffix(".json")
KEPT = ("ratio", "processor_ratio")
Ratios = dict[str, dict[str, float]]


def measured(path: Path) -> Ratios:
    """Benchmark to its ratios, of a file that pytest-benchmark wrote; benchmarks without ratios are left out."""
    found: Ratios = {}
    listed: list[dict[str, Any]] = read_object(path, "make it with pytest --benchmark-json").get("benchmarks", [])
    for benchmark in listed:
        extra = benchmark["extra_info"]
        if all(name in extra for name in KEPT):
            found[benchmark["name"]] = {name: round(float(extra[name]), 4) for name in KEPT}
    return found


def report(new: Ratios, baseline: Ratios) -> list[str]:
    """A line a benchmark: its ratios, and by what part each differs from the baseline's."""
    lines = [f"{'benchmark':44s} {'ratio':>7s} {'change':>8s} {'processor':>10s} {'change':>8s}"]
    for name, ratios in new.items():
        before = baseline.get(name, {})
        cells = [f"{ratios[kind]:>9.3f} {_change(ratios[kind], before.get(kind)):>8s}" for kind in KEPT]
        lines.append(f"{name:42s} {' '.join(cells)}")
    return lines


def _change(new: float, before: float | None) -> str:
    return "new" if before is None else f"{new / before - 1:+.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("new", type=Path, help="a file of pytest --benchmark-json")
    parser.add_argument("--update", action="store_true", help="write its ratios into the baseline")
    chosen = parser.parse_args()
    new = measured(chosen.new)
    baseline: Ratios = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    print("\n".join(report(new, baseline)))  # noqa: T201 -- run by name
    if chosen.update:
        write_json(BASELINE, {**baseline, **new})


if __name__ == "__main__":
    main()
