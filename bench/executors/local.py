"""Jobs in this process, or spread over worker processes of this machine: the default, which needs nothing else."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from bench.errors import ConfigError
from bench.executors.queue import Queue
from bench.jobs import Job, guarded, one_thread


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
    """Run jobs as soon as what they wait for has succeeded: the longest groups first, then in the list's order.

    Args:
        jobs: what one waits for stands before it.
        workers: worker processes; with 1, everything runs in this process, in the list's order.
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
        _spread(Queue(jobs, on_end), executor, 2 * workers)


def _spread(queue: Queue, executor: ProcessPoolExecutor, most: int) -> None:
    running: dict[Future[Any], Job] = {}
    while queue.open:
        while len(running) < most and (job := queue.take()):
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
            queue.end(job)
