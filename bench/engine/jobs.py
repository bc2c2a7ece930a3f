"""Jobs that depend on one another, and how each of them ends."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bench.core.errors import BenchError, Incompatible


class JobEnd(NamedTuple):
    """The end of a job.

    Attributes:
        status: "ok", "skipped" or "failed".
        reason: why it was skipped or failed.
        result: of the call, where it returned.
    """

    status: Literal["ok", "skipped", "failed"]
    reason: str
    result: object


@dataclass
class Job:
    """A call, what it waits for, and how it ended.

    Attributes:
        call: a function that can be pickled by name; its first argument is the `Resources` of the process it runs in.
        args: its other arguments.
        after: jobs that must have succeeded first; if one did not, this one ends as it did.
        rows: its share of the progress bar.
        group: jobs of a group load the same resources; a worker prefers jobs of its last one's group.
        weight: how long its group takes, in any unit; the longest begin first.
        together: every distributed process makes the call; without distributed processes it means nothing.
        status: "waiting", "ok", "skipped" or "failed".
        reason: why it was skipped or failed.
        result: of the call, where it returned.
    """

    call: Callable[..., object]
    args: tuple[object, ...]
    after: tuple[Job, ...] = ()
    rows: int = 0
    group: str = ""
    weight: float = 0.0
    together: bool = False
    status: Literal["waiting", "ok", "skipped", "failed"] = "waiting"
    reason: str = ""
    result: object = field(default=None, repr=False)

    def settle_from_needs(self) -> bool:
        """Return whether a job it waits for did not succeed; then this one ends likewise."""
        for need in self.after:
            if need.status in ("skipped", "failed"):
                self.status, self.reason = need.status, need.reason
                return True
        return False


def guarded(call: Callable[..., object], args: tuple[object, ...]) -> JobEnd:
    """Make a call, and turn its exceptions into a status and a reason: the boundary of a job, and of a metric in one.

    A user's error keeps its sentence; a defect keeps its traceback as well.
    """
    try:
        return JobEnd("ok", "", call(*args))
    except Incompatible as error:
        return JobEnd("skipped", str(error), None)
    except BenchError as error:
        return JobEnd("failed", str(error), None)
    except Exception as error:  # noqa: BLE001 -- a defect in one cell must not lose the others
        if out_of_memory(error):
            return JobEnd("failed", "out of memory; use a smaller --compute-batch or fewer --workers", None)
        return JobEnd("failed", traceback.format_exc(), None)


def out_of_memory(error: Exception) -> bool:
    """Return whether an exception says that memory, of the machine or of an accelerator, ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's on a CPU


def one_thread() -> None:
    """Give a worker one thread: the same bytes whatever the number of workers, and no contention among them."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)
