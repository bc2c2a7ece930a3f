"""`sweep`: a method at many settings, and what they trade for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import screen

if TYPE_CHECKING:
    from bench.config.suite import Suite
    from bench.report.tradeoff.points import Point

SEED = 1000  # no shipped suite reports it, so what is picked on it can be reported on theirs


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
    seed: Annotated[int, typer.Option(help="Of noise and fits. Report what you pick on another one.")] = SEED,
    search: Annotated[int | None, typer.Option(help="Let Optuna search the ranges of --set in so many trials.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the sweep and its folder; sweep-METHOD unless given.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the tables (OUT/NAME) and of the store (OUT/store).")
    ] = screen.OUT,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes, one thread each; every core unless given.")
    ] = None,
    device: Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
    compute_batch: Annotated[
        int | None, typer.Option(help="Largest number of images the network runs on at once; does not change results.")
    ] = None,
) -> None:
    """Run a method at many settings: fairness against quality against cost, and the Pareto front."""
    from bench.config.suite import read_suite
    from bench.engine.options import Options
    from bench.report.tradeoff.points import quality_of
    from bench.sweeps.axes import read_axes, read_axis, values_alone
    from bench.sweeps.grid import check_varied, choose_method, choose_tasks, protocols, variants
    from bench.sweeps.run import check_free, run_grid, run_search
    from bench.sweeps.search import check_search

    options = Options(out, workers, device, compute_batch)
    fields = read_axes("--set", set_ or [])
    sampling = values_alone(read_axes("--sampler", sampler or []), "only --set takes a range")
    batch = values_alone(
        [] if guidance_batch is None else [read_axis("--guidance-batch", "guidance_batch", guidance_batch)],
        "only --set takes a range",
    )
    check_varied([*fields, *sampling, *batch])
    base = choose_tasks(read_suite(suite), task or [])
    chosen = choose_method(base, method)
    name = name or f"sweep-{chosen.name}"
    plans = protocols(base, name, seed, [*sampling, *batch])
    check_free(out, [plan.suite for plan in plans], name)
    if search is None:
        found = variants(chosen, values_alone(fields, "add --search N to search it"))
        points, outcomes = run_grid(plans, found, options)
    else:
        check_search(search, chosen, fields, plans)
        points, outcomes = run_search(plans[0], chosen, fields, search, options)
    _show(points, quality_of(base), out / name)
    for outcome in outcomes:
        for status, cell, reason in outcome.problems:
            screen.out.print(f"{status}: {cell}: {reason}", markup=False, soft_wrap=True)
    _warn(base, seed)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _show(points: Sequence[Point], quality: str, folder: Path) -> None:
    from bench.report.tradeoff.plot import write_plot
    from bench.report.tradeoff.tables import show, write_tables

    files = [*write_tables(points, quality, folder), *write_plot(points, quality, folder)]
    show(points, quality, screen.out)
    screen.out.print("written: " + ", ".join(map(str, files)), markup=False, soft_wrap=True)


def _warn(base: Suite, seed: int) -> None:
    reported = f" Suite {base.suite} reports that very seed: sweep on another --seed." if seed in base.seeds else ""
    screen.out.print(
        f"All of this is on seed {seed}. The best of many settings is partly the luckiest: run the one that you pick "
        f"on another seed, and report that run.{reported}",
        markup=False,
        soft_wrap=True,
    )
