"""Faults while a run goes on: killed, out of room, read-only, out of time, doubled, damaged; the same tables after all.

What is here and in others: kills of driver and workers (test_runner.py), a worker that dies or hangs on Ray
(test_ray.py), damaged entries of the store (test_files.py), a disk that fills at any write (test_cli.py).
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine.executors import local
from bench.engine.executors.queue import Queue
from bench.engine.jobs import Job
from bench.engine.options import Options
from bench.engine.runner import FINISHED
from tests.support.drivers import driver, warm
from tests.support.ray_jobs import add, die, die_once, hang, refuse
from tests.support.small import small_suite
from tests.support.watched import within

ROOT = Path(__file__).parents[2]
TABLES = ("results.csv", "leaderboard.csv")
KILLS = 100


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A suite, and the tables of its undisturbed run."""
    folder = tmp_path_factory.mktemp("faults")
    suite = small_suite(
        folder, n=12, guidance_batch=4, sampler={"steps": 2}, tasks=[{"attributes": ["eyeglasses"]}],
        methods=[{"name": "vanilla"}, {"name": "sample_guidance", "with": {"labels_per_class": 4}}],
        data={"few": {"name": "avatars-heldout", "n": 80}}, labelled="few",
    )  # fmt: skip
    assert again(suite, folder / "out")
    return suite, tables(folder / "out")


def again(suite: Path, out: Path) -> bool:
    """Run in this process; whether every cell has its scores."""
    return not run(read_suite(str(suite)), Options(out, workers=1)).problems


def tables(out: Path) -> list[bytes]:
    return [(out / "small" / name).read_bytes() for name in TABLES]


def nothing_half_written(out: Path) -> bool:
    """No temporary file is left, and none of the locks, which are empty, holds anything."""
    return not [p for p in out.rglob(".*") if p.suffix != ".lock"]


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond `size` bytes, as a disk without room does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_is_said_and_the_next_run_goes_on(
    undisturbed: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    """Images of a shard are 12 kB: they do not fit, while small notes do."""
    suite, whole = undisturbed
    with no_file_over(4096):
        try:
            problems = run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
            said = " ".join(reason for _, _, reason in problems)
        except ConfigError as error:
            said = str(error)
    assert "no room is left" in said
    assert "choose a folder that can be written and has room" in said
    assert nothing_half_written(tmp_path / "out")
    assert again(suite, tmp_path / "out")
    assert tables(tmp_path / "out") == whole


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory, of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False).returncode
    ):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_and_a_read_only_one_are_said_and_the_next_run_goes_on(
    undisturbed: tuple[Path, list[bytes]], disk: Path
) -> None:
    suite, whole = undisturbed
    try:
        said = " ".join(reason for _, _, reason in run(read_suite(str(suite)), Options(disk, workers=1)).problems)
    except ConfigError as error:
        said = str(error)
    assert "No space left on device" in said or "no room is left" in said
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(ConfigError, match="Read-only file system; choose a folder"):
        again(suite, disk)
    subprocess.run(["mount", "-o", "remount,rw,size=64m", disk], check=True)
    assert again(suite, disk)
    assert tables(disk) == whole
    assert nothing_half_written(disk)


def test_files_from_the_future_and_a_clock_at_its_beginning_change_nothing(
    undisturbed: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, whole = undisturbed
    out = suite.parent / "out"
    for path in out.rglob("*"):
        os.utime(path, (4102444800, 4102444800))  # the year 2100
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert again(suite, out)
    assert "nothing to do" in capsys.readouterr().err
    shutil.rmtree(next((out / "store" / "samples").glob("*/*/*")))
    assert again(suite, out)
    assert tables(out) == whole


def test_files_half_written_under_their_final_names_are_noticed_and_made_again(
    undisturbed: tuple[Path, list[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a file system without atomic renames leaves behind: the name is there, the content is not, or half of it."""
    suite, whole = undisturbed
    out = tmp_path / "out"
    shutil.copytree(suite.parent / "out", out)
    rng = random.Random(0)
    for kind in ("samples", "features", "fits", "scores"):
        found = sorted(p for p in (out / "store" / kind).rglob("*") if p.is_file() and p.stat().st_size > 1)
        for path in rng.sample(found, min(3, len(found))):
            os.truncate(path, rng.randrange(path.stat().st_size))
    for name in ("results.csv", "leaderboard.csv", FINISHED):
        os.truncate(out / "small" / name, (out / "small" / name).stat().st_size // 2)
    assert again(suite, out)
    assert "damaged, made again" in capsys.readouterr().err
    assert tables(out) == whole


def test_a_copy_to_a_bucket_that_stopped_half_way_is_gone_on_with(
    undisturbed: tuple[Path, list[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `docs/scaling.md` has it: a run's folder put into a bucket, got from there, and gone on with."""
    suite, whole = undisturbed
    bucket = fsspec.filesystem("memory")
    files = sorted(p for p in (suite.parent / "out" / "store").rglob("*") if p.is_file() and p.suffix != ".lock")
    rng = random.Random(3)
    for path in rng.sample(files, len(files) // 2):
        bucket.pipe(f"/bucket/{path.relative_to(suite.parent / 'out')}", path.read_bytes())
    entry = next(p for p in files if p.name == "images.npy")
    bucket.pipe(f"/bucket/{entry.relative_to(suite.parent / 'out')}", entry.read_bytes()[:1000])
    bucket.pipe(f"/bucket/{(entry.parent / 'manifest.json').relative_to(suite.parent / 'out')}", b"{")
    bucket.get("/bucket/", str(tmp_path / "out"), recursive=True)
    assert again(suite, tmp_path / "out")
    assert "damaged, made again" in capsys.readouterr().err
    assert tables(tmp_path / "out") == whole


def test_two_drivers_on_one_output_do_each_other_no_harm(undisturbed: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    suite, whole = undisturbed
    drivers = [driver(suite, tmp_path) for _ in range(2)]
    for one in drivers:
        one.join()
    assert [one.exitcode for one in drivers] == [0, 0]
    assert tables(tmp_path) == whole
    assert nothing_half_written(tmp_path)


@pytest.fixture
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local workers that start in a moment, as new interpreters do not."""
    server = warm()
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda _: server)


def run_locally(jobs: list[Job], seconds: float | None = None, workers: int = 2) -> list[Job]:
    ended: list[Job] = []
    with within(120):
        local.run_jobs(jobs, workers, ended.append, seconds)
    assert sorted(map(id, ended)) == sorted(map(id, jobs)), "each ends once"
    return ended


def test_a_local_worker_that_is_killed_is_replaced_and_a_poison_job_fails(quick_starts: None, tmp_path: Path) -> None:
    poison, once, first = Job(die, (tmp_path / "died",)), Job(die_once, (tmp_path / "once",)), Job(add, (1, 2))
    after, behind, refused = Job(add, (3, 4), (first,)), Job(add, (5, 6), (poison,)), Job(refuse, ())
    run_locally([poison, once, first, after, behind, refused])
    assert (poison.status, (tmp_path / "died").read_text()) == ("failed", "died\n" * 3)
    assert poison.reason == (
        "it cost 3 workers; the last: a worker process died (exit code -9), perhaps for want of memory"
    )
    assert (once.status, once.result) == ("ok", "lived")
    assert (after.status, after.result) == ("ok", 7)
    assert (behind.status, behind.reason) == ("failed", poison.reason)
    assert (refused.status, refused.reason) == ("failed", "no")


def test_ctrl_c_while_a_worker_starts_is_none_of_its_business(capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal sends it to every process; a new interpreter would end in a traceback while it imports."""
    ended: list[Job] = []
    queue, seats = Queue([Job(add, (1, 2))], ended.append), list[Any]()
    local._fill(queue, seats, 1)
    (seat,) = seats
    try:
        with within(120):
            while not seat.line.poll(0.02):
                os.kill(seat.process.pid, signal.SIGINT)
            assert local._hear(seat) == ""
            assert seat.started
    finally:
        seat.end()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_local_job_that_hangs_is_killed_and_given_up(quick_starts: None, workers: int, tmp_path: Path) -> None:
    late, other = Job(hang, (tmp_path / "hung",)), Job(add, (1, 2))
    run_locally([late, other], 1.0, workers)
    assert (late.status, (tmp_path / "hung").read_text()) == ("failed", "hung\n" * 3)
    assert late.reason == "it cost 3 workers; the last: it took longer than 1 seconds"
    assert (other.status, other.result) == ("ok", 3)


def test_workers_that_die_before_their_first_job_are_said_once(
    quick_starts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_live", os._exit)  # no such argument: the process ends with 1
    with pytest.raises(ConfigError, match=r"died \(exit code 1\), .* before its first job, as did 5 others; run with"):
        run_locally([Job(add, (1, 2))])


def test_a_run_whose_workers_are_killed_goes_on_to_the_same_tables(
    undisturbed: tuple[Path, list[bytes]],
    quick_starts: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """kill -9 of the worker that came last, after the first and after the third entry of the store; each is another."""
    suite, whole = undisturbed
    workers: list[Any] = []
    stopped = threading.Event()
    seat = local._seat

    def seated() -> Any:
        workers.append(seat())
        return workers[-1]

    def kill() -> None:
        killed = None
        for entries in (1, 3):
            while not stopped.wait(0.005):
                if workers[-1:] not in ([], [killed]) and len(list(tmp_path.rglob("manifest.json"))) >= entries:
                    killed = workers[-1]
                    with suppress(ProcessLookupError):  # it may have ended by itself, with the run
                        os.kill(killed.process.pid, signal.SIGKILL)
                    break

    monkeypatch.setattr(local, "_seat", seated)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert not run(read_suite(str(suite)), Options(tmp_path, workers=2)).problems
    finally:
        stopped.set()
        killer.join()
    assert "a worker was lost (a worker process died (exit code -9)" in capfd.readouterr().err
    assert tables(tmp_path) == whole


@pytest.mark.soak
def test_a_hundred_kills_leave_the_same_tables(undisturbed: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    """kill -9 of the driver at random moments; a run that ends is compared, thrown away and begun again."""
    suite, whole = undisturbed
    rng, kills, ended, seconds = random.Random(1), 0, 0, 0.0
    for name in ("imports", "timed"):  # the server's imports are not the run's
        start = time.monotonic()
        driver(suite, tmp_path / name).join()
        seconds = time.monotonic() - start
    while kills < KILLS:
        one = driver(suite, tmp_path / "out")
        one.join(rng.uniform(0, 1.3 * seconds))
        if one.exitcode is None:
            one.kill()
            kills += 1
            there = len(list((tmp_path / "out").rglob("manifest.json")))
            sys.stderr.write(f"kill {kills}, {there} entries in the store, {ended} runs finished before\n")
        one.join()
        if one.exitcode == 0:
            ended += 1
            assert tables(tmp_path / "out") == whole
            shutil.rmtree(tmp_path / "out")
        else:
            assert one.exitcode == -signal.SIGKILL
    last = driver(suite, tmp_path / "out")
    last.join()
    assert last.exitcode == 0
    assert tables(tmp_path / "out") == whole
    sys.stderr.write(f"\n{kills} kills, {ended + 1} finished runs, all of the same tables\n")


@pytest.mark.soak
def test_killed_workers_leave_the_same_tables(undisturbed: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    """kill -9 of one of two workers, at 10 random moments of runs that go on after it."""
    suite, whole = undisturbed
    rng, killed = random.Random(2), 0
    while killed < 10:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        command = [sys.executable, "run_bench.py", "run", str(suite), "--out", str(tmp_path / "out"), "--workers", "2"]
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        while child.poll() is None and killed < 10:
            time.sleep(rng.uniform(2, 8))
            listed = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True, check=False)
            workers = [pid for pid in map(int, listed.stdout.split()) if b"spawn_main" in _command(pid)]
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
        said = child.communicate()[1]
        assert child.returncode == 0, said
        assert tables(tmp_path / "out") == whole
    sys.stderr.write(f"\n{killed} kills of a worker, the same tables\n")


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
