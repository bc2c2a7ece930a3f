"""The plots as functions of a run or its folder: `bench.plots.pareto(run)`. Notebooks show them; `save` writes them."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.style import save, style
from bench.results.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    *("Figures", "cells", "cost", "curves", "groups", "latency", "pareto", "prompts", "proportions", "sheets"),
    *("ranking", "sweeps", "ties"),
]
DPI = 150  # of a figure in a notebook


class Figures(dict[str, "Figure"]):
    """The figures of one plot, by file stem; a notebook shows them one below the other."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write each figure as PNG and PDF, and return the files.

        Raises:
            ConfigError: the folder cannot be written.
        """
        with style():
            return [file for stem, figure in self.items() for file in save(figure, Path(folder) / stem)]

    def _repr_png_(self) -> bytes:
        pictures = [Image.open(io.BytesIO(_png(figure))) for figure in self.values()]
        size = max(p.width for p in pictures), sum(p.height for p in pictures)
        sheet, top = Image.new("RGB", size, "white"), 0
        for picture in pictures:
            sheet.paste(picture, (0, top))
            top += picture.height
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def finished_of(run: Run) -> Finished:
    """Return a run as the plots read it."""
    return Finished(run)


def _draw(name: str, run: Run | str | Path) -> Figures:
    run = run if isinstance(run, Run) else Run.open(Path(run))
    with style():
        try:
            return Figures(importlib.import_module(f"bench.report.plots.{name}").draw(finished_of(run)))
        except Incompatible as error:
            raise Incompatible(f"cannot draw {name} of {run.file}: {error}") from error


def pareto(run: Run | str | Path) -> Figures:
    """Draw fairness discrepancy against each Fréchet distance, with the Pareto front.

    >>> import bench
    >>> list(bench.plots.pareto("leaderboards/quick"))
    ['pareto-frechet-efficientnet-lite0-avatars-balanced', 'pareto-frechet-efficientnet-lite0-avatars-biased']

    Raises:
        Incompatible: the run has no Fréchet distance.
    """
    return _draw("pareto", run)


def proportions(run: Run | str | Path) -> Figures:
    """Draw the share of every class under each method, with its interval and the target."""
    return _draw("proportions", run)


def ties(run: Run | str | Path) -> Figures:
    """Draw the ranking metric of every method, and which methods are not significantly different from the best."""
    return _draw("ties", run)


def ranking(run: Run | str | Path) -> Figures:
    """Draw the mean ranks over tasks and seeds, with bars over methods that no test separates.

    Raises:
        Incompatible: fewer than two methods have the ranking metric on every task.
    """
    return _draw("ranking", run)


def cost(run: Run | str | Path) -> Figures:
    """Draw fairness discrepancy against seconds per image, with and without the fit."""
    return _draw("cost", run)


def latency(run: Run | str | Path) -> Figures:
    """Draw the seconds per image of every method."""
    return _draw("latency", run)


def groups(run: Run | str | Path) -> Figures:
    """Draw the quality of every group's images under each method.

    Raises:
        Incompatible: the run has no metric of groups.
    """
    return _draw("groups", run)


def prompts(run: Run | str | Path) -> Figures:
    """Draw the discrepancy of every prompt under each method.

    Raises:
        Incompatible: the run has no prompts.
    """
    return _draw("prompts", run)


def sweeps(run: Run | str | Path) -> Figures:
    """Draw the metrics over the values of a field, for methods that ran at several.

    Raises:
        Incompatible: no method ran at several values of one field.
    """
    return _draw("sweeps", run)


def curves(run: Run | str | Path) -> Figures:
    """Draw what methods found while they were fitted, such as accuracy by timestep.

    Raises:
        Incompatible: the run's store is not beside it, or no method has curves.
    """
    return _draw("curves", run)


def sheets(run: Run | str | Path) -> Figures:
    """Draw a sheet of samples per task, one row per method, from the same noise.

    Raises:
        Incompatible: the run's store is not beside it.
    """
    return _draw("sheets", run)


def cells(run: Run | str | Path) -> Figures:
    """Draw a sheet of samples per cell.

    Raises:
        Incompatible: the run's store is not beside it.
    """
    return _draw("cells", run)
