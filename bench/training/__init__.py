"""Training from recipe files: one entry for every kind of recipe, which can stop and go on at any time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError
from bench.core.provenance import commit, versions
from bench.storage.files import write_bytes, write_json

RECORD = "training.json"  # beside the weights: what was trained, with what, on what


def train_recipe(recipe: Path, folder: Path, force: bool = False) -> dict[str, Any]:
    """Train what a recipe file describes into a folder, or go on where the folder stopped.

    Args:
        recipe: the recipe file; a copy of it is left in the folder.
        folder: where weights, configuration and record go; may hold an unfinished training of the same recipe.
        force: start again from nothing, whatever the folder holds.

    Returns:
        The record of the training, which is also in the folder's training.json: steps, losses, data, the recipe,
        package versions and the commit. A folder that is finished gives its record without training.

    Raises:
        ConfigError: the recipe is not valid, or the folder holds a training of another recipe.
    """
    from bench.core.progress import console
    from bench.training.recipe import ClassifierRecipe, ClipRecipe, TextToImageRecipe, read_recipe

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
    if isinstance(parsed, ClassifierRecipe):
        from bench.training.classifier import train_classifier

        result = train_classifier(parsed, folder)
    elif isinstance(parsed, ClipRecipe):
        from bench.training.clip import train_clip

        result = train_clip(parsed, folder)
    elif isinstance(parsed, TextToImageRecipe):
        from bench.training.text_to_image import train_text_to_image

        result = train_text_to_image(parsed, folder)
    else:
        from bench.training.score_model import train_score_model

        result = train_score_model(parsed, folder)
    made_with = {"versions": versions(), "commit": commit()}
    record = {"finished": True, "result": result, "recipe": settings, **made_with}
    write_json(folder / RECORD, record)
    _forget_checkpoints(folder)
    return record


def _forget_checkpoints(folder: Path) -> None:
    for file in folder.glob("checkpoint*.pt"):  # one a cycle
        file.unlink(missing_ok=True)


def _record_of(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record
