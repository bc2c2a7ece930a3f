"""Jobs in this process, or spread over worker processes of this machine: the default, which needs nothing else."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import cast

from bench.core import interrupts
from bench.core.errors import ConfigError
from bench.engine.executors.queue import Queue
from bench.engine.jobs import Job, guarded, one_thread
from bench.engine.resources import Resources

STARTS = 3  # workers in a row that may die before their first job: then none will live


@dataclass
class _Seat:
    """A place for a worker: its process, its job, and the job's start.

    Attributes:
        process: of `_live`.
        line: jobs go out, and their ends come back; the first message says that the process has started.
        started: whether that message has come.
        job: the job it runs now.
        since: the clock's seconds when the job began; a worker that starts has not begun.
        group: of its last job.
    """

    process: SpawnProcess
    line: Connection
    started: bool = False
    job: Job | None = None
    since: float = 0.0
    group: str = ""

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.line.close()


def run_jobs(
    jobs: list[Job],
    workers: int,
    on_end: Callable[[Job], None],
    seconds: float | None = None,
    resources: Resources | None = None,
) -> None:
    """Run jobs as soon as what they wait for has succeeded: the longest groups first, a group on few workers.

    A job whose worker dies, or that takes too long, is handed out again, as `Queue.lost` bounds it.

    Args:
        jobs: each behind those that it waits for.
        workers: worker processes; with 1 and no limit, everything runs in this process, in the list's order.
        on_end: called when a job has ended, however it did.
        seconds: that a job may take; None waits for ever.
        resources: of this process; worker processes have their own.

    Raises:
        ConfigError: workers die before their first job.
    """
    if workers == 1 and seconds is None:
        _run_here(jobs, on_end, resources or Resources())
        return
    seats: list[_Seat] = []
    with _threads_of_one():
        try:
            _hand_out(Queue(jobs, on_end), seats, workers, seconds)
        finally:
            for seat in seats:
                seat.end()


def _run_here(jobs: list[Job], on_end: Callable[[Job], None], resources: Resources) -> None:
    one_thread()
    for job in jobs:
        if not job.settle_from_needs():
            job.status, job.reason, job.result = guarded(job.call, (resources, *job.args))
        on_end(job)


@contextmanager
def _threads_of_one() -> Iterator[None]:
    """Set the thread counts that workers read when they start, before their first import."""
    saved = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(saved, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _seat() -> _Seat:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_live, args=(there,))
    process.start()
    there.close()  # so that the line ends with the process
    return _Seat(process, here)


def _live(line: Connection) -> None:
    """Run one job after another in a worker process, until the line is closed or nobody listens."""
    interrupts.ignore()
    one_thread()
    resources = Resources()
    with suppress(EOFError, ConnectionError):
        line.send(None)
        while True:
            call, args = line.recv()
            line.send(guarded(call, (resources, *args)))


def _hand_out(queue: Queue, seats: list[_Seat], workers: int, seconds: float | None) -> None:
    unborn = 0  # workers in a row that died before their first job
    while queue.open:
        _fill(queue, seats, workers)
        for seat, gone in _messages(seats, seconds):
            job = cast(Job, seat.job)
            if not gone:
                unborn = 0
                if job.status != "waiting":
                    seat.job = None
                    queue.end(job)
                continue
            seat.end()
            seats.remove(seat)
            if seat.started:
                queue.lost(job, gone)
                continue
            unborn += 1
            if unborn == STARTS * workers:
                raise ConfigError(
                    f"{gone}, before its first job, as did {unborn - 1} others; run with --workers 1, which needs no "
                    "other process, and without --job-timeout"
                )
            queue.again(job)


def _fill(queue: Queue, seats: list[_Seat], workers: int) -> None:
    """Give every idle worker a job, and start workers while there are jobs for them."""
    for dead in [seat for seat in seats if seat.job is None and not seat.process.is_alive()]:
        dead.end()
        seats.remove(dead)
    idle = [seat for seat in seats if seat.job is None]
    while idle or len(seats) < workers:
        seat = idle.pop() if idle else None
        job = queue.take(seat.group if seat else "", {other.group for other in seats if other.job})
        if job is None:
            return
        if seat is None:
            with interrupts.held_back():
                seat = _seat()
                seats.append(seat)
        seat.job, seat.group, seat.since = job, job.group, time.monotonic()
        with suppress(ConnectionError):  # it died; its sentinel says so
            seat.line.send((job.call, job.args))


def _messages(seats: Sequence[_Seat], seconds: float | None) -> list[tuple[_Seat, str]]:
    """Return the workers that sent a message, with "", and those to give up, each with the reason."""
    busy = [seat for seat in seats if seat.job is not None]
    ends = [end for seat in busy for end in (seat.line, seat.process.sentinel)]
    ready = connection.wait(ends, None if seconds is None else min(1.0, seconds / 4))
    heard = []
    for seat in busy:
        if seat.line in ready or seat.process.sentinel in ready:
            heard.append((seat, _hear(seat)))
        elif seconds is not None and seat.started and time.monotonic() - seat.since > seconds:
            heard.append((seat, f"it took longer than {seconds:g} seconds"))
    return heard


def _hear(seat: _Seat) -> str:
    """Take in the message of a worker; return why it is to be given up, or nothing."""
    job = cast(Job, seat.job)
    try:
        message = seat.line.recv()
    except (EOFError, ConnectionError):
        seat.process.join()
        return f"a worker process died (exit code {seat.process.exitcode}), perhaps for want of memory"
    if message is None:
        seat.started, seat.since = True, time.monotonic()
    else:
        job.status, job.reason, job.result = message
    return ""
