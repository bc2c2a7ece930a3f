"""Tables of a trade-off: trade-off.csv, hypervolume.csv and the terminal's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.csv_text import to_csv
from bench.core.text import interval, number
from bench.core.value import Value
from bench.report.tradeoff.points import Point, Setting, by_task
from bench.report.tradeoff.summary import Volume, on_front, volumes
from bench.storage.files import write_bytes

CsvValue = bool | int | float | str | None
FRONT = {True: "yes", False: "no", None: ""}


def write_tables(points: Sequence[Point], quality: str, folder: Path) -> list[Path]:
    """Write trade-off.csv, one row per point, and hypervolume.csv, one row per method and task.

    Args:
        points: at least one.
        quality: name of the Fréchet distance's column.
        folder: written to; created where it does not exist.

    Raises:
        ConfigError: the folder cannot be written.
    """
    settings = list(dict.fromkeys(name for point in points for name in point.settings))
    rows = [_row(p, front, settings, quality) for p, front in zip(points, on_front(points), strict=True)]
    files = [folder / "trade-off.csv", folder / "hypervolume.csv"]
    write_bytes(files[0], to_csv(rows).encode())
    measured = [_volume_row(v, points[0].ranking_metric, quality) for v in volumes(points)]
    if measured:
        write_bytes(files[1], to_csv(measured).encode())
    else:
        files.pop().unlink(missing_ok=True)
    return files


def _row(point: Point, front: bool | None, settings: Sequence[str], quality: str) -> dict[str, CsvValue]:
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


def _plain(value: Setting) -> CsvValue:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _ends(column: str, value: Value | None) -> dict[str, float | None]:
    ends = (None, None, None) if value is None else (value.value, value.low, value.high)
    return dict(zip((column, f"{column}_low", f"{column}_high"), ends, strict=True))


def _volume_row(volume: Volume, ranking_metric: str, quality: str) -> dict[str, CsvValue]:
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
    """Print one table per task: its points, then the hypervolumes."""
    front = dict(zip(map(id, points), on_front(points), strict=True))
    measured = volumes(points)
    for task, of_task in by_task(points).items():
        table = Table(title=escape(f"trade-off on {task}"), caption=_caption([v for v in measured if v.task == task]))
        table.add_column("method")
        for head in (
            f"{points[0].ranking_metric} [95 %]",
            escape(f"Fréchet to {quality.rpartition(' to ')[2]} [95 %]"),
            "NFE",
            "backward",
            "on the front",
        ):
            table.add_column(head, justify="right")
        for p in of_task:
            name = p.title if len({q.run for q in points}) == 1 else f"{p.title} ({p.run})"
            if p.status != "ok" and p.objectives is None:
                table.add_row(escape(name), p.status, escape(p.reason[:60]))
                continue
            cells = (_shown(p.fairness), _shown(p.quality), number(p.calls), number(p.backward), FRONT[front[id(p)]])
            table.add_row(*map(escape, (name, *cells)))
        console.print(table)


def _shown(value: Value | None) -> str:
    return "-" if value is None else number(value.value) + interval(value.low, value.high)


def _caption(measured: Sequence[Volume]) -> str:
    """Describe the hypervolumes of a task, each beside its corner."""
    sentences = []
    for m in (2, 3):
        of_m = [v for v in measured if v.objectives == m]
        if of_m:
            corner = ", ".join(number(x) for x in of_m[0].reference)
            values = ", ".join(f"{v.method} {number(v.value)}" for v in of_m)
            sentences.append(f"Hypervolume as a share of the box below vanilla's worst values ({corner}): {values}.")
    return escape(" ".join(["The front is computed from the estimates, ignoring their intervals.", *sentences]))
