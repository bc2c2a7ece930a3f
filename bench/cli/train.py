"""`train`: a recipe to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.cli import screen


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped asset's name, or a recipe file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the weights; models/NAME unless given.")] = None,
    force: Annotated[bool, typer.Option(help="Start again from nothing.")] = False,
) -> None:
    """Train from a recipe, or go on where the folder stopped."""
    record = api.train(recipe, out, force)
    screen.out.print({k: v for k, v in record.items() if k != "recipe"})
