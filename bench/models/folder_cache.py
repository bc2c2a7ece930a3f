"""Cache objects loaded from a model's folder, so that several prompts share one network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
Loaded = TypeVar("Loaded")
Load = Callable[Concatenate[Path, P], Loaded]
Stamps = tuple[tuple[str, int, int], ...]


def cached_by_folder(size: int) -> Callable[[Load[P, Loaded]], Load[P, Loaded]]:
    """Cache the last results of a function of a folder (its first argument) and of hashable arguments.

    A change of a file of the folder invalidates its entries. Callers share a result and must not change it.

    Args:
        size: number of cached results.
    """

    def wrap(load: Load[P, Loaded]) -> Load[P, Loaded]:
        @functools.lru_cache(maxsize=size)
        def cached(_stamps: Stamps, folder: Path, /, *args: P.args, **options: P.kwargs) -> Loaded:
            return load(folder, *args, **options)

        @functools.wraps(load)
        def loaded(folder: Path, /, *args: P.args, **options: P.kwargs) -> Loaded:
            return cached(_stamps(folder), folder, *args, **options)  # type: ignore[arg-type] # they are hashable

        return loaded

    return wrap


def _stamps(folder: Path) -> Stamps:
    """Return name, size and time of every file of a folder and of its subfolders."""
    files = sorted(file for pattern in ("*", "*/*") for file in folder.glob(pattern))
    statuses = ((str(file), file.stat()) for file in files if file.is_file())
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in statuses)
