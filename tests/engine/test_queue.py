"""Which job is next, and how jobs end with those they wait for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.engine.executors.queue import Queue
from bench.engine.jobs import Job


def job(*after: Job, **fields: Any) -> Job:
    return Job(int, (), after, **fields)


def names(jobs: list[Job]) -> list[int]:
    return [id(one) for one in jobs]


def test_the_heaviest_group_first_and_a_group_stays_with_its_worker() -> None:
    light = [job(group="light", weight=1.0) for _ in range(3)]
    heavy = [job(group="heavy", weight=9.0) for _ in range(4)]
    queue = Queue([*light, *heavy], lambda _: None)
    assert queue.take() is heavy[0]
    assert queue.take("light", {"light"}) is light[0], "what it has loaded"
    assert queue.take("", {"heavy"}) is light[1], "what no other has loaded"
    assert queue.take("", {"heavy", "light"}) is heavy[1], "rather than nothing"
    assert queue.take("gone") is heavy[2]
    assert queue.take("heavy") is heavy[3]
    assert queue.take("heavy") is light[2], "its own are through"
    assert queue.take() is None
    assert queue.open == 7


def test_a_job_waits_for_all_it_needs_and_ends_as_they_do() -> None:
    ended: list[Job] = []
    a, b = job(), job()
    both = job(a, b)
    last = job(both)
    queue = Queue([a, b, both, last], ended.append)
    assert [queue.take(), queue.take(), queue.take()] == [a, b, None]
    a.status = "ok"
    queue.end(a)
    assert queue.take() is None
    b.status, b.reason = "failed", "why"
    queue.end(b)
    assert names(ended) == names([a, b, both, last])
    assert (both.status, last.status, last.reason) == ("failed", "failed", "why")
    assert (queue.open, queue.take()) == (0, None)


def test_a_lost_job_is_handed_out_again() -> None:
    one = job(group="g", weight=1.0)
    queue = Queue([one], lambda _: None)
    assert queue.take() is one
    assert queue.take() is None
    queue.again(one)
    assert queue.take("g") is one


@given(st.data())
def test_every_job_is_handed_out_once_after_its_needs_and_ends_once(data: st.DataObject) -> None:
    jobs: list[Job] = []
    for _ in range(data.draw(st.integers(1, 12))):
        needs = data.draw(st.lists(st.sampled_from(jobs), unique_by=id, max_size=3)) if jobs else []
        group = data.draw(st.sampled_from(["", "a", "b"]))
        jobs.append(job(*needs, group=group, weight=float(len(group) * len(jobs))))
    ended: list[Job] = []
    taken: list[Job] = []
    queue = Queue(jobs, ended.append)
    held: list[Job] = []
    while queue.open:
        one = queue.take(data.draw(st.sampled_from(["", "a", "b"])), data.draw(st.sets(st.sampled_from(["a", "b"]))))
        if one is not None:
            assert all(need.status == "ok" for need in one.after)
            held.append(one)
            taken.append(one)
        if held and (one is None or data.draw(st.booleans())):
            done = held.pop(data.draw(st.integers(0, len(held) - 1)))
            done.status = data.draw(st.sampled_from(["ok", "ok", "failed", "skipped"]))
            queue.end(done)
    assert sorted(names(ended)) == sorted(names(jobs))
    assert len(taken) == len(set(names(taken)))
    for one in jobs:
        handed = id(one) in names(taken)
        assert handed == all(need.status == "ok" for need in one.after)


def test_a_grid_of_a_hundred_thousand_jobs_is_handed_out_one_by_one() -> None:
    # Each group is a fit and nine shards; a queue that looked through all jobs for each would not come back.
    jobs: list[Job] = []
    for i in range(10_000):
        fit = job(group=str(i), weight=float(i % 97))
        jobs += [fit, *(job(fit, group=str(i), weight=float(i % 97)) for _ in range(9))]
    ended: list[Job] = []
    queue, last = Queue(jobs, ended.append), ""
    while queue.open:
        one = queue.take(last)
        assert one is not None
        last, one.status = one.group, "ok"
        queue.end(one)
    assert len(ended) == 100_000
    assert [one.group for one in ended[:11]] == ["96"] * 10 + ["193"], "the heaviest first, group by group"
