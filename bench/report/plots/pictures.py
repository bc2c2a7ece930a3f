"""The pictures that a run leaves beside its tables."""

from __future__ import annotations

from pathlib import Path


def draw_pictures(folder: Path) -> list[Path]:
    """Draw grids and curves of a finished run from its tables, as `plot` draws them later; return their files.

    Raises:
        ConfigError: see `bench.results.read.read_results`.
    """
    from bench.report.plots.curves import write_curves
    from bench.report.plots.finished import Finished
    from bench.report.plots.sheets import write_grids

    finished = Finished.open(folder)
    return [*write_grids(finished, folder / "grids"), *write_curves(finished, folder / "curves")]
