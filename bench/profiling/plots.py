"""Plots of a profile: images per second by batch, time by stage, and seconds per image against discrepancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.config.suite import Suite
from bench.core.errors import ConfigError
from bench.profiling.profile import Choice, Profile, profile
from bench.profiling.rows import WHOLE, Row
from bench.report.plots.style import (
    CLASSES,
    COLUMN,
    PAGE,
    Look,
    figure,
    label,
    legend,
    legend_of,
    looks,
    save,
    style,
    text,
)
from bench.results.run import Run

STAGES = ("noise", "unet", "unet_backward", "guidance", "scheduler", "decode", "extract")


def profile_with_plots(suite: Suite, choice: Choice, run: Run | None) -> Profile:
    """Measure a suite's methods, and write the table and the plots to the folder of its profile.

    Raises:
        ConfigError: as `bench.profiling.profile.profile` and `check_run`; nothing is measured.
    """
    if run is not None:
        check_run(run, suite, choice)
    profiled = profile(suite, choice)
    write_plots(choice.folder(suite), profiled, run)
    return profiled


def check_run(run: Run, suite: Suite, choice: Choice) -> None:
    """Refuse, before anything is measured, a run whose discrepancies do not belong to the measured seconds.

    Raises:
        ConfigError: the run has another number of steps than is measured, or shares no method with the suite.
    """
    steps = int(run.rows["steps"].iloc[0])
    measured = choice.steps or (suite.sampler.steps,)
    if steps not in measured:
        raise ConfigError(f"{run.file} was sampled in {steps} steps, which are not measured; add --steps {steps}")
    shared = {m.title for m in suite.methods} & set(run.methods)
    if not shared:
        raise ConfigError(f"{run.file} has none of the methods of suite {suite.suite}; give a run of that suite")


def write_plots(folder: Path, profiled: Profile, run: Run | None) -> list[Path]:
    """Write throughput, stages and, where there is a run, the trade-off, each as PNG and PDF."""
    whole = [r for r in profiled.rows if r.stage == WHOLE]
    if not whole:
        return []
    look = looks({r.method: profiled.files[r.method] for r in whole})
    device = whole[0].device
    files = []
    with style():
        files += save(throughput([r for r in whole if r.steps == whole[0].steps], look), folder / "throughput")
        largest = max(whole, key=lambda r: (r.device == device, r.steps == whole[0].steps, r.batch or 0)).setting
        files += save(stages(profiled.rows, largest), folder / "stages")
        if run is not None:
            steps = int(run.rows["steps"].iloc[0])
            shown = [r for r in whole if (r.device, r.batch, r.steps) == (device, largest[1], steps)]
            files += save(trade_off(shown, run, look), folder / "latency-discrepancy")
    return files


def throughput(rows: Sequence[Row], look: Mapping[str, Look]) -> Figure:
    """Draw images per second by batch: a line per method, a panel per device."""
    devices = list(dict.fromkeys(r.device for r in rows))
    fig, axes = figure(COLUMN * len(devices), 2.6, columns=len(devices))
    for ax, device in zip(axes, devices, strict=True):
        for method, method_look in look.items():
            speeds = sorted((r.batch or 0, r.images_per_second or 0.0) for r in rows if _is(r, method, device))
            ax.plot([b for b, _ in speeds], [speed for _, speed in speeds], **method_look.line())
        ax.set(xscale="log", ylim=(0, None), xlabel="batch", ylabel=label("images per second", "higher"), title=device)
        batches = sorted({r.batch or 0 for r in rows})
        ax.set_xticks(batches, [str(b) for b in batches])
        ax.minorticks_off()
    legend(fig, [(text(m), method_look) for m, method_look in look.items()], lines=True)
    return fig


def _is(row: Row, method: str, device: str) -> bool:
    return (row.method, row.device) == (method, device)


def stages(rows: Sequence[Row], setting: tuple[str, int | None, int | None]) -> Figure:
    """Draw milliseconds per image at one setting: a bar per method, stacked by stage."""
    from matplotlib.patches import Patch

    device, batch, steps = setting
    of_setting = [r for r in rows if r.setting == setting]
    methods = list(dict.fromkeys(r.method for r in of_setting))
    fig, (ax,) = figure(PAGE / 1.4, 1.2 + 0.22 * len(methods))
    left = dict.fromkeys(methods, 0.0)
    for stage, colour in zip(STAGES, CLASSES, strict=False):
        widths = [_per_image(of_setting, m, stage) for m in methods]
        ax.barh([text(m) for m in methods], widths, left=list(left.values()), color=colour, height=0.7)
        left = {m: left[m] + width for m, width in zip(methods, widths, strict=True)}
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=f"milliseconds per image (batch {batch}, {steps} steps, {device})")
    names = [stage.replace("_", " ") for stage in STAGES]
    legend_of(fig, [Patch(color=colour) for _, colour in zip(names, CLASSES, strict=False)], names)
    return fig


def _per_image(rows: Sequence[Row], method: str, stage: str) -> float:
    row = next((r for r in rows if (r.method, r.stage) == (method, stage)), None)
    if row is None or not row.batch:
        return 0.0
    return 1000 * row.seconds * ((row.steps or 1) if row.per == "step" else 1) / row.batch


def trade_off(rows: Sequence[Row], run: Run, look: Mapping[str, Look]) -> Figure:
    """Draw the run's discrepancy (mean over its seeds) over seconds per image, a panel per task."""
    seconds = {r.method: 1 / r.images_per_second for r in rows if r.images_per_second}
    fig, axes = figure(max(COLUMN, PAGE / 3 * len(run.tasks)), 2.6, columns=len(run.tasks), sharex=True)
    shown: dict[str, Look] = {}
    for ax, task in zip(axes, run.tasks, strict=True):
        ranking = (task, run.ranking_metric, task.attributes, "")
        for key in (k for k in run.by_key if (k.task, k.metric, k.scope, k.classifier) == ranking):
            mean = run.value(key)
            if key.method not in seconds or mean is None:
                continue
            shown[key.method] = look[key.method]
            ends = None
            if mean.low is not None and mean.high is not None:
                ends = [[mean.value - mean.low], [mean.high - mean.value]]
            ax.errorbar(seconds[key.method], mean.value, yerr=ends, elinewidth=0.6, **look[key.method].points())
        ax.set(title=text(task.name), xlabel=label("seconds per image", "lower"), ylim=(0, None))
    axes[0].set_ylabel(label(run.ranking_metric, "lower"))
    legend(fig, [(text(m), method_look) for m, method_look in shown.items()])
    return fig
