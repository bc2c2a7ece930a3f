"""The trade-off as a plot: discrepancy over Frechet distance, a panel a task, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import seaborn
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from bench.core.pareto import pareto_front
from bench.report.plots.panels import ACROSS, point
from bench.report.plots.style import COLUMN, MARKERS, PAGE, Look, figure, label, legend_of, save, style, text
from bench.report.tradeoff.points import Point, by_task
from bench.report.tradeoff.summary import REFERENCE, on_front

MOST = 6  # values of a setting that the legend names; more of them are shown by a colour bar
WIDE = 10.0  # positive values whose largest is more than so many times the smallest have a logarithmic colour bar
COLOURS = "viridis"


def write_plot(points: Sequence[Point], quality: str, folder: Path) -> list[Path]:
    """Write trade-off.png and trade-off.pdf.

    Args:
        points: of all tasks.
        quality: what the column of the Frechet distance is called.
        folder: must be there or be possible to make.

    Raises:
        ConfigError: the folder cannot be written.
    """
    with style():
        return save(draw(points, quality), folder / "trade-off")


def draw(points: Sequence[Point], quality: str) -> Any:
    """A figure with a panel a task: colour stands for the first setting that varies, the marker for the second.

    Further settings are in the CSV alone. A full marker is on the front over discrepancy, Frechet distance and cost;
    the dotted line is the front over the two axes.
    """
    tasks = by_task(points)
    across = min(len(tasks), ACROSS)
    rows = -(-len(tasks) // across)
    fig, axes = figure(COLUMN if across == 1 else PAGE, 2.2 * rows, rows, across)
    looks = Looks(points)
    for ax, (task, own) in zip(axes, tasks.items(), strict=False):
        _panel(ax, own, looks)
        ax.set_title(text(task))
    for ax in axes[len(tasks) :]:
        ax.remove()
    for ax in axes[: len(tasks) : across]:
        ax.set_ylabel(label("fairness discrepancy (L2)", "lower"))
    if looks.bar is not None:
        fig.colorbar(looks.bar, ax=axes[: len(tasks)], label=text(looks.names[0]), format=StrMethodFormatter("{x:g}"))
    line = Line2D([], [], color="black", linestyle=":", linewidth=0.9)
    entries = [
        *looks.legend(),
        (line, "Pareto front"),
        (_key("o", "none"), "dominated"),
    ]
    title = label(f"Fréchet distance to {quality.rpartition(' to ')[2]}", "lower")
    legend_of(fig, [handle for handle, _ in entries], [name for _, name in entries], title)
    return fig


def _panel(ax: Any, own: Sequence[Point], looks: Looks) -> None:
    both = []
    for p, front in zip(own, on_front(own), strict=True):
        if p.fairness is not None and p.quality is not None:
            fill = {"markerfacecolor": looks.of(p).colour if front else "white", "fillstyle": "full"}
            point(ax, p.quality, p.fairness, looks.of(p), p.title, **fill)
            both.append((p.quality.value, p.fairness.value))
    if both:
        best = sorted({pair for pair, on in zip(both, pareto_front(both), strict=True) if on})
        ax.step(*zip(*best, strict=True), where="post", color="black", linestyle=":", linewidth=0.9, label="front")
    else:
        ax.annotate("no point has both values", (0.5, 0.5), xycoords="axes fraction", ha="center")
    ax.set_ylim(bottom=0)


class Looks:
    """The look of every point by its settings; vanilla is a circle, and black where it has not the first of them.

    Attributes:
        names: the settings that vary, at most two: for the colour, and for the marker.
        bar: of the colours, where the first setting has too many values to name; else None.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        own = sorted(points, key=lambda p: p.method == REFERENCE)  # the method's settings first: vanilla has fewer
        values = {name: _distinct(points, name) for p in own for name in p.settings}
        self.names = [name for name, found in values.items() if len(found) > 1][:2]
        first, second = ([values[name] for name in self.names] + [[], []])[:2]
        self.bar = _bar(first) if len(first) > MOST and all(_is_number(v) for v in first) else None
        palette = seaborn.color_palette(COLOURS, len(first)).as_hex() if first else []
        self._colours: Mapping[str, str] = dict(zip(map(str, first), palette, strict=True))
        named = len(second) if len(second) < len(MARKERS) else 0
        self._markers = dict(zip(map(str, second[:named]), MARKERS[1:], strict=False))

    def of(self, p: Point) -> Look:
        """The look of a point."""
        first, second = ([p.settings.get(name) for name in self.names] + [None, None])[:2]
        marker = "o" if p.method == REFERENCE else self._markers.get(str(second), MARKERS[1])
        if self.bar is not None and first is not None:
            colour: Any = self.bar.to_rgba(first)
            return Look(to_hex(colour), marker)
        own = "black" if p.method == REFERENCE else seaborn.color_palette(COLOURS, 1).as_hex()[0]
        return Look(self._colours.get(str(first), own), marker)

    def legend(self) -> list[tuple[Any, str]]:
        """What the colours and the markers stand for, each with an artist that has it."""
        found = [(_key("o", "full"), REFERENCE)]
        if self.bar is None:
            found += [
                (_key(MARKERS[1], "full", colour), text(f"{self.names[0]} {value}"))
                for value, colour in self._colours.items()
            ]
        return found + [
            (_key(marker, "full"), text(f"{self.names[1]} {value}")) for value, marker in self._markers.items()
        ]


def _distinct(points: Sequence[Point], name: str) -> list[Any]:
    found: list[Any] = []
    for p in points:
        if name in p.settings and p.settings[name] not in found:
            found.append(p.settings[name])
    return sorted(found) if all(map(_is_number, found)) else found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bar(values: Sequence[float]) -> ScalarMappable:
    low, high = values[0], values[-1]
    norm = LogNorm(low, high) if low > 0 and high > WIDE * low else Normalize(low, high)
    return ScalarMappable(norm, seaborn.color_palette(COLOURS, as_cmap=True))


def _key(marker: str, fill: Any, colour: str = "black") -> Line2D:
    return Line2D([], [], **Look(colour, marker, fill).points())
