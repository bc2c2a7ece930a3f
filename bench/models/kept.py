"""What is loaded from a model's folder once a process: several prompts, say, ask one network in other words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")


def once(most: int) -> Callable[[Callable[..., Loaded]], Callable[..., Loaded]]:
    """Keep the last few results of a function of a folder (its first argument) and of what can be hashed.

    A file of the folder that is written anew is read anew. Who gets a result shares it, and must not change it.

    Args:
        most: results that are kept at once.
    """

    def wrap(load: Callable[..., Loaded]) -> Callable[..., Loaded]:
        @functools.lru_cache(maxsize=most)
        def kept(_stamps: tuple[Any, ...], folder: Path, *args: Any, **options: Any) -> Loaded:
            return load(folder, *args, **options)

        @functools.wraps(load)
        def loaded(folder: Path, *args: Any, **options: Any) -> Loaded:
            return kept(_stamps(folder), folder, *args, **options)

        return loaded

    return wrap


def _stamps(folder: Path) -> tuple[Any, ...]:
    """Name, size and time of every file of a folder, and of those one level below."""
    files = (file for pattern in ("*", "*/*") for file in folder.glob(pattern))
    seen = ((str(file), file.stat()) for file in sorted(files) if file.is_file())
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in seen)
