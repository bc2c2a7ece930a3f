"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Out: TypeAlias = Annotated[Path, typer.Option(help="Folder of the tables (OUT/SUITE) and of the store (OUT/store).")]
Workers: TypeAlias = Annotated[
    int | None, typer.Option(help="Worker processes, one thread each; every usable CPU unless given.")
]
Device: TypeAlias = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")]
ComputeBatch: TypeAlias = Annotated[
    int | None, typer.Option(help="Largest number of images the network runs on at once; does not change results.")
]
Address: TypeAlias = Annotated[
    str | None, typer.Option(help="With ray: a running cluster, or auto; one is started here unless given.")
]
Bucket: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="URL (s3://..., any of fsspec's) that machines share in place of a folder; OUT/store becomes a copy."
    ),
]
JobTimeout: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Seconds that a job may take; then its worker is killed and the job is tried again. No limit unless given."
    ),
]
Ranks: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Spread each guidance batch over this many processes, or GPUs, in place of --workers."),
]
