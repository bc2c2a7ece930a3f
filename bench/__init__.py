"""The benchmark from Python: `import bench` loads no torch; every name is imported when it is first used.

    import bench

    run = bench.run("quick", out="runs")
    print(run.leaderboard)

docs/api.md describes every name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import (
        check_plugin,
        doctor,
        load_suite,
        plan,
        prepare,
        profile,
        run,
        sweep,
        train,
        tune,
        verify,
    )
    from bench.api.finished import check, compare, export, open_run, paper_table, rank, write_page, write_plots
    from bench.core.errors import BenchError
    from bench.report.plots import figures as plots

FINISHED = ("check", "compare", "export", "open_run", "paper_table", "rank", "write_page", "write_plots")
MODULES = {  # the others are in bench.api
    **dict.fromkeys(FINISHED, "bench.api.finished"),
    "BenchError": "bench.core.errors",
    "plots": "bench.report.plots.figures",
}

__all__ = [
    "BenchError",
    "check",
    "check_plugin",
    "compare",
    "doctor",
    "export",
    "load_suite",
    "open_run",
    "paper_table",
    "plan",
    "plots",
    "prepare",
    "profile",
    "rank",
    "run",
    "sweep",
    "train",
    "tune",
    "verify",
    "write_page",
    "write_plots",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = importlib.import_module(MODULES.get(name, "bench.api"))
    return module if name == "plots" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
