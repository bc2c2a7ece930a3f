"""Jobs for the tests of the Ray executor, in a module that a worker imports in no time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.core.errors import ConfigError


def add(_: object, a: int, b: int) -> int:
    """Their sum."""
    return a + b


def refuse(_: object) -> None:
    """Fail as a user's error does."""
    raise ConfigError("no")


def die(_: object, log: Path) -> None:
    """Note it, and take the worker along."""
    with log.open("a") as f:
        f.write("died\n")
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(_: object, log: Path) -> str:
    """Take the worker along, the first time."""
    if log.exists():
        return "lived"
    log.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def hang(_: object, log: Path) -> None:
    """Note it, and do not come back."""
    with log.open("a") as f:
        f.write("hung\n")
    time.sleep(600)
