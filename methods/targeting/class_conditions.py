"""The model's conditions that ask for the classes of a task."""

from __future__ import annotations

from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.protocols.model import DiffusionModel


def class_conditions(model: DiffusionModel, groups: Attribute) -> list[int]:
    """Return the model's condition for every class, as indices into `model.conditions`.

    Raises:
        Incompatible: the model lacks one of them.
    """
    names = [f"{groups.name}={c}" for c in groups.classes]
    for name in names:
        if name not in model.conditions:
            raise Incompatible(
                f"model {model.name} cannot be asked for {name}; choose a model conditioned on every class of "
                f"{groups.name}, or a task on an attribute that it knows"
            )
    return [model.conditions.index(name) for name in names]
