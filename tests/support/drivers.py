"""Runs in processes of their own that start in a moment: their server has imported everything once."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.engine.executors.local import one_thread
from bench.engine.options import Options

for name in (
    *(
        "bench.engine.worker",
        "bench.core.stats",
        "bench.models.unet",
        "bench.report.plots.curves",
        "bench.report.plots.sheets",
    ),
    *("bench.engine.tables", "evaluators.attribute_cnn", "evaluators.fairness_discrepancy", "methods.sample_guidance"),
    *("methods.vanilla", "diffusers.models.unets.unet_2d", "diffusers.schedulers.scheduling_ddim", "scipy.stats"),
    *("matplotlib.backends.backend_agg", "safetensors.torch", "bench.data.avatars"),
):
    importlib.import_module(name)


def drive(suite: Path, out: Path) -> None:
    """Run a suite with one worker; the process ends with 1 where a cell has none or the run was refused."""
    one_thread()
    outcome = run(read_suite(str(suite)), Options(out, workers=1))
    os._exit(1 if outcome.problems else 0)


def warm() -> Any:
    """What starts the processes."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.drivers"])
    return context


def driver(suite: Path, out: Path) -> Any:
    """A started process that runs the suite."""
    process = warm().Process(target=drive, args=(suite, out))
    process.start()
    return process
