"""A trade-off as tables: trade-off.csv and hypervolume.csv, and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.text import csv_table, interval, number
from bench.core.value import Value
from bench.report.tradeoff.points import Point, by_task
from bench.report.tradeoff.summary import Volume, on_front, volumes
from bench.storage.files import write_bytes

FRONT = {True: "yes", False: "no", None: ""}


def write_tables(points: Sequence[Point], quality: str, folder: Path) -> list[Path]:
    """Write trade-off.csv, one row a point, and hypervolume.csv, one row a method and task.

    Args:
        points: at least one.
        quality: what the column of the Frechet distance is called.
        folder: must be there or be possible to make.

    Raises:
        ConfigError: the folder cannot be written.
    """
    settings = list(dict.fromkeys(name for point in points for name in point.settings))
    rows = [_row(p, front, settings, quality) for p, front in zip(points, on_front(points), strict=True)]
    files = [folder / "trade-off.csv", folder / "hypervolume.csv"]
    write_bytes(files[0], csv_table(rows).encode())
    measured = [_volume_row(v, points[0].ranking_metric, quality) for v in volumes(points)]
    if measured:
        write_bytes(files[1], csv_table(measured).encode())
    else:
        files.pop().unlink(missing_ok=True)
    return files


def _row(point: Point, front: bool | None, settings: Sequence[str], quality: str) -> dict[str, Any]:
    return {
        "task": point.task,
        "run": point.run,
        "method": point.title,
        **{name: _plain(point.settings.get(name)) for name in settings},
        **_ends(point.ranking_metric, point.fairness),
        "fd_noise_floor": point.noise_floor,
        **_ends(quality, point.quality),
        "nfe_per_image": point.calls,
        "backward_per_image": point.backward,
        "passes_per_image": point.passes,
        "pareto": FRONT[front],
        "n": point.n,
        "seeds": point.seeds,
        "status": point.status,
        "reason": point.reason,
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _ends(column: str, found: Value | None) -> dict[str, float | None]:
    ends = (None, None, None) if found is None else (found.value, found.low, found.high)
    return dict(zip((column, f"{column}_low", f"{column}_high"), ends, strict=True))


def _volume_row(volume: Volume, ranking_metric: str, quality: str) -> dict[str, Any]:
    corner = [*volume.reference, None][:3]
    names = (f"reference_{ranking_metric}", f"reference_{quality}", "reference_passes_per_image")
    return {
        "task": volume.task,
        "method": volume.method,
        "objectives": volume.objectives,
        "points": volume.n_points,
        **dict(zip(names, corner, strict=True)),
        "hypervolume": volume.value,
    }


def show(points: Sequence[Point], quality: str, console: Console) -> None:
    """Print one table a task: its points, then the hypervolumes."""
    front = dict(zip(map(id, points), on_front(points), strict=True))
    measured = volumes(points)
    for task, own in by_task(points).items():
        table = Table(title=escape(f"trade-off on {task}"), caption=_caption([v for v in measured if v.task == task]))
        table.add_column("method")
        for head in (
            f"{points[0].ranking_metric} [95 %]",
            escape(f"Frechet to {quality.rpartition(' to ')[2]} [95 %]"),
            "calls/image",
            "backward",
            "on the front",
        ):
            table.add_column(head, justify="right")
        for p in own:
            name = p.title if len({q.run for q in points}) == 1 else f"{p.title} ({p.run})"
            if p.status != "ok" and p.objectives is None:
                table.add_row(escape(name), p.status, escape(p.reason[:60]))
                continue
            cells = (_shown(p.fairness), _shown(p.quality), number(p.calls), number(p.backward), FRONT[front[id(p)]])
            table.add_row(*map(escape, (name, *cells)))
        console.print(table)


def _shown(found: Value | None) -> str:
    return "-" if found is None else number(found.value) + interval(found.low, found.high)


def _caption(measured: Sequence[Volume]) -> str:
    """The hypervolumes of a task, each beside its corner."""
    found = []
    for m in (2, 3):
        of_m = [v for v in measured if v.objectives == m]
        if of_m:
            corner = ", ".join(number(x) for x in of_m[0].reference)
            values = ", ".join(f"{v.method} {number(v.value)}" for v in of_m)
            found.append(f"Hypervolume below vanilla's worst ({corner}), as a share of that box: {values}.")
    return escape("The front is that of the estimates, without their intervals. " + " ".join(found))
