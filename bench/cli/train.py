"""`train`: a recipe to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen
from bench.core.errors import UnknownName


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped asset's name, or a recipe file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the weights; models/NAME unless given.")] = None,
    force: Annotated[bool, typer.Option(help="Start again from nothing.")] = False,
) -> None:
    """Train from a recipe, or go on where the folder stopped."""
    from bench.assets import asset_folder, list_assets
    from bench.training import train_recipe

    known = [name for kind in ("score_model", "text_to_image", "classifier", "clip") for name in list_assets(kind)]
    path = Path(recipe)
    if not recipe.endswith((".yaml", ".yml")):
        if recipe not in known:
            raise UnknownName("recipe", recipe, [*known, "FILE.yaml"])
        path = asset_folder(recipe) / "recipe.yaml"
    name = recipe if recipe in known else path.stem
    record = train_recipe(path, out or Path("models") / name, force)
    screen.out.print({k: v for k, v in record.items() if k != "recipe"})
