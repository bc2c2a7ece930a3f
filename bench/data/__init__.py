"""Labelled image sets behind one protocol, found by name."""

from __future__ import annotations

from collections.abc import Iterable

from bench.config.data_source import DataSource, shipped
from bench.config.shipped_sets import SETS
from bench.core.errors import ConfigError
from bench.protocols.images import LabelledImages

SIZE = 32  # pixels a side where neither the caller nor the declaration says


def list_data() -> dict[str, str]:
    """Names of the shipped sets, with what each is for."""
    return {name: s.purpose for name, s in SETS.items()}


def list_formats() -> dict[str, str]:
    """Names of the formats of files that a set can be declared in, with what lies where."""
    from bench.core.plugins import load, names

    found = ((name, load("data format", name, "Format")) for name in names("data format"))
    return {name: (format.__doc__ or "").strip().splitlines()[0].rstrip(".") for name, format in found}


def say_left_out(sets: Iterable[LabelledImages]) -> None:
    """Name on the terminal the files that were tolerated as unusable, each once."""
    from bench.core.progress import console

    for line in dict.fromkeys(f"left out of {data.name}: {line}" for data in sets for line in data.left_out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def load_data(source: str | DataSource, n: int | None = None, size: int | None = None) -> LabelledImages:
    """A shipped set by its name, or a declared one.

    Args:
        source: as `list_data` has it, or a declaration.
        n: how many images, the set's own number unless given; a longer set begins with the shorter one, save where
            quotas decide.
        size: side in pixels, the declaration's unless given.

    Raises:
        UnknownName: no such set.
        ConfigError: n or size is out of range or not the declared one, or the files are not as they must be.
    """
    from bench.data.assembly import assemble
    from bench.data.avatars import avatar_faces

    if isinstance(source, str):
        source = shipped(source)
    if None not in (n, source.n) and int(n or 0) > int(source.n or 0):
        raise ConfigError(f"data set {source.title} is declared with n = {source.n}, got n = {n}; ask for fewer images")
    if None not in (size, source.size) and size != source.size:
        raise ConfigError(
            f"data set {source.title} must have the size of the images it is held against, {size}, got {source.size}; "
            "leave `size` out"
        )
    n = source.n if n is None else n
    size = size or source.size or SIZE
    if source.name not in SETS:
        return assemble(source, n, size)
    chosen = SETS[source.name]
    return avatar_faces(chosen.joint, chosen.seed, chosen.n if n is None else n, size, source.title)
