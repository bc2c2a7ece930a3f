"""Target distributions as files give them: "uniform", one share per class, or shares by the classes' names."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator

from bench.core.attributes import check_distribution
from bench.core.errors import ConfigError


def _distribution(target: Any) -> Any:
    """Check all but the number and the names of the classes, which only the classifier or the image set knows.

    Raises:
        ValueError: no distribution.
    """
    if target == "uniform" or target is None:
        return target
    shares = list(target.values()) if isinstance(target, dict) else target
    if not isinstance(shares, list | tuple) or not all(type(share) in (int, float) for share in shares):
        raise ValueError(
            f'target must be "uniform", a list of numbers, one per class, or the numbers by class name, got '
            f"{target!r:.80}"
        )
    if isinstance(target, dict):
        target = {str(name) if type(name) is int else name: share for name, share in target.items()}
        if not all(isinstance(name, str) for name in target):  # YAML reads yes and no as true and false
            raise ValueError(f'target must have texts as class names, got {target!r:.80}; quote them, as in "yes": 0.9')
    try:
        check_distribution(shares, len(shares), "target")
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return target


Target: TypeAlias = Annotated[Literal["uniform"] | tuple[float, ...] | dict[str, float], BeforeValidator(_distribution)]
