"""Jobs on a Ray cluster: actors that keep what they loaded, shared storage, bounded retries.

The driver hands out jobs and waits; images, features and fits go from the workers straight to the store, so only
descriptions of work and small records travel. Every job leaves its result in the store before it ends, which is
why a job may be handed out again after its worker died, and why a run that was stopped goes on where it was.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import ray

from bench.core.errors import ConfigError
from bench.engine.executors.cluster import Cluster
from bench.engine.executors.queue import Queue
from bench.engine.jobs import Job, JobEnd, guarded, one_thread
from bench.engine.resources import Resources
from bench.storage.bucket import LINK, Bucket
from bench.storage.files import read_shared, remove_shared, write_shared
from bench.storage.store import Store


class Worker:
    """An actor: it runs one job after another in one process, so that models are loaded once."""

    def __init__(self) -> None:
        one_thread()
        self._resources = Resources()

    def sees(self, store: Path, name: str, bucket: str | None) -> tuple[bool, str, str]:
        """Return whether it sees a file of the store, why not if that is known, and the name of its machine.

        Where machines share a bucket, its own folder of the store's name becomes a copy of it first.
        """
        end = guarded(_sees, (store, name, bucket))
        return end.status == "ok" and bool(end.result), end.reason, platform.node()

    def work(self, call: Callable[..., object], args: tuple[object, ...]) -> JobEnd:
        """Run a job."""
        return guarded(call, (self._resources, *args))


def _sees(store: Path, name: str, bucket: str | None) -> bool:
    if bucket is not None:
        Store(store).join(bucket)
    try:
        read_shared(store / name)
    except FileNotFoundError:
        return False
    return True


@dataclass
class _Seat:
    """A place at the cluster: its actor, the actor's job, and the job's start.

    Attributes:
        actor: of `Worker`.
        born: Ray's reference that is ready when the actor has started; a job's time does not run before.
        job: the job it runs now.
        task: Ray's reference that is ready when the job has ended.
        since: the clock's seconds when the job began.
        group: of its last job.
    """

    actor: Any
    born: Any
    job: Job | None = None
    task: Any = None
    since: float = 0.0
    group: str = ""


def run_jobs(jobs: list[Job], cluster: Cluster, on_end: Callable[[Job], None], seconds: float | None = None) -> None:
    """Run jobs as soon as what they wait for has succeeded: the longest groups first, a group on few workers.

    A job whose worker dies, or that takes too long, is handed out again, as `Queue.lost` bounds it.

    Args:
        jobs: their calls and arguments can be pickled, and paths among them are absolute.
        cluster: where.
        on_end: called when a job has ended, however it did.
        seconds: that a job may take; None waits for ever.

    Raises:
        ConfigError: no such cluster, it cannot seat one worker, or a worker does not see the shared folder.
    """
    with _connected(cluster):
        seats = [_seat(cluster) for _ in range(cluster.workers)]
        try:
            _check_shared(seats, cluster)
            _hand_out(Queue(jobs, on_end), seats, cluster, seconds)
        finally:
            for seat in seats:
                ray.kill(seat.actor)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    if cluster.address not in (None, "auto"):
        _knock(str(cluster.address))
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if cluster.address is None:
        cpus, gpus = (-(-cluster.workers * each // 1) for each in (cluster.cpus, cluster.gpus))
        options |= {"num_cpus": int(cpus), "include_dashboard": False}
        options |= {"num_gpus": int(gpus)} if gpus else {}
    try:
        ray.init(address=cluster.address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"no Ray cluster at {cluster.address}: {first}; leave --address out to start one here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself would try for minutes and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--address must be HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster at {address}: {error}; leave --address out to start one here") from error


def _seat(cluster: Cluster) -> _Seat:
    memory = {} if cluster.memory_gib is None else {"memory": int(cluster.memory_gib * 2**30)}
    actor: Any = ray.remote(Worker).options(num_cpus=cluster.cpus, num_gpus=cluster.gpus, **memory).remote()
    return _Seat(actor, actor.sees.remote(cluster.shared / "store", LINK, _url(cluster)))


def _url(cluster: Cluster) -> str | None:
    """Return the URL of the bucket that the store is a copy of; every worker's store must be a copy of the same."""
    bucket = Bucket.of(cluster.shared / "store" / LINK)
    return None if bucket is None else bucket.url


def _check_shared(seats: list[_Seat], cluster: Cluster) -> None:
    """Refuse a cluster whose workers write elsewhere, before one of them does."""
    probe = cluster.shared / "store" / f".seen-{uuid4().hex}"
    write_shared(probe, b"")
    try:
        answers = [seat.actor.sees.remote(probe.parent, probe.name, _url(cluster)) for seat in seats]
        seated, missing = ray.wait(answers, num_returns=len(answers), timeout=120)
        if missing:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            have = ", ".join(f"{v:g} {k}" for k, v in sorted(resources.items()) if k in ("CPU", "GPU"))
            raise ConfigError(
                f"the cluster seated {len(seated)} of {len(answers)} workers of {cluster.cpus:g} CPU and "
                f"{cluster.gpus:g} GPU in two minutes (it has {have}); ask for fewer --workers"
            )
        for sees, reason, machine in ray.get(seated):
            if not sees:
                unseen = f"does not see {cluster.shared}; give --out a folder that all machines share, or a --bucket"
                raise ConfigError(f"{machine}: {reason}" if reason else f"{machine} {unseen}")
    finally:
        remove_shared(probe)


def _hand_out(queue: Queue, seats: list[_Seat], cluster: Cluster, seconds: float | None) -> None:
    while queue.open:
        for seat in (seat for seat in seats if seat.job is None):
            seat.job = queue.take(seat.group, {other.group for other in seats if other.job})
            if seat.job is None:
                break
            seat.group, seat.since = seat.job.group, time.monotonic()
            seat.task = seat.actor.work.remote(seat.job.call, seat.job.args)
        busy = {seat.task: seat for seat in seats if seat.job}
        done, _ = ray.wait(list(busy), timeout=1.0)
        late = [seat for task, seat in busy.items() if task not in done and _late(seat, seconds)]
        for seat in (*(busy[task] for task in done), *late):
            job, seat.job = cast(Job, seat.job), None
            try:
                if seat in late:
                    raise TimeoutError(f"it took longer than {seconds:g} seconds")
                job.status, job.reason, job.result = ray.get(seat.task)
            except (ray.exceptions.RayError, TimeoutError) as error:
                ray.kill(seat.actor)
                seats[seats.index(seat)] = _seat(cluster)
                queue.lost(job, str(error).strip().splitlines()[0].removesuffix("."))
            else:
                queue.end(job)


def _late(seat: _Seat, seconds: float | None) -> bool:
    if seconds is None:
        return False
    if not ray.wait([seat.born], timeout=0)[0]:
        seat.since = time.monotonic()
    return time.monotonic() - seat.since > seconds
