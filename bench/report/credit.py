"""The credit line for images drawn after somebody's designs."""

from __future__ import annotations

from bench.assets import CREDIT, list_assets
from bench.results.run import Run


def credit(run: Run) -> str:
    """Return the line owed to the author of the training images; empty where the model is not one that ships here."""
    shipped = {**list_assets("score_model"), **list_assets("text_to_image")}
    return CREDIT if run.rows["model"].iloc[0] in shipped else ""
