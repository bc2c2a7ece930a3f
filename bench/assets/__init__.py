"""Embedded weights: one folder per asset, with its training recipe and the record of the training.

`prompts/` holds the prompts of image-text models, and no weights.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
CREDIT = "Faces: Avataaars by Pablo Stanley (avataaars.com, free for personal and commercial use), drawn with DiceBear."


def asset_folder(name: str) -> Path:
    """Return the folder of a shipped asset."""
    return HERE / name


def list_assets(kind: str) -> dict[str, str]:
    """Return the names of the shipped assets whose recipe is of a kind, with the first line of its comment."""
    assets = {}
    for recipe in sorted(HERE.glob("*/recipe.yaml")):
        text = recipe.read_text(encoding="utf-8")
        if f"kind: {kind}\n" in text:
            assets[recipe.parent.name] = text.splitlines()[0].lstrip("# ")
    return assets
