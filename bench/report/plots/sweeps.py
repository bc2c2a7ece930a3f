"""A metric over a method's field, such as its strength, for every numeric field with several values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from bench.core.errors import Incompatible
from bench.core.schema import OVER_PROMPTS
from bench.report.plots.finished import Finished
from bench.report.plots.panels import BARS, headings, task_panels, y_label
from bench.report.plots.style import NEUTRAL, Look, label, looks, text
from bench.results.key import Key
from bench.results.metric_info import metric as metric_info
from bench.storage.files import slug

WIDE = 10.0  # positive values that span more than this many times the smallest get a logarithmic axis


@dataclass(frozen=True)
class Line:
    """Cells that differ in one field only.

    Attributes:
        file: the stem of the method's file.
        fixed: its other fields, as JSON.
        titles: the method's title by the field's value, ascending.
    """

    file: str
    fixed: str
    titles: Mapping[float, str]


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure per field and metric (the discrepancy, every Fréchet distance), with a panel per task.

    Raises:
        Incompatible: no numeric field of a method has several values in the run.
    """
    figures = {}
    for field, lines in swept(run).items():
        by_name = line_names(lines)
        for metric, scope in [(run.run.ranking_metric, ""), *run.scopes("frechet_")]:
            stem = "-".join(filter(None, ["sweep", slug(field), slug(metric), slug(scope)]))
            figures[stem] = _of(run, field, by_name, metric, scope)
    if not figures:
        raise Incompatible("no numeric field of a method takes several values in the run")
    return figures


def swept(run: Finished) -> dict[str, list[Line]]:
    """Return the lines of every numeric field that takes several values while all other fields are equal."""
    rows = run.run.rows.drop_duplicates("method")
    columns = (rows[name].tolist() for name in ("method", "method_file", "fields"))
    cells = [(title, file, dict(_flat(json.loads(fields)))) for title, file, fields in zip(*columns, strict=True)]
    by_field: dict[str, list[Line]] = {}
    for field in dict.fromkeys(name for *_, fields in cells for name in fields):
        groups: dict[tuple[str, str], dict[float, str]] = {}
        for title, file, fields in cells:
            value = fields.get(field)
            if isinstance(value, int | float) and not isinstance(value, bool):
                fixed = json.dumps({k: v for k, v in fields.items() if k != field}, sort_keys=True)
                groups.setdefault((file, fixed), {}).setdefault(float(value), title)
        lines = [Line(*key, dict(sorted(titles.items()))) for key, titles in groups.items() if len(titles) > 1]
        if lines:
            by_field[field] = lines
    return by_field


def _flat(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield fields by name, those of a list or an object one by one: "window[0]", "training.steps"."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{name}[{i}]", item) for i, item in enumerate(value))
        else:
            yield prefix + name, value


def line_names(lines: list[Line]) -> dict[str, Line]:
    """Name each line: the method, and those other fields in which lines of that method differ."""
    by_name: dict[str, Line] = {}
    for line in lines:
        siblings = [json.loads(sibling.fixed) for sibling in lines if sibling.file == line.file]
        fixed = json.loads(line.fixed)
        differing = [k for k in fixed if any(sibling.get(k) != fixed[k] for sibling in siblings)]
        by_name[", ".join([line.file, *(f"{k} {json.dumps(fixed[k])}" for k in differing)])] = line
    return by_name


def _of(run: Finished, field: str, lines: Mapping[str, Line], metric: str, scope: str) -> Figure:
    fig, panels = task_panels(run, 1.95)
    line_looks = looks({title: line.file for title, line in lines.items()} | {"vanilla": "vanilla"})
    unguided = next((title for title, file in run.files.items() if file == "vanilla"), None)
    values = sorted({v for line in lines.values() for v in line.titles})
    gaps = []
    for task, ax in panels:
        keys = []
        for title, line in lines.items():
            of_line = {v: Key(task, t, metric, scope or task.attributes) for v, t in line.titles.items()}
            keys += list(of_line.values())
            _line(ax, run, title, of_line, line_looks[title])
        if unguided is not None:
            _level(ax, run, Key(task, unguided, metric, scope or task.attributes))
        _axis(ax, values)
        gaps.append(run.gaps(keys))
    headings(fig, panels, gaps)
    y_label(panels, label(_metric(metric, scope), metric_info(metric).better, 60))
    entries = [(Line2D([], [], **line_looks[title].line()), text(title, 70)) for title in lines]
    if unguided:
        entries.append((Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1), text(unguided)))
    run.legend(fig, text(field), (), entries)
    return fig


def _metric(metric: str, scope: str) -> str:
    if metric.startswith("fd_"):
        return "fairness discrepancy (L2)" + (", mean over prompts" if metric == OVER_PROMPTS else "")
    return f"Fréchet distance to {scope}"


def _line(ax: Axes, run: Finished, title: str, keys: Mapping[float, Key], look: Look) -> None:
    quantities = {value: q for value, key in keys.items() if (q := run.run.value(key)) is not None}
    x, y = list(quantities), [q.value for q in quantities.values()]
    ends = [(q.value if q.low is None else q.low, q.value if q.high is None else q.high) for q in quantities.values()]
    bars = [[v - low for v, (low, _) in zip(y, ends, strict=True)], [h - v for v, (_, h) in zip(y, ends, strict=True)]]
    ax.errorbar(x, y, yerr=bars if x else None, label=title, **(look.line() | BARS), zorder=3)


def _level(ax: Axes, run: Finished, key: Key) -> None:
    """Draw the value of the unguided model as a dashed line over the whole width, with its interval as a band."""
    unguided = run.run.value(key)
    if unguided is not None:
        ax.axhline(unguided.value, color=NEUTRAL, linestyle="--", linewidth=1, label=key.method)
        if unguided.low is not None and unguided.high is not None:
            ax.axhspan(unguided.low, unguided.high, color=NEUTRAL, alpha=0.12, linewidth=0)


def _axis(ax: Axes, values: list[float]) -> None:
    if min(values) > 0 and max(values) > WIDE * min(values):
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if len(values) <= 6:
        ax.set_xticks(values)
    # The default formatter of a logarithmic axis writes powers as mathematics.
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
