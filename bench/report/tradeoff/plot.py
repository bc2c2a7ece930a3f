"""The trade-off as a plot: discrepancy over Fréchet distance, a panel per task, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from bench.core.pareto import pareto_front
from bench.report.plots.panels import ACROSS, point
from bench.report.plots.style import COLUMN, MARKERS, PAGE, Fill, Look, figure, label, legend_of, save, style, text
from bench.report.tradeoff.points import Point, Setting, by_task
from bench.report.tradeoff.summary import REFERENCE, on_front

MOST = 6  # a setting with more values than this gets a colour bar instead of legend entries
WIDE = 10.0  # positive values that span more than this many times the smallest get a logarithmic colour bar
COLOURS = "viridis"


def write_plot(points: Sequence[Point], quality: str, folder: Path) -> list[Path]:
    """Write trade-off.png and trade-off.pdf.

    Args:
        points: of all tasks.
        quality: name of the Fréchet distance's column.
        folder: written to; created where it does not exist.

    Raises:
        ConfigError: the folder cannot be written.
    """
    with style():
        return save(draw(points, quality), folder / "trade-off")


def draw(points: Sequence[Point], quality: str) -> Figure:
    """Draw a panel per task: colour stands for the first setting that varies, the marker for the second.

    Further settings are in the CSV only. Points with a full marker are on the front over discrepancy, Fréchet distance
    and cost; the dotted line is the front over the two axes.
    """
    tasks = by_task(points)
    across = min(len(tasks), ACROSS)
    rows = -(-len(tasks) // across)
    fig, axes = figure(COLUMN if across == 1 else PAGE, 2.2 * rows, rows, across)
    looks = Looks(points)
    for ax, (task, of_task) in zip(axes, tasks.items(), strict=False):
        _panel(ax, of_task, looks)
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


def _panel(ax: Axes, points: Sequence[Point], looks: Looks) -> None:
    both = []
    for p, front in zip(points, on_front(points), strict=True):
        if p.fairness is not None and p.quality is not None:
            look = looks.of(p)
            face = look.colour if front else "white"
            point(ax, p.quality, p.fairness, look, p.title, markerfacecolor=face, fillstyle="full")
            both.append((p.quality.value, p.fairness.value))
    if both:
        best = sorted({pair for pair, on in zip(both, pareto_front(both), strict=True) if on})
        ax.step(*zip(*best, strict=True), where="post", color="black", linestyle=":", linewidth=0.9, label="front")
    else:
        ax.annotate("no point has both numbers", (0.5, 0.5), xycoords="axes fraction", ha="center")
    ax.set_ylim(bottom=0)


class Looks:
    """The look of every point by its settings. Vanilla is a circle, and black where it lacks the first setting.

    Attributes:
        names: the settings that vary, at most two: for the colour and for the marker.
        bar: colour bar of the first setting where it has too many values to name; else None.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        vanilla_last = sorted(points, key=lambda p: p.method == REFERENCE)  # it has fewer settings than the method
        values = {name: _distinct(points, name) for p in vanilla_last for name in p.settings}
        self.names = [name for name, distinct in values.items() if len(distinct) > 1][:2]
        first, second = ([values[name] for name in self.names] + [[], []])[:2]
        numbers = _numbers(first)
        self.bar = _bar(numbers) if numbers is not None and len(numbers) > MOST else None
        palette = seaborn.color_palette(COLOURS, len(first)).as_hex() if first else []
        self._colours: Mapping[str, str] = dict(zip(map(str, first), palette, strict=True))
        named = len(second) if len(second) < len(MARKERS) else 0
        self._markers = dict(zip(map(str, second[:named]), MARKERS[1:], strict=False))

    def of(self, p: Point) -> Look:
        """Return the look of a point."""
        first, second = ([p.settings.get(name) for name in self.names] + [None, None])[:2]
        marker = "o" if p.method == REFERENCE else self._markers.get(str(second), MARKERS[1])
        if self.bar is not None and first is not None:
            return Look(to_hex(self.bar.to_rgba(np.array([first], dtype=np.float64))[0]), marker)
        default = "black" if p.method == REFERENCE else seaborn.color_palette(COLOURS, 1).as_hex()[0]
        return Look(self._colours.get(str(first), default), marker)

    def legend(self) -> list[tuple[Artist, str]]:
        """Return the meaning of colours and markers, each with an artist that shows it."""
        entries: list[tuple[Artist, str]] = [(_key("o", "full"), REFERENCE)]
        if self.bar is None:
            entries += [
                (_key(MARKERS[1], "full", colour), text(f"{self.names[0]} {value}"))
                for value, colour in self._colours.items()
            ]
        entries += [(_key(marker, "full"), text(f"{self.names[1]} {value}")) for value, marker in self._markers.items()]
        return entries


def _distinct(points: Sequence[Point], name: str) -> Sequence[Setting]:
    distinct: list[Setting] = []
    for p in points:
        if name in p.settings and p.settings[name] not in distinct:
            distinct.append(p.settings[name])
    numbers = _numbers(distinct)
    return distinct if numbers is None else sorted(numbers)


def _numbers(values: Sequence[Setting]) -> list[float] | None:
    """Return values that are all numbers, unchanged; None where one is not."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return numbers if len(numbers) == len(values) else None


def _bar(values: Sequence[float]) -> ScalarMappable:
    low, high = values[0], values[-1]
    norm = LogNorm(low, high) if low > 0 and high > WIDE * low else Normalize(low, high)
    return ScalarMappable(norm, seaborn.color_palette(COLOURS, as_cmap=True))


def _key(marker: str, fill: Fill, colour: str = "black") -> Line2D:
    return Line2D([], [], **Look(colour, marker, fill).points())
