"""A ranking as a table: on the terminal, as CSV, as Markdown."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.comparison.ranking import RankedMethod, Ranking
from bench.comparison.show import check_ending
from bench.core.csv_text import to_csv
from bench.core.rounding import shown
from bench.core.text import markdown_table
from bench.core.value import Value
from bench.storage.files import write_bytes

HEADS = ("method", "groups", "{metric}", "mean rank", "Fréchet / vanilla", "NFE", "backward", "calls of the fit")


def show(ranking: Ranking, console: Console) -> None:
    """Print the table and its remarks."""
    table = Table()
    for head in heads(ranking):
        table.add_column(head, justify="left" if head in ("method", "groups") else "right")
    for method in ranking.methods:
        table.add_row(*map(escape, cells(method)))
    console.print(table)
    for remark in remarks(ranking):
        console.print(remark, markup=False, soft_wrap=True)


def write(ranking: Ranking, out: Path) -> None:
    """Write the table as CSV with numbers unrounded, or as Markdown with its remarks, by the file's ending.

    Raises:
        ConfigError: another ending, or the file cannot be written.
    """
    check_ending(out)
    text = to_csv(ranking.records()) if out.suffix == ".csv" else markdown(ranking)
    write_bytes(out, text.encode())


def markdown(ranking: Ranking) -> str:
    """Return the table and its remarks as Markdown."""
    rows = [cells(method) for method in ranking.methods]
    return "\n\n".join([markdown_table(heads(ranking), rows), *remarks(ranking)]) + "\n"


def heads(ranking: Ranking) -> tuple[str, ...]:
    """Return the heads of the columns."""
    return tuple(head.replace("{metric}", f"{ranking.metric} ↓") for head in HEADS)


def cells(ranked: RankedMethod) -> tuple[str, ...]:
    """Return a method's row."""
    nfe, backward, fit, fit_backward = ranked.costs
    of_fit = None if fit is None or fit_backward is None else fit + fit_backward
    return (
        *(ranked.method, ranked.groups, _interval(ranked.discrepancy), f"{ranked.rank:.1f}"),
        "" if ranked.frechet_ratio is None else _interval(ranked.frechet_ratio),
        *("" if cost is None else f"{cost:,.0f}" for cost in (nfe, backward, of_fit)),
    )


def _interval(value: Value) -> str:
    text, *ends = shown(value.value, value.low, value.high, "brackets")
    return f"{text} [{', '.join(ends)}]" if ends else text


def remarks(ranking: Ranking) -> list[str]:
    """Return the sentences under the table."""
    tasks = f"{len(ranking.tasks)} {'tasks' if len(ranking.tasks) > 1 else 'task'} ({', '.join(ranking.tasks)})"
    seeds = f"{ranking.seeds} {'seeds' if ranking.seeds > 1 else 'seed'}"
    lines = [
        f"Mean over {tasks} and {seeds}, with the 95 % interval. Two methods without a common letter differ "
        "significantly (the test of `compare` on every task, errors of the tasks added, Holm over all pairs, 5 %). "
        f"Such a test finds a true difference of {ranking.detectable:.3f} in 80 of 100 runs.",
        "NFE and backward passes are per image; calls of the fit are forward and backward passes of the network, once.",
    ]
    lines += [f"{method} is left out: {reason}." for method, reason in ranking.left_out.items()]
    return lines
