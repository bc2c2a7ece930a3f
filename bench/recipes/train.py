"""Train the network of a recipe file; an interrupted training resumes when it is started again."""

from __future__ import annotations

import json
from pathlib import Path

from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError, UnknownName
from bench.core.progress import console
from bench.core.provenance import commit, versions
from bench.recipes.recipe import AnyRecipe, ClassifierRecipe, ClipRecipe, Record, TextToImageRecipe, read_recipe
from bench.storage.files import write_bytes, write_json

RECORD = "training.json"  # beside the weights: recipe, losses, data and package versions


def recipe_named(recipe: str) -> tuple[Path, str]:
    """Return the file of a recipe, given a shipped asset's name or a YAML file, and the name of what it trains.

    Raises:
        UnknownName: no shipped asset has this name.
    """
    if Path(recipe).suffix in (".yaml", ".yml"):
        return Path(recipe), Path(recipe).stem
    names = [name for kind in ("score_model", "text_to_image", "classifier", "clip") for name in list_assets(kind)]
    if recipe not in names:
        raise UnknownName("recipe", recipe, [*names, "FILE.yaml"])
    return asset_folder(recipe) / "recipe.yaml", recipe


def train_recipe(recipe: Path, folder: Path, force: bool = False) -> Record:
    """Train the network of a recipe file into a folder, or resume the unfinished training that the folder holds.

    Args:
        recipe: the recipe file; a copy of it is left in the folder.
        folder: for weights, configuration and record; may hold an unfinished training of the same recipe.
        force: start again, whatever the folder holds.

    Returns:
        The record of the training, which is also in the folder's training.json: steps, losses, data, the recipe,
        package versions and the commit. For a finished folder its record is returned without training.

    Raises:
        ConfigError: the recipe is not valid, or the folder holds a training of another recipe.
    """
    parsed = read_recipe(recipe)
    settings = parsed.model_dump(mode="json")
    if force:
        _forget_checkpoints(folder)
    else:
        record = _record_of(folder)
        if record and record.get("recipe") != settings:
            raise ConfigError(
                f"{folder} holds a training of another recipe; choose another folder or force a new start"
            )
        if record and record.get("finished"):
            console.print(f"{folder} holds the finished weights of this recipe already; force to train them again")
            return record
    write_json(folder / RECORD, {"finished": False, "recipe": settings})
    if not (folder / "recipe.yaml").is_file() or not recipe.samefile(folder / "recipe.yaml"):
        write_bytes(folder / "recipe.yaml", recipe.read_bytes())
    result = _train(parsed, folder)
    made_with = {"versions": versions(), "commit": commit()}
    record = {"finished": True, "result": result, "recipe": settings, **made_with}
    write_json(folder / RECORD, record)
    _forget_checkpoints(folder)
    return record


def _train(recipe: AnyRecipe, folder: Path) -> Record:
    if isinstance(recipe, ClassifierRecipe):
        from bench.recipes.classifier import train_classifier

        return train_classifier(recipe, folder)
    if isinstance(recipe, ClipRecipe):
        from bench.recipes.clip import train_clip

        return train_clip(recipe, folder)
    if isinstance(recipe, TextToImageRecipe):
        from bench.recipes.text_to_image import train_text_to_image

        return train_text_to_image(recipe, folder)
    from bench.recipes.score_model import train_score_model

    return train_score_model(recipe, folder)


def _forget_checkpoints(folder: Path) -> None:
    for file in folder.glob("checkpoint*.pt"):  # one per cycle
        file.unlink(missing_ok=True)


def _record_of(folder: Path) -> Record | None:
    try:
        record: Record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record
