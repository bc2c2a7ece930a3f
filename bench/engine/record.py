"""The record that a run leaves of itself: the suite, software, hardware and time."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import JsonValue

from bench.config.build import build_method
from bench.config.suite import Suite
from bench.core.provenance import bench_version, commit, package_versions
from bench.core.specs import Fields
from bench.engine.keys import PROTOCOL
from bench.engine.options import Options
from bench.engine.plugin_record import plugins_of
from bench.results.run_record import RunRecord


def run_record(suite: Suite, options: Options, started: datetime) -> RunRecord:
    """Return the record of a run that ends now.

    Args:
        suite: what was run.
        options: how it was run.
        started: start of the run, in UTC.
    """
    only: dict[str, JsonValue] = {key: list[JsonValue](sorted(values)) for key, values in options.only.items()}
    return RunRecord(
        suite=resolved(suite),
        options={"only": only, "device": options.device, "compute_batch": options.compute_batch},
        protocol=PROTOCOL,
        bench_version=bench_version(),
        commit=commit(),
        python=platform.python_version(),
        packages=package_versions(),
        hardware=_hardware(options.device),
        device=options.device,
        started=started,
        ended=datetime.now(UTC),
        plugins=dict(plugins_of(suite)),
    )


def resolved(suite: Suite) -> dict[str, JsonValue]:
    """Return a suite with every default filled in, those of its methods included; `Suite` reads it again."""
    tree: dict[str, JsonValue] = suite.model_dump(mode="json", by_alias=True)
    tree["methods"] = [
        {
            "name": m.name,
            "with": json.loads(Fields(dataclasses.asdict(build_method(m.name, m.fields))).text),
            "label": m.label,
            "tuned": m.tuned,
            "chosen": m.model_dump(mode="json")["chosen"],
        }
        for m in suite.methods
    ]
    return tree


def _hardware(device: str) -> dict[str, JsonValue]:
    on_gpu = torch.device(device).type == "cuda"
    return {
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
    }


def _cpu_model() -> str:
    """Return the CPU's name, from Linux's list where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
