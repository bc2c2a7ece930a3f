"""Jobs on one group of ranks of this machine: guidance batches by all of them together, the rest by the first."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError
from bench.engine.jobs import Job, guarded, one_thread
from bench.sampling.distributed import SECONDS, ProcessLost, joined

GRACE = 2.0  # seconds from the first sign of trouble to the verdict: who waits in vain often hears of it first
Ended = tuple[str, str, Any]  # status, reason and result, as of `bench.engine.jobs.guarded`


@dataclass(frozen=True)
class _Rank:
    process: Any
    line: Connection  # jobs go out, and come back as `_watched` has them


def run_jobs(jobs: list[Job], count: int, device: str, on_end: Callable[[Job], None], seconds: float = SECONDS) -> None:
    """Run jobs one after another, in the list's order; those that are `together` on every rank.

    Args:
        jobs: what one waits for stands before it.
        count: of ranks; with "cuda" one a GPU.
        device: as of `bench.sampling.distributed.joined`.
        on_end: called when a job has ended, however it did.
        seconds: that a rank waits for the others, > 0.

    Raises:
        ConfigError: a rank died, or did not answer in time.
    """
    with ExitStack() as open_groups:
        ranks: list[_Rank] = []
        for job in jobs:
            if not job.settle_from_needs():
                ranks = ranks or open_groups.enter_context(_group(count, device, seconds))
                job.status, job.reason, job.result = _run(ranks if job.together else ranks[:1], job)
                if job.together and job.status == "failed":  # the ranks may be out of step: the next job gets others
                    open_groups.close()
                    ranks = []
            on_end(job)


@contextmanager
def _group(count: int, device: str, seconds: float) -> Iterator[list[_Rank]]:
    # The server imports once and forks each rank from itself; it has touched no GPU, which a fork would not survive.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.engine.worker", "bench.models.ddim"])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        ranks = []
        for rank in range(count):
            here, there = context.Pipe()
            arguments = (there, rank, count, (Path(folder) / "meet").as_uri(), device, seconds)
            process = context.Process(target=_live, args=arguments, name=f"rank {rank}", daemon=True)
            process.start()
            there.close()
            ranks.append(_Rank(process, here))
            ends.callback(_end, ranks[-1])
        yield ranks


def _end(rank: _Rank) -> None:
    rank.process.kill()  # it may wait for a rank that is gone, or be stopped
    rank.process.join()
    rank.line.close()


def _live(line: Connection, rank: int, count: int, where: str, device: str, seconds: float) -> None:
    """A rank's life: one job after another, until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the driver ends the ranks
    one_thread()
    with ExitStack() as group:
        came = _watched(lambda: group.enter_context(joined(device, seconds, where, rank, count)), ())
        while True:
            try:
                call, args = line.recv()
            except EOFError:
                return
            line.send(_watched(call, args) if came[1][0] == "ok" else came)


def _watched(call: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Ended]:
    """How a call ended, and whether that was for want of another rank."""
    lost = False

    def watched() -> Any:
        nonlocal lost
        try:
            return call(*args)
        except ProcessLost:
            lost = True
            raise

    ended = guarded(watched, ())
    return lost, ended


def _run(ranks: list[_Rank], job: Job) -> Ended:
    """How a job ended on some ranks: as on the first, unless it went wrong on another.

    Raises:
        ConfigError: a rank died, or did not answer in time.
    """
    for rank in ranks:
        with suppress(BrokenPipeError):  # it died; its sentinel says so
            rank.line.send((job.call, job.args))
    found = _listen(ranks)
    own = [ended for _, (lost, ended) in sorted(found.items()) if not lost]
    for status in ("failed", "skipped"):
        for ended in own:
            if ended[0] == status:
                return ended
    for rank in (rank for place, rank in enumerate(ranks) if place not in found):
        rank.process.join(GRACE)  # its line may be closed some moments before its exit code is known
        if not rank.process.is_alive():
            raise ConfigError(
                f"{rank.process.name} died (exit code {rank.process.exitcode}), perhaps for want of "
                "memory; run the same command again to go on from here, with a smaller --compute-batch"
            )
    for lost, (_, reason, _) in found.values():
        if lost:
            raise ConfigError(reason)
    return own[0]


def _listen(ranks: list[_Rank]) -> dict[int, tuple[bool, Ended]]:
    """What the ranks say, by their place: all of them, or those that are heard soon after one failed or died."""
    found: dict[int, tuple[bool, Ended]] = {}
    until: float | None = None
    silent = dict(enumerate(ranks))
    while silent and (until is None or time.monotonic() < until):
        left = None if until is None else max(until - time.monotonic(), 0)
        ready = connection.wait([end for r in silent.values() for end in (r.line, r.process.sentinel)], left)
        for place, rank in list(silent.items()):
            if rank.line not in ready and rank.process.sentinel not in ready:
                continue
            del silent[place]
            with suppress(EOFError, ConnectionResetError):  # it died
                found[place] = rank.line.recv()
            if (place not in found or found[place][1][0] == "failed") and until is None:
                until = time.monotonic() + GRACE
    return found
