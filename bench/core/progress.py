"""Progress bars with an ETA on a terminal; no output in pipes and tests."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(stderr=True)  # stdout is for results


@contextmanager
def bar() -> Iterator[Progress]:
    """Yield a progress display; nested calls share the outermost, since a terminal has only one bottom line."""
    global _current
    if _current is not None:
        yield _current
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (console.is_terminal and sys.stderr.isatty())
    ) as progress:
        _current = progress
        try:
            yield progress
        finally:
            _current = None


_current: Progress | None = None


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, with a line of progress.

    Args:
        items: to iterate over.
        what: description of the work.
        total: number of items, for the ETA; a sequence knows its length.
    """
    n = total if total is not None else len(items) if isinstance(items, Sequence) else None
    with bar() as progress:
        line = progress.add_task(what, total=n)
        try:
            for item in items:
                yield item
                progress.advance(line)
        finally:
            progress.remove_task(line)
