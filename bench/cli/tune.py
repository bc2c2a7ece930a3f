"""`tune`: the settings of a suite's tuned methods, chosen on equal terms."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import api
from bench.cli import screen
from bench.cli.options import Bucket, ComputeBatch, Device, JobTimeout, Out, Workers


def tune(
    suite: Annotated[str, typer.Argument(help="A suite with `tuning` and methods that are `tuned`: a name or a file.")],
    out: Out = screen.OUT,
    workers: Workers = None,
    bucket: Bucket = None,
    device: Device = "cpu",
    compute_batch: ComputeBatch = None,
    job_timeout: JobTimeout = None,
) -> None:
    """Choose the settings of a suite's tuned methods: the same trials, noise and rule for each. Tuning resumes."""
    from bench.report.tuning import show_tuning

    tuned = api.tune(
        suite,
        out=out,
        workers=workers,
        bucket=bucket,
        device=device,
        compute_batch=compute_batch,
        job_seconds=job_timeout,
    )
    show_tuning(tuned.rows, screen.out)
    screen.line(f"written: {tuned.file}")
    screen.line(tuned.note)
