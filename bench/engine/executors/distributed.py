"""Jobs on one group of distributed processes: guidance batches by all of them together, other jobs by the first."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import cast

from bench.core import interrupts
from bench.core.errors import ConfigError
from bench.engine.jobs import Job, JobEnd, guarded, one_thread
from bench.engine.resources import Resources
from bench.sampling.distributed import SECONDS, ProcessLost, joined

GRACE = 2.0  # seconds from the first sign of trouble to the verdict: who waits in vain often hears of it first
Answer = tuple[bool, JobEnd]  # whether another process was lost, and how the job ended


@dataclass(frozen=True)
class _Member:
    """A process of the group, and the line on which jobs go out and answers come back."""

    process: ForkServerProcess
    line: Connection


def run_jobs(jobs: list[Job], count: int, device: str, on_end: Callable[[Job], None], seconds: float = SECONDS) -> None:
    """Run jobs one after another, in the list's order; those that are `together` on every process.

    Args:
        jobs: each behind those that it waits for.
        count: number of processes; with "cuda" one per GPU.
        device: see `bench.sampling.distributed.joined`.
        on_end: called when a job has ended, however it did.
        seconds: that a process waits for the others, > 0.

    Raises:
        ConfigError: a process died, or did not answer in time.
    """
    with ExitStack() as open_groups:
        group: list[_Member] = []
        for job in jobs:
            if not job.settle_from_needs():
                group = group or open_groups.enter_context(_group(count, device, seconds))
                job.status, job.reason, job.result = _run(group if job.together else group[:1], job)
                if job.together and job.status == "failed":  # they may be out of step: the next job gets others
                    open_groups.close()
                    group = []
            on_end(job)


@contextmanager
def _group(count: int, device: str, seconds: float) -> Iterator[list[_Member]]:
    # The server imports once and forks each process from itself; it has touched no GPU, which no fork survives.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.engine.worker", "bench.models.ddim"])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        group = []
        for rank in range(count):
            here, there = context.Pipe()
            arguments = (there, rank, count, (Path(folder) / "meet").as_uri(), device, seconds)
            process = context.Process(target=_live, args=arguments, name=f"rank {rank}", daemon=True)
            with interrupts.held_back():
                process.start()
                group.append(_Member(process, here))
                ends.callback(_end, group[-1])
            there.close()
        yield group


def _end(member: _Member) -> None:
    member.process.kill()  # it may wait for a process that is gone, or be stopped
    member.process.join()
    member.line.close()


def _live(line: Connection, rank: int, count: int, where: str, device: str, seconds: float) -> None:
    """Run one job after another in a process of the group, until the line is closed."""
    interrupts.ignore()
    one_thread()
    resources = Resources()
    with ExitStack() as group:
        came = _watched(lambda: group.enter_context(joined(device, seconds, where, rank, count)), ())
        while True:
            try:
                call, args = line.recv()
            except EOFError:
                return
            line.send(_watched(call, (resources, *args)) if came[1].status == "ok" else came)


def _watched(call: Callable[..., object], args: tuple[object, ...]) -> Answer:
    """Return how a call ended, and whether that was because another process was lost."""
    lost = False

    def watched() -> object:
        nonlocal lost
        try:
            return call(*args)
        except ProcessLost:
            lost = True
            raise

    ended = guarded(watched, ())
    return lost, ended


def _run(members: list[_Member], job: Job) -> JobEnd:
    """Return how a job ended on some processes: as on the first, unless it went wrong on another.

    Raises:
        ConfigError: a process died, or did not answer in time.
    """
    for member in members:
        with suppress(BrokenPipeError):  # it died; its sentinel says so
            member.line.send((job.call, job.args))
    answers = _listen(members)
    ends = [end for _, (lost, end) in sorted(answers.items()) if not lost]
    for status in ("failed", "skipped"):
        for end in ends:
            if end.status == status:
                return end
    for member in (member for rank, member in enumerate(members) if rank not in answers):
        member.process.join(GRACE)  # its line may be closed some moments before its exit code is known
        if not member.process.is_alive():
            raise ConfigError(
                f"{member.process.name} died (exit code {member.process.exitcode}), perhaps for want of "
                "memory; run the same command again to go on from here, with a smaller --compute-batch"
            )
    for lost, end in answers.values():
        if lost:
            raise ConfigError(end.reason)
    return ends[0]


def _listen(members: list[_Member]) -> dict[int, Answer]:
    """Return the answers by rank: of all processes, or of those that answer soon after one failed or died."""
    answers: dict[int, Answer] = {}
    until: float | None = None
    silent = dict(enumerate(members))
    while silent and (until is None or time.monotonic() < until):
        left = None if until is None else max(until - time.monotonic(), 0)
        ready = connection.wait([end for m in silent.values() for end in (m.line, m.process.sentinel)], left)
        for rank, member in list(silent.items()):
            if member.line not in ready and member.process.sentinel not in ready:
                continue
            del silent[rank]
            with suppress(EOFError, ConnectionResetError):  # it died
                answers[rank] = cast(Answer, member.line.recv())
            if (rank not in answers or answers[rank][1].status == "failed") and until is None:
                until = time.monotonic() + GRACE
    return answers
