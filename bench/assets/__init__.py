"""The embedded weights: one folder each, with the recipe they were trained from and the record of the training.

`prompts/` holds none: it is the words that image-text models are asked in.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def asset_folder(name: str) -> Path:
    """The folder of a shipped asset."""
    return HERE / name


def list_assets(kind: str) -> dict[str, str]:
    """Names of the shipped assets whose recipe is of a kind, with the first line of the recipe's comment."""
    found = {}
    for recipe in sorted(HERE.glob("*/recipe.yaml")):
        text = recipe.read_text(encoding="utf-8")
        if f"kind: {kind}\n" in text:
            found[recipe.parent.name] = text.splitlines()[0].lstrip("# ")
    return found
