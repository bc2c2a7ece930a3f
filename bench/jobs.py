"""Jobs that depend on one another, run in this process or spread over local worker processes."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError, ConfigError, Incompatible


@dataclass
class Job:
    """A call, what it waits for, and how it ended.

    Attributes:
        call: a function that can be pickled by name.
        args: its arguments.
        after: jobs that must have succeeded first; if one did not, this one ends as it did.
        rows: how much of the progress bar it is.
        status: "waiting", "ok", "skipped" or "failed".
        reason: why it was skipped or failed.
        result: what the call returned.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    after: tuple[Job, ...] = ()
    rows: int = 0
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
    except MemoryError:
        return "failed", "out of memory; use a smaller --compute-batch or fewer --workers", None
    except Exception:  # noqa: BLE001 -- a defect in one cell must not lose the others
        return "failed", traceback.format_exc(), None


def one_thread() -> None:
    """Give a worker one thread: the same bytes whatever the number of workers, and no contention among them."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, also when it is interrupted."""
    context = multiprocessing.get_context("spawn")
    saved = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(saved, "1"))  # read when a worker starts, before its first import
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread)
    try:
        yield executor
    except BaseException:
        for process in list((getattr(executor, "_processes", None) or {}).values()):
            process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    executor.shutdown()


def run_jobs(jobs: list[Job], workers: int, on_end: Callable[[Job], None]) -> None:
    """Run jobs in order of their place in the list, as soon as what they wait for has succeeded.

    Args:
        jobs: in order of preference.
        workers: worker processes; with 1, everything runs in this process.
        on_end: called when a job has ended, however it did.

    Raises:
        ConfigError: a worker process died, as for want of memory.
    """
    if workers == 1:
        one_thread()
        for job in jobs:
            if not job.settle_from_needs():
                job.status, job.reason, job.result = guarded(job.call, job.args)
            on_end(job)
        return
    with pool(workers) as executor:
        _spread(jobs, executor, on_end, 2 * workers)


def _spread(jobs: list[Job], executor: ProcessPoolExecutor, on_end: Callable[[Job], None], most: int) -> None:
    waiting, running = list(jobs), dict[Future[Any], Job]()
    while waiting or running:
        for job in list(waiting):
            if job.settle_from_needs():
                waiting.remove(job)
                on_end(job)
            elif len(running) < most and all(need.status == "ok" for need in job.after):
                waiting.remove(job)
                running[executor.submit(guarded, job.call, job.args)] = job
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            try:
                job.status, job.reason, job.result = future.result()
            except BrokenProcessPool as error:
                raise ConfigError(
                    "a worker process died, perhaps for want of memory; run the same command again to go on from "
                    "here, with fewer --workers or a smaller --compute-batch"
                ) from error
            on_end(job)
