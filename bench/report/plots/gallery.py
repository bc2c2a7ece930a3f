"""The list of plots by name, and writing those that a run has data for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import Incompatible, UnknownName
from bench.report.plots.finished import Finished
from bench.report.plots.style import save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGE = ("cells",)  # one picture per cell: drawn only where it is named


def list_plots() -> list[str]:
    """Return the names of the plots: the files of this folder with a function `draw`."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(p.stem for p in files if "\ndef draw(" in p.read_text(encoding="utf-8"))


def write_plots(run: Finished, folder: Path, only: Sequence[str] = ()) -> tuple[list[Path], dict[str, str]]:
    """Draw a run's plots, and then write each as PNG and PDF.

    Args:
        run: a finished run.
        folder: written to; created where it does not exist.
        only: names of plots; all but the `LARGE` ones unless given.

    Returns:
        The files written, and for each plot without data the reason.

    Raises:
        UnknownName: no plot has one of the names.
        Incompatible: the run has no data for a plot in `only`, or for any plot.
        ConfigError: a file of the run contradicts another, or the folder cannot be written.
    """
    plots = list_plots()
    for name in only:
        if name not in plots:
            raise UnknownName("plot", name, plots)
    figures: dict[str, Figure] = {}
    without: dict[str, str] = {}
    with style():
        for name in dict.fromkeys(only or [name for name in plots if name not in LARGE]):
            try:
                figures |= importlib.import_module(f"bench.report.plots.{name}").draw(run)
            except Incompatible as error:
                if only:
                    raise Incompatible(f"cannot draw {name} of {run.run.file}: {error}") from error
                without[name] = str(error)
        if not figures:
            raise Incompatible(f"{run.run.file} has no data for any plot; {next(iter(without.values()))}")
        return [file for stem, fig in figures.items() for file in save(fig, folder / stem)], without
