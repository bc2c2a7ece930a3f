"""Ctrl-C and worker processes: the process that was started by the user alone answers it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def ignore() -> None:
    """Ignore Ctrl-C in this process from now on; the process that started it ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; processes that are started in it hold it back for good.

    A process inherits the signals that are held back. Otherwise one that is interrupted while it imports, before it can
    call `ignore`, prints a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
