"""Profile a suite's methods: what is measured, in which order, and the files written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.config.components import SamplerChoice
from bench.config.suite import Suite
from bench.core.errors import ConfigError, Incompatible
from bench.core.progress import bar
from bench.storage.files import slug, write_bytes

if TYPE_CHECKING:
    from bench.engine.cell_job import CellJob
    from bench.engine.resources import Resources
    from bench.profiling.rows import Row

CSV = "profile.csv"


@dataclass(frozen=True)
class Choice:
    """Options of a profile.

    Attributes:
        out: as in `bench.engine.options.Options`: the profile is written to OUT/SUITE/profile, fits are cached in
            OUT/store.
        methods: titles; vanilla is always measured too; empty for all methods.
        batches: numbers of samples that are guided and computed together.
        steps: numbers of sampling steps; the suite's own unless given.
        devices: torch devices.
        rounds: number of measurements, after a warm-up.
        trace: whether to write a Chrome trace of each method, at the smallest batch.
    """

    out: Path
    methods: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 16, 64)
    steps: tuple[int, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    rounds: int = 5
    trace: bool = False

    def folder(self, suite: Suite) -> Path:
        """Return the folder of a suite's profile."""
        return self.out / suite.suite / "profile"


@dataclass
class Profile:
    """The result of a profile.

    Attributes:
        rows: in the order measured, with ratios to vanilla.
        notes: missing measurements, with their reasons.
        unclassified: methods whose cell has not been run, so that its evaluation could not be measured.
        vanilla: vanilla's title; None where the suite has no vanilla.
        files: method title to the stem of its file, for the looks of plots.
    """

    vanilla: str | None
    files: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unclassified: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per method, device, batch, number of steps and stage, with the columns of profile.csv."""
        return pd.DataFrame([asdict(row) for row in self.rows])


def profile(suite: Suite, choice: Choice) -> Profile:
    """Measure one method after the other; profile.csv is rewritten after every batch size.

    Raises:
        ConfigError: the suite or the choice cannot run; nothing is written.
    """
    from bench.engine.jobs import one_thread
    from bench.engine.resources import Resources
    from bench.profiling.rows import with_ratios, write

    one_thread()  # like a worker of `run`, so that seconds are comparable to costs.csv
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the log of the profiler's library
    _check(choice)
    resources = Resources()
    planned = [item for device in choice.devices for item in _jobs(suite, choice, device, resources)]
    files = {m.title: m.name for m in suite.methods}
    profiled = Profile(next((title for title, name in files.items() if name == "vanilla"), None), files)
    per_method = sum(choice.batches)
    with bar() as progress:
        total = sum(job.sampling.sampler.steps * per_method for _, job in planned)
        line = progress.add_task(f"profile of suite {suite.suite}", total=total)
        for changed, job in planned:
            for rows, done in _method(changed, job, resources, choice, profiled):
                profiled.rows = with_ratios([*profiled.rows, *rows], profiled.vanilla)
                write(choice.folder(suite) / CSV, profiled.rows)
                progress.advance(line, done * job.sampling.sampler.steps)
    return profiled


def _check(choice: Choice) -> None:
    numbers = (("--batch", choice.batches), ("--steps", choice.steps), ("--rounds", (choice.rounds,)))
    if not choice.batches:
        raise ConfigError("--batch must name at least one number, got none; for example --batch 1,16,64")
    for name, values in numbers:
        for value in values:
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if len(set(values)) < len(values):
            raise ConfigError(f"{name} must name every number once, got {','.join(map(str, values))}")


def _jobs(suite: Suite, choice: Choice, device: str, resources: Resources) -> list[tuple[Suite, CellJob]]:
    """Return the suite with each number of steps, and the first task's cell of every method; vanilla first."""
    from bench.engine.options import Options
    from bench.engine.preflight import preflight

    titles = {m.title for m in suite.methods if m.name == "vanilla"} | set(choice.methods)
    only = {"method": titles} if choice.methods else {}
    jobs: list[tuple[Suite, CellJob]] = []
    for steps in choice.steps or (suite.sampler.steps,):
        sampler = SamplerChoice(**{**suite.sampler.model_dump(), "steps": steps})
        changed = suite.model_copy(update={"sampler": sampler})
        plan = preflight(changed, Options(choice.out, device=device, only=only), resources)
        plan.draw_images()
        first = plan.jobs[0].cell
        of_task = [j.parts[0] for j in plan.jobs if (j.cell.task, j.cell.seed) == (first.task, first.seed)]
        jobs += [(changed, job) for job in sorted(of_task, key=lambda job: job.cell.method != "vanilla")]
    return jobs


def _method(
    suite: Suite, job: CellJob, resources: Resources, choice: Choice, profiled: Profile
) -> Iterator[tuple[Sequence[Row], int]]:
    """Yield rows as they are measured, and how many images of a pass they stand for."""
    from bench.profiling.measure import build, evaluation, measure, trace

    model = resources.model(job.sampling.model, job.sampling.device).model
    title = job.cell.title
    try:
        built, row = build(resources, job, model)
    except Incompatible as error:
        profiled.notes.append(f"skipped: {title}: {error}")
        return
    yield [row], 0
    for batch in choice.batches:
        yield measure(built, batch, choice.rounds), batch
    if choice.trace:
        name = f"trace-{slug(title)}-{slug(job.sampling.device)}-{job.sampling.sampler.steps}-steps.json"
        trace(built, min(choice.batches), choice.folder(suite) / name, write_bytes)
    classified = evaluation(built, choice.rounds)
    if classified is None:
        profiled.unclassified.append(title)
    else:
        yield [classified], 0
