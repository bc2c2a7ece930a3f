"""A paper table as Markdown for GitHub and pandoc."""

from __future__ import annotations

from collections.abc import Iterable

from bench.core.rounding import shown
from bench.core.text import ARROWS, inert
from bench.report.paper.claims import cited
from bench.report.paper.table import Cell, Head, Row, Table, letter

MARKS = {"best": "**{}**", "tied": "<ins>{}</ins>", "": "{}"}


def write_markdown(table: Table) -> str:
    """Return the table with its footnotes as Markdown; names are escaped."""
    blocks = len(table.blocks) > 1
    heads = [*(["task"] if blocks else []), "method", *(_head(head) for head in table.heads)]
    lines = [f"**{inert(table.template.caption)}**", "", _line(heads), "|" + " --- |" * len(heads)]
    for title, rows in table.blocks:
        lines += [_line([*([inert(title)] if blocks else []), *_row(table, row)]) for row in rows]
    notes = [f"<sup>{letter(i)}</sup> {_note(note)}" for i, note in enumerate(table.notes)]
    remarks = [inert(remark) for remark in table.remarks]
    return "\n".join([*lines, "", "<br>\n".join([*notes, *remarks])]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(head: Head) -> str:
    group = f"{inert(head.group)}: " if head.group else ""
    return f"{group}{inert(head.heading)}{ARROWS[head.better]}"


def _row(table: Table, row: Row) -> list[str]:
    return [inert(row.label) + _letters(row.notes), *(_cell(table, cell) for cell in row.cells)]


def _cell(table: Table, cell: Cell) -> str:
    if cell.value is None:
        return inert(cell.word) + _letters(cell.notes)
    q = cell.value
    value, *ends = shown(q.value, q.low, q.high, table.template.interval)
    interval = f" [{', '.join(ends)}]" if len(ends) == 2 else f" ± {ends[0]}" if ends else ""
    return MARKS[cell.mark].format(value) + interval + _letters(cell.notes)


def _letters(notes: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(letter, notes))}</sup>" if notes else ""


def _note(note: str) -> str:
    key = cited(note)
    return f"[@{key}]" if key else inert(note)  # as pandoc cites
