"""Jobs that depend on one another, and how each of them ends."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.core.errors import BenchError, Incompatible


@dataclass
class Job:
    """A call, what it waits for, and how it ended.

    Attributes:
        call: a function that can be pickled by name.
        args: its arguments.
        after: jobs that must have succeeded first; if one did not, this one ends as it did.
        rows: how much of the progress bar it is.
        group: what it loads; an executor whose workers keep what they loaded prefers jobs of the last one's group.
        weight: how long its group takes, in any unit; the longest begin first.
        together: every rank of a group makes the call, where jobs run on one; elsewhere it means nothing.
        status: "waiting", "ok", "skipped" or "failed".
        reason: why it was skipped or failed.
        result: what the call returned.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    after: tuple[Job, ...] = ()
    rows: int = 0
    group: str = ""
    weight: float = 0.0
    together: bool = False
    status: str = "waiting"
    reason: str = ""
    result: Any = field(default=None, repr=False)

    def settle_from_needs(self) -> bool:
        """Whether a job it waits for did not succeed; then this one ends likewise."""
        for need in self.after:
            if need.status in ("skipped", "failed"):
                self.status, self.reason = need.status, need.reason
                return True
        return False


def guarded(call: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, str, Any]:
    """The one boundary at which a worker's exceptions become a status and a reason.

    A user's error keeps its sentence; a defect keeps its traceback as well.
    """
    try:
        return "ok", "", call(*args)
    except Incompatible as error:
        return "skipped", str(error), None
    except BenchError as error:
        return "failed", str(error), None
    except Exception as error:  # noqa: BLE001 -- a defect in one cell must not lose the others
        if out_of_memory(error):
            return "failed", "out of memory; use a smaller --compute-batch or fewer --workers", None
        return "failed", traceback.format_exc(), None


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory, of the machine or of an accelerator, ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's on a CPU


def one_thread() -> None:
    """Give a worker one thread: the same bytes whatever the number of workers, and no contention among them."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)
