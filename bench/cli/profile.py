"""`profile`: what every method costs, by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.cli import screen
from bench.core.errors import ConfigError


def profile(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name, or a YAML file.")] = "quick",
    method: Annotated[list[str] | None, typer.Option(help="Keep some methods; may be repeated.")] = None,
    batch: Annotated[str, typer.Option(help="Numbers of images steered together, with commas.")] = "1,16,64",
    steps: Annotated[str, typer.Option(help="Numbers of sampling steps, with commas; the suite's unless given.")] = "",
    device: Annotated[list[str] | None, typer.Option(help="A torch device, cpu unless given; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(help="Measurements of each, after a warm-up.")] = 5,
    run: Annotated[Path | None, typer.Option(help="A finished run, for the plot of seconds against FD.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Write a Chrome trace of each method as well.")] = False,
    out: Annotated[
        Path, typer.Option(help="Folder of the profile (OUT/SUITE/profile) and of the fits (OUT/store).")
    ] = screen.OUT,
) -> None:
    """Measure what every method costs: seconds by stage, calls, FLOPs and memory, beside vanilla."""
    batches, numbers = _numbers("--batch", batch), _numbers("--steps", steps)
    folder = out / api.load_suite(suite).suite / "profile"
    try:
        profiled = api.profile(
            suite,
            methods=method or (),
            batches=batches,
            steps=numbers,
            devices=device or ("cpu",),
            rounds=rounds,
            run=run,
            trace=trace,
            out=out,
        )
    except KeyboardInterrupt:
        screen.say(f"interrupted; what was measured is in {folder / 'profile.csv'}; the same command measures it anew")
        raise typer.Exit(130) from None
    from bench.profiling.show import show

    show(profiled, screen.out)
    screen.line(f"table, plots and traces: {folder}")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(
            f"{option} must be whole numbers with commas between, such as 1,16,64, got {text!r}"
        ) from None
