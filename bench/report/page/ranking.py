"""The ranking over all tasks as the page's data: texts as `run_bench.py rank` shows them."""

from __future__ import annotations

from typing import TypedDict

from bench.comparison.ranking import rank
from bench.core.errors import Incompatible
from bench.report.ranking import cells, heads, remarks
from bench.results.run import Run

MOST = 30  # methods; every pair is tested


class RankingRecord(TypedDict):
    """Heads of the columns, a row of texts per method, and remarks; empty where there is no ranking."""

    heads: list[str]
    rows: list[list[str]]
    remarks: list[str]


def ranking(run: Run) -> RankingRecord:
    """Return the ranking of a run; nothing where it has too few methods to rank, or more than `MOST`."""
    empty: RankingRecord = {"heads": [], "rows": [], "remarks": []}
    if len(run.methods) > MOST:
        return empty
    try:
        ranked = rank(run)
    except Incompatible:
        return empty
    return {
        "heads": list(heads(ranked)),
        "rows": [list(cells(method)) for method in ranked.methods],
        "remarks": remarks(ranked),
    }
