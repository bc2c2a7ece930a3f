"""Which job is next: those whose needs have succeeded, the longest groups first."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Sequence

from bench.core.progress import console
from bench.engine.jobs import Job

ATTEMPTS = 3  # workers that a job may cost before it ends as failed


class Queue:
    """Jobs that have not ended. Handing one out and ending one take time that does not grow with their number.

    Args:
        jobs: in order of preference among equals; what they wait for is among them.
        on_end: called when a job has ended, however it did.
    """

    def __init__(self, jobs: Sequence[Job], on_end: Callable[[Job], None]) -> None:
        self.open = len(jobs)  # jobs that have not ended
        self._on_end = on_end
        self._unmet = {id(job): len(job.after) for job in jobs}
        self._behind: dict[int, list[Job]] = {}
        self._ready: dict[str, deque[Job]] = {}
        self._groups: list[tuple[float, int, str]] = []  # a heap: heaviest first, then first come
        self._arrival = itertools.count()
        self._cost: dict[int, int] = {}  # workers that jobs have cost
        for job in jobs:
            for need in job.after:
                self._behind.setdefault(id(need), []).append(job)
        for job in jobs:
            if not job.after:
                self._admit(job)

    def _admit(self, job: Job) -> None:
        waiting = self._ready.setdefault(job.group, deque())
        if not waiting:
            heapq.heappush(self._groups, (-job.weight, next(self._arrival), job.group))
        waiting.append(job)

    def take(self, last: str = "", busy: Collection[str] = ()) -> Job | None:
        """The next job, or None where none is ready.

        Args:
            last: the group that the asking worker has loaded; its jobs come first.
            busy: groups that other workers have loaded; their jobs come last.
        """
        if last and self._ready.get(last):
            return self._ready[last].popleft()
        passed = []
        while self._groups and (self._groups[0][2] in busy or not self._ready[self._groups[0][2]]):
            entry = heapq.heappop(self._groups)
            if self._ready[entry[2]]:  # else its jobs were taken by the worker that had loaded it
                passed.append(entry)
        chosen = self._groups[0][2] if self._groups else passed[0][2] if passed else None
        for entry in passed:
            heapq.heappush(self._groups, entry)
        return None if chosen is None else self._ready[chosen].popleft()

    def again(self, job: Job) -> None:
        """Hand out a job once more that was not begun."""
        self._admit(job)

    def lost(self, job: Job, why: str) -> None:
        """Hand out a job once more whose worker was lost, or end it as failed after `ATTEMPTS` of them."""
        self._cost[id(job)] = self._cost.get(id(job), 0) + 1
        if self._cost[id(job)] < ATTEMPTS:
            console.print(f"a worker was lost ({why}); its work is handed out again", markup=False, soft_wrap=True)
            self._admit(job)
        else:
            job.status, job.reason = "failed", f"it cost {ATTEMPTS} workers; the last: {why}"
            self.end(job)

    def end(self, job: Job) -> None:
        """Note that a job has ended: what waits for it becomes ready, or ends as it did."""
        ended = [job]
        while ended:
            job = ended.pop()
            self.open -= 1
            self._on_end(job)
            for behind in self._behind.pop(id(job), ()):
                if behind.status != "waiting":
                    continue  # another of its needs has ended it
                if job.status != "ok":
                    behind.status, behind.reason = job.status, job.reason
                    ended.append(behind)
                    continue
                self._unmet[id(behind)] -= 1
                if not self._unmet[id(behind)]:
                    self._admit(behind)
