"""A paper table as tidy CSV: one row per cell, every number as exact as in results.csv."""

from __future__ import annotations

from bench.core.csv_text import to_csv
from bench.report.paper.table import Cell, Table


def write_csv(table: Table) -> str:
    """Return per cell: row, group, heading, score, value and interval, n, seeds, mark and footnotes."""
    return to_csv(
        [
            {"row": row.label, "group": head.group, "heading": " ".join(head.heading.split())}
            | _fields(table, cell, row.notes)
            for _, rows in table.blocks
            for row in rows
            for head, cell in zip(table.heads, row.cells, strict=True)
        ]
    )


def _fields(table: Table, cell: Cell, notes: tuple[int, ...]) -> dict[str, object]:
    q = cell.value
    return {
        **cell.facts,
        "value": q.value if q else float(cell.word) if cell.claimed else None,
        "low": q.low if q else None,
        "high": q.high if q else None,
        "n": q.n if q else None,
        "seeds": q.seeds if q else None,
        "mark": cell.mark,
        "notes": "; ".join(table.notes[i] for i in (*notes, *cell.notes)),
    }
