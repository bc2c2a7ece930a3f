"""Pauses of Python's cycle collector, for hundreds of thousands of objects that live on.

The collector would go through all of them again and again, and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Collect no cycles within the block: it makes many objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Keep the objects that exist out of every collection within the block."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
