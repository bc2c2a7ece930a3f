"""`compare`: two methods or runs, head to head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="METHOD (of leaderboards/quick), FOLDER or FOLDER:METHOD.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; a folder alone means the method that A names.")],
    task: Annotated[list[str] | None, typer.Option(help="A task's name or attributes; may be repeated.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric, or a pattern such as 'share_*'; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the lines as well: FILE.csv or FILE.md.")] = None,
) -> None:
    """Compare two methods or two finished runs, with a test of every difference."""
    from bench.comparison import head_to_head, show

    if out is not None:
        show.check_ending(out)
    left, right = head_to_head.read_sides(a, b)
    compared = finished.compare(
        left.run, left.method, right.method, other_run=right.run, task=task or (), metric=metric or ()
    )
    if out is not None:
        show.write(compared.lines, compared.sides, out)
    show.show(compared.lines, compared.sides, screen.out)
