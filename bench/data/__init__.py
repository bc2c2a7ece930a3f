"""Labelled image sets by name or declaration, behind one protocol (`bench.protocols.images`)."""

from __future__ import annotations

from collections.abc import Iterable

from bench.config.data_source import DataSource, shipped
from bench.config.shipped_sets import SETS
from bench.core.errors import ConfigError
from bench.protocols.images import LabelledImages

SIZE = 32  # default side of an image, in pixels


def list_data() -> dict[str, str]:
    """Return the names of the shipped sets, with the purpose of each."""
    return {name: s.purpose for name, s in SETS.items()}


def list_formats() -> dict[str, str]:
    """Return the names of the formats in which a set can be declared, with the files of each; or why it has none."""
    from bench.core.plugins import broken, loaded

    formats = loaded("data format", "Format")
    described = {name: (f.__doc__ or "-").strip().partition("\n")[0].rstrip(".") for name, f in formats.items()}
    return described | {name: f"cannot be used: {reason}" for name, reason in broken("data format").items()}


def print_left_out(sets: Iterable[LabelledImages]) -> None:
    """Print each unusable file that was tolerated, once, on stderr."""
    from bench.core.progress import console

    for line in dict.fromkeys(f"left out of {data.name}: {line}" for data in sets for line in data.left_out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def load_data(source: str | DataSource, n: int | None = None, size: int | None = None) -> LabelledImages:
    """Return a shipped or a declared set; its images are decoded on first access.

    Args:
        source: a name of `list_data`, or a declaration.
        n: number of images, by default that of the set; a longer set begins with the shorter one, except under
            quotas.
        size: side in pixels, by default that of the declaration, else 32.

    Raises:
        UnknownName: no such set.
        ConfigError: n or size is out of range or not the declared one, or the files do not have their format.
    """
    from bench.data.assembly import assemble
    from bench.data.avatars import avatar_faces

    if isinstance(source, str):
        source = shipped(source)
    if None not in (n, source.n) and int(n or 0) > int(source.n or 0):
        raise ConfigError(f"data set {source.title} is declared with n = {source.n}, got n = {n}; ask for fewer images")
    if None not in (size, source.size) and size != source.size:
        raise ConfigError(
            f"data set {source.title} must have the size of the images it is compared with, {size}, got {source.size}; "
            "leave `size` out"
        )
    n = source.n if n is None else n
    size = size or source.size or SIZE
    if source.name not in SETS:
        return assemble(source, n, size)
    chosen = SETS[source.name]
    return avatar_faces(chosen.joint, chosen.seed, chosen.n if n is None else n, size, source.title)
