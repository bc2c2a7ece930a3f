"""Labelled image sets behind one protocol, found by name."""

from __future__ import annotations

from bench.data.base import LabelledImages
from bench.errors import UnknownName


def list_data() -> dict[str, str]:
    """Names of the known sets, with what each is for."""
    from bench.data.avatars import SETS

    return {name: s.what for name, s in SETS.items()}


def load_data(name: str, n: int | None = None, size: int = 32) -> LabelledImages:
    """A named set.

    Args:
        name: as `list_data` has it.
        n: how many images, the set's own number unless given; a longer set begins with the shorter one.
        size: side in pixels.

    Raises:
        UnknownName: no such set.
        ConfigError: n or size is out of range.
    """
    from bench.data.avatars import SETS, avatar_faces

    if name not in SETS:
        raise UnknownName("data set", name, SETS)
    chosen = SETS[name]
    return avatar_faces(chosen.joint, chosen.seed, chosen.n if n is None else n, size, name)
