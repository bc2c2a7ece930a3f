"""What a call writes, and how long it may take: kept by the interpreter's own audit events and alarm."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.font_manager  # noqa: F401 -- makes its folders now, and not while writes are watched

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")
_written: list[str] | None = None
_hooked = False


@contextmanager
def writes_below(*folders: Path) -> Iterator[None]:
    """Fail where Python code opens a file for writing, or makes, renames or removes one, outside some folders.

    What a library writes from C is not seen.
    """
    global _written, _hooked
    if not _hooked:
        sys.addaudithook(_note)  # for the life of the process; without a list it notes nothing
        _hooked = True
    _written = []
    try:
        yield
        written = _written
    finally:
        _written = None
    allowed = [os.path.realpath(folder) for folder in folders]
    outside = [path for path in written if not _below(os.path.realpath(path), allowed)]
    assert not outside, outside


def _below(path: str, allowed: Sequence[str]) -> bool:
    return path == os.devnull or any(path == folder or path.startswith(folder + os.sep) for folder in allowed)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is None:
        return
    if event == "open":
        path, _, flags = arguments
        writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writing and isinstance(path, str | bytes | os.PathLike):
            _written.append(os.path.abspath(os.fsdecode(path)))
    elif event in CHANGES:
        paths = arguments[:2] if event in ("os.rename", "os.symlink", "os.link") else arguments[:1]
        _written.extend(os.path.abspath(os.fsdecode(p)) for p in paths if isinstance(p, str | bytes | os.PathLike))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a call that does not come back."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not back after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
