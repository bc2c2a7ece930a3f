"""The credit line for images drawn after somebody's designs."""

from __future__ import annotations

from bench.results.run import Run


def credit(run: Run) -> str:
    """Return the line owed to the author of the training images; empty where the model is not one that ships here."""
    from bench.data.avatars import CREDIT
    from bench.models import list_models

    return CREDIT if run.rows["model"].iloc[0] in list_models() else ""
