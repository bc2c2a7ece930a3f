"""The plots by name, each a file of this folder with a function `draw`, and writing those that a run has data for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import Incompatible, UnknownName
from bench.report.plots.finished import Finished
from bench.report.plots.style import save, style

LARGE = ("cells",)  # a picture a cell: drawn where it is named


def list_plots() -> list[str]:
    """Names of the plots."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(p.stem for p in files if "\ndef draw(" in p.read_text(encoding="utf-8"))


def write_plots(run: Finished, folder: Path, only: Sequence[str] = ()) -> tuple[list[Path], dict[str, str]]:
    """Draw a run's plots, and then write each as PNG and PDF.

    Args:
        run: a finished run.
        folder: where to.
        only: names of plots; all but the `LARGE` ones unless given.

    Returns:
        The files, and the reason of each plot that the run has no data for.

    Raises:
        UnknownName: no plot of a name.
        Incompatible: the run has no data for a plot that was named, or for any.
        ConfigError: a file of the run contradicts another, or the folder cannot be written.
    """
    known = list_plots()
    for name in only:
        if name not in known:
            raise UnknownName("plot", name, known)
    figures: dict[str, Any] = {}
    without: dict[str, str] = {}
    with style():
        for name in dict.fromkeys(only or [name for name in known if name not in LARGE]):
            try:
                figures |= importlib.import_module(f"bench.report.plots.{name}").draw(run)
            except Incompatible as error:
                if only:
                    raise Incompatible(f"cannot draw {name} of {run.run.file}: {error}") from error
                without[name] = str(error)
        if not figures:
            raise Incompatible(f"{run.run.file} has no data for any plot; {next(iter(without.values()))}")
        return [file for stem, made in figures.items() for file in save(made, folder / stem)], without
