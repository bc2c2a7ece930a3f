"""`export`: the images of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def export(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv, beside its store.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder; nothing is written over.")],
    method: Annotated[
        list[str] | None, typer.Option(help="A method's title; may be repeated. All unless given.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="A task's name or attributes; may be repeated. All unless given.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="A seed; may be repeated. All unless given.")] = None,
) -> None:
    """Write the images of cells as PNG files, with a metadata.csv of their methods, tasks, seeds and classes."""
    exported = finished.export(run, folder, method=method or (), task=task or (), seed=seed or ())
    for cell in exported.left_out:
        screen.line(f"left out: {cell}: the store does not have all of its samples")
    screen.line(f"{exported.n:,} images: {exported.metadata}")
