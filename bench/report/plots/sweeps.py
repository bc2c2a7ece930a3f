"""How a result changes with a method's field, such as its strength: every numeric field that takes several values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from bench.core.errors import Incompatible
from bench.core.schema import OVER_PROMPTS
from bench.report.plots.finished import Finished
from bench.report.plots.panels import BARS, headings, task_panels, y_label
from bench.report.plots.style import NEUTRAL, Look, label, looks, text
from bench.results.metric_info import metric as known
from bench.results.run import Key
from bench.storage.files import slug

WIDE = 10.0  # positive values that span more than this many times the smallest are shown on a logarithmic axis


@dataclass(frozen=True)
class Line:
    """Cells that differ in one field alone.

    Attributes:
        file: the method's file.
        rest: its other fields, as JSON.
        titles: the method's title by the field's value, rising.
    """

    file: str
    rest: str
    titles: Mapping[float, str]


def draw(run: Finished) -> dict[str, Any]:
    """A figure a field and metric (the discrepancy, every Frechet distance), with a panel a task.

    Raises:
        Incompatible: no numeric field of a method has several values in the run.
    """
    figures = {}
    for field, lines in swept(run).items():
        named = name(lines)
        for metric, scope in [(run.run.ranking_metric, ""), *run.scopes("frechet_")]:
            stem = "-".join(filter(None, ["sweep", slug(field), slug(metric), slug(scope)]))
            figures[stem] = _of(run, field, named, metric, scope)
    if not figures:
        raise Incompatible("no numeric field of a method takes several values in the run")
    return figures


def swept(run: Finished) -> dict[str, list[Line]]:
    """Every numeric field that takes several values, all other fields being equal."""
    rows: list[Any] = list(run.run.rows.drop_duplicates("method").itertuples())
    cells = [(row.method, row.method_file, dict(_numbers(json.loads(row.fields)))) for row in rows]
    found: dict[str, list[Line]] = {}
    for field in dict.fromkeys(name for *_, fields in cells for name in fields):
        groups: dict[tuple[str, str], dict[float, str]] = {}
        for title, file, fields in cells:
            value = fields.get(field)
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = json.dumps({k: v for k, v in fields.items() if k != field}, sort_keys=True)
                groups.setdefault((file, rest), {}).setdefault(float(value), title)
        lines = [Line(*key, dict(sorted(titles.items()))) for key, titles in groups.items() if len(titles) > 1]
        if lines:
            found[field] = lines
    return found


def _numbers(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by name, those of a list or an object one by one: "window[0]", "training.steps"."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}.")
        elif isinstance(value, list):
            yield from ((f"{before}{name}[{i}]", item) for i, item in enumerate(value))
        else:
            yield before + name, value


def name(lines: list[Line]) -> dict[str, Line]:
    """The lines by a name each: the method, and those other fields in which lines of that method differ."""
    named: dict[str, Line] = {}
    for line in lines:
        others = [json.loads(other.rest) for other in lines if other.file == line.file]
        own = json.loads(line.rest)
        told = [k for k in own if any(other.get(k) != own[k] for other in others)]
        named[", ".join([line.file, *(f"{k} {json.dumps(own[k])}" for k in told)])] = line
    return named


def _of(run: Finished, field: str, lines: Mapping[str, Line], metric: str, scope: str) -> Any:
    fig, panels = task_panels(run, 1.95)
    own = looks({title: line.file for title, line in lines.items()} | {"vanilla": "vanilla"})
    unguided = next((title for title, file in run.files.items() if file == "vanilla"), None)
    values = sorted({v for line in lines.values() for v in line.titles})
    gaps = []
    for task, ax in panels:
        keys = []
        for title, line in lines.items():
            mine = {v: Key(task, t, metric, scope or task.attributes) for v, t in line.titles.items()}
            keys += list(mine.values())
            _line(ax, run, title, mine, own[title])
        if unguided is not None:
            _level(ax, run, Key(task, unguided, metric, scope or task.attributes))
        _axis(ax, values)
        gaps.append(run.gaps(keys))
    headings(fig, panels, gaps)
    y_label(panels, label(_metric(metric, scope), known(metric).better, 60))
    level = [(Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1), text(unguided or ""))] if unguided else []
    run.legend(
        fig, text(field), (), [(Line2D([], [], **own[title].line()), text(title, 70)) for title in lines] + level
    )
    return fig


def _metric(metric: str, scope: str) -> str:
    if metric.startswith("fd_"):
        return "fairness discrepancy (L2)" + (", mean over prompts" if metric == OVER_PROMPTS else "")
    return f"Fréchet distance to {scope}"


def _line(ax: Any, run: Finished, title: str, keys: Mapping[float, Key], look: Look) -> None:
    found = {value: q for value, key in keys.items() if (q := run.measured.quantity(key)) is not None}
    x, y = list(found), [q.value for q in found.values()]
    ends = [(q.value if q.low is None else q.low, q.value if q.high is None else q.high) for q in found.values()]
    bars = [[v - low for v, (low, _) in zip(y, ends, strict=True)], [h - v for v, (_, h) in zip(y, ends, strict=True)]]
    ax.errorbar(x, y, yerr=bars if x else None, label=title, **(look.line() | BARS), zorder=3)


def _level(ax: Any, run: Finished, key: Key) -> None:
    """What the unguided model gives: a dashed line over the whole width, with its interval as a band."""
    found = run.measured.quantity(key)
    if found is not None:
        ax.axhline(found.value, color=NEUTRAL, linestyle="--", linewidth=1, label=key.method)
        if found.low is not None and found.high is not None:
            ax.axhspan(found.low, found.high, color=NEUTRAL, alpha=0.12, linewidth=0)


def _axis(ax: Any, values: list[float]) -> None:
    if min(values) > 0 and max(values) > WIDE * min(values):
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if len(values) <= 6:
        ax.set_xticks(values)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # the default one of a logarithmic axis is mathematics
