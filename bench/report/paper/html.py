"""A paper table as an HTML fragment in ASCII, so that it looks the same in pages of any encoding."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import groupby

from bench.core.rounding import shown
from bench.report.paper.table import Cell, Head, Row, Table, letter

ARROWS = {"lower": " &darr;", "higher": " &uarr;", None: ""}
MARKS = {"best": "<strong>{}</strong>", "tied": "<u>{}</u>", "": "{}"}


def write_html(table: Table) -> str:
    """Return the table with its footnotes as HTML; names are escaped."""
    width = len(table.heads) + 1
    lines = [
        "<table>",
        f"<caption>{inert(table.template.caption)}</caption>",
        "<thead>",
        *_heads(table.heads),
        "</thead>",
    ]
    for title, rows in table.blocks:
        lines.append("<tbody>")
        if title:
            lines.append(f'<tr><th colspan="{width}" scope="rowgroup">{inert(title)}</th></tr>')
        lines += [_row(table, row) for row in rows]
        lines.append("</tbody>")
    notes = [f"<sup>{letter(i)}</sup> {inert(note)}" for i, note in enumerate(table.notes)]
    notes += [inert(remark) for remark in table.remarks]
    lines += ["<tfoot>", f'<tr><td colspan="{width}">', "<br>\n".join(notes), "</td></tr>", "</tfoot>", "</table>"]
    return "\n".join(lines) + "\n"


def inert(text: str) -> str:
    """Escape a text for HTML, in ASCII and on one line."""
    return html.escape(" ".join(text.split())).encode("ascii", "xmlcharrefreplace").decode()


def _heads(heads: Sequence[Head]) -> Iterable[str]:
    grouped = any(head.group for head in heads)
    if grouped:
        groups = [(name, len(list(same))) for name, same in groupby(head.group for head in heads)]
        cells = [f'<th colspan="{n}" scope="colgroup">{inert(name)}</th>' for name, n in groups]
        yield f'<tr><th rowspan="2" scope="col">method</th>{"".join(cells)}</tr>'
    first = "" if grouped else '<th scope="col">method</th>'
    cells = [f'<th scope="col">{inert(head.heading)}{ARROWS[head.better]}</th>' for head in heads]
    yield f"<tr>{first}{''.join(cells)}</tr>"


def _row(table: Table, row: Row) -> str:
    cells = "".join(f"<td>{_cell(table, cell)}</td>" for cell in row.cells)
    return f'<tr><th scope="row">{inert(row.label)}{_letters(row.notes)}</th>{cells}</tr>'


def _cell(table: Table, cell: Cell) -> str:
    if cell.value is None:
        return inert(cell.word) + _letters(cell.notes)
    q = cell.value
    value, *ends = shown(q.value, q.low, q.high, table.template.interval)
    interval = f" [{', '.join(ends)}]" if len(ends) == 2 else f" &plusmn; {ends[0]}" if ends else ""
    return MARKS[cell.mark].format(value) + interval + _letters(cell.notes)


def _letters(notes: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(letter, notes))}</sup>" if notes else ""
