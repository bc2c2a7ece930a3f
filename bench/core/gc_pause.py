"""Many objects that live on: the collector of cycles would go through all of them again and again, and find nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def many_made() -> Iterator[None]:
    """Make objects by the hundred thousand, without a search for cycles in between."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def kept() -> Iterator[None]:
    """Keep what there is by now out of the searches for cycles."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
