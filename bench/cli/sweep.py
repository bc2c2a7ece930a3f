"""`sweep`: a method at many settings, and what they trade for what."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import api
from bench.cli import screen
from bench.cli.options import ComputeBatch, Device, Out, Workers


def sweep(
    method: Annotated[str, typer.Argument(help="A method's name, or what the base suite calls it.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE,VALUE or, with --search, FIELD=LOW..HIGH[:log]; may be repeated."),
    ] = None,
    sampler: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE,VALUE of the sampler, such as steps=10,25; may be repeated.")
    ] = None,
    guidance_batch: Annotated[str | None, typer.Option(help="VALUE,VALUE: samples steered together.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task of the base suite; all unless given.")] = None,
    suite: Annotated[str, typer.Option(help="The base suite: everything that is not swept.")] = "quick",
    seed: Annotated[int, typer.Option(help="Of noise and fits. Report what you pick on another one.")] = 1000,
    search: Annotated[int | None, typer.Option(help="Let Optuna search the ranges of --set in so many trials.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the sweep and its folder; sweep-METHOD unless given.")] = None,
    out: Out = screen.OUT,
    workers: Workers = None,
    device: Device = "cpu",
    compute_batch: ComputeBatch = None,
) -> None:
    """Run a method at many settings: fairness against quality against cost, and the Pareto front."""
    from bench.report.tradeoff.tables import show
    from bench.sweeps.axes import texts_of

    swept = api.sweep(
        method,
        texts_of("--set", set_ or []),
        sampler=texts_of("--sampler", sampler or []),
        guidance_batch=guidance_batch,
        task=task or (),
        suite=suite,
        seed=seed,
        search=search,
        name=name,
        out=out,
        workers=workers,
        device=device,
        compute_batch=compute_batch,
    )
    show(swept.points, swept.quality, screen.out)
    screen.line("written: " + ", ".join(map(str, swept.files)))
    for outcome in swept.outcomes:
        for status, cell, reason in outcome.problems:
            screen.line(f"{status}: {cell}: {reason}")
    screen.line(swept.note)
    if any(outcome.failed for outcome in swept.outcomes):
        raise typer.Exit(1)
