"""A comparison as tables: on the terminal, as CSV, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.comparison.head_to_head import Line, Side, tally
from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.core.text import interval, markdown_table, number, probability
from bench.storage.files import write_bytes

HEADS = ("metric", "A", "B", "B - A [95 %]", "p (Holm)", "verdict", "test", "detectable")
NOTE = (
    "p: two-sided, Holm's correction over all lines tested; detectable: the smallest true difference that such a test "
    "finds in 80 of 100 runs of this size, so a tie rules out larger ones only."
)


def show(lines: Sequence[Line], sides: tuple[Side, Side], console: Console) -> None:
    """Print one table per pair of methods and task, then wins, ties and losses over the tasks."""
    for a, b in sides_of(lines):
        for task in dict.fromkeys(line.task for line in lines):
            shown = [line for line in lines if (line.a, line.b, line.task) == (a, b, task)]
            table = Table(title=escape(f"{task}: A = {_side(sides[0], a)}, B = {_side(sides[1], b)}"))
            for head in HEADS:
                table.add_column(head, justify="left" if head in ("metric", "verdict", "test") else "right")
            for line in shown:
                table.add_row(*map(escape, _cells(line)))
            console.print(table)
            for note in _notes(shown):
                console.print(note, markup=False, soft_wrap=True)
    table = Table(title="over the tasks", caption=NOTE)
    for head in ("A", "B", "metric", "A wins", "ties", "A loses", "other"):
        table.add_column(head)
    for row in _wins(lines):
        table.add_row(*map(escape, row))
    console.print(table)


def write(lines: Sequence[Line], sides: tuple[Side, Side], out: Path) -> None:
    """Write the lines as CSV or Markdown, by the file's ending.

    Raises:
        ConfigError: another ending, or the file cannot be written.
    """
    check_ending(out)
    text = to_csv([line.record() for line in lines]) if out.suffix == ".csv" else _markdown(lines, sides)
    write_bytes(out, text.encode())


def check_ending(out: Path) -> None:
    """Refuse a file of a kind that is not written."""
    if out.suffix not in (".csv", ".md"):
        raise ConfigError(f"--out must end in .csv or .md, got {out}; the ending says which of them is written")


def sides_of(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The pairs of methods, in order."""
    return list(dict.fromkeys((line.a, line.b) for line in lines))


def _side(side: Side, method: str) -> str:
    return f"{method} of {side.run.file.parent}"


def _cells(line: Line) -> tuple[str, ...]:
    name = f"{line.metric} over {line.scope}" + (f" by {line.classifier}" if line.classifier else "")
    compared = line.compared
    if compared is None:
        return (name, "-", "-", "-", "-", f"{line.verdict}: {line.reason}", "-", "-")
    d = compared.difference
    ends = "" if line.p is None else interval(float(d.low), float(d.high))
    return (
        *(name, number(compared.a), number(compared.b), number(float(d.value)) + ends, probability(line.p)),
        *(line.verdict, compared.test, number(line.detectable)),
    )


def _notes(lines: Sequence[Line]) -> list[str]:
    """Return the notes of lines, each once, after the names of the metrics that it is about."""
    metrics: dict[str, list[str]] = {}
    for line in lines:
        if line.compared and line.compared.note:
            metrics.setdefault(line.compared.note, []).append(line.metric)
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in metrics.items()]


def _wins(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    rows = []
    for a, b, name, counts in tally(lines):
        untested = "; ".join(f"{counts[v]} {v}" for v in ("different", "not comparable") if counts[v])
        rows.append((a, b, name, *(str(counts[v]) for v in ("A better", "tie", "B better")), untested))
    return rows


def _markdown(lines: Sequence[Line], sides: tuple[Side, Side]) -> str:
    parts = []
    for a, b in sides_of(lines):
        of_pair = [line for line in lines if (line.a, line.b) == (a, b)]
        parts.append(
            markdown_table(
                ("side", "method", "run"), [("A", a, str(sides[0].run.file)), ("B", b, str(sides[1].run.file))]
            )
        )
        parts.append(markdown_table(("task", *HEADS), [(line.task, *_cells(line)) for line in of_pair]))
        for task in dict.fromkeys(line.task for line in of_pair):
            parts += [f"{task}: {note}" for note in _notes([line for line in of_pair if line.task == task])]
    parts.append(markdown_table(("A", "B", "metric", "A wins", "ties", "A loses", "other"), _wins(lines)))
    return "\n\n".join([*parts, NOTE]) + "\n"
