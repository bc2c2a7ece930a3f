"""The common style of all plots: sizes of a two-column paper, embedded fonts, a colour and a marker per method.

Draw and save a plot within `style()`, on a figure of `figure()`, in the looks of `looks()`:

    with style():
        fig, axes = figure(PAGE, 2.4, columns=2)
        axes[0].plot(x, y, **look.line())
        axes[0].set(xlabel=label("FD", "lower"))
        legend(fig, [(text(title), look) for title, look in looks(files).items()])
        files = save(fig, folder / "pareto")
"""

from __future__ import annotations

import functools
import io
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

Keywords = dict[str, Any]  # of a matplotlib artist
Better = Literal["lower", "higher"]
Fill = Literal["full", "none", "left", "right", "top", "bottom"]

COLUMN, PAGE = 3.3, 7.0  # widths in inches: one column, or both, of a two-column paper
DPI = 200  # resolution of the PNG
FONT, SMALL = 8.0, 7.0  # points, at the printed size
LINE = 1.45 * SMALL / 72  # height of a legend's line, in inches
SPACING = 0.9  # between the columns of a legend, in multiples of its font size
LONGEST = 40  # longest name that is shown in full, in characters

# Black, then Paul Tol's "muted" scheme (personal.sron.nl/~pault) with its two palest colours kept apart: ten colours
# that people with any common colour blindness can tell apart on white.
PALETTE = (
    *("#000000", "#332288", "#cc6677", "#117733", "#88ccee", "#882255", "#999933", "#44aa99", "#aa4499", "#ddcc77"),
)
# Okabe & Ito 2008: eight colours for the classes of an attribute, different from those of the methods.
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
NEUTRAL, FAINT = "#555555", "#bbbbbb"  # reference lines and notes; grids
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">")  # one per colour, for readers who see no colours
FILLS: tuple[Fill, ...] = (*("full", "none", "left", "right", "top", "bottom"),)
DASHES = ("-", "--", ":", "-.")
# Position of the shipped methods in PALETTE, the same in every run; any other method takes the next free position. From
# 10 on a second round begins: a method that is near one of the first round has its colour and marker, filled otherwise.
PLACES = {
    **{"vanilla": 0, "distribution_guidance": 1, "sample_guidance": 2, "attribute_switching": 3, "latent_editing": 4},
    **{"universal_guidance": 5, "random_class": 6, "tiw_dsm": 7, "iw_dsm": 8, "dsm_ref": 9},
    **{"class_gap_guidance": 11, "closed_loop_editing": 14, "rejection": 16, "dsm_halves": 17, "dsm_obs": 19},
}

UNDATED: dict[str, dict[str, None]] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
ARROWS = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}"}


@dataclass(frozen=True)
class Look:
    """The look of a method in every plot of a run.

    Attributes:
        colour: "#rrggbb".
        marker: a marker of matplotlib.
        fill: the marker's fill, different for each variant of a method.
        dashes: the line's dashes, likewise.
    """

    colour: str
    marker: str
    fill: Fill = "full"
    dashes: str = "-"

    def points(self) -> Keywords:
        """Return the keywords of `Axes.plot` and `Axes.errorbar` for points without a line."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "fillstyle": self.fill,
            "markerfacecoloralt": "white",
            "linestyle": "none",
        }

    def line(self) -> Keywords:
        """Return the same for a line through its points."""
        return {**self.points(), "linestyle": self.dashes}


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """Assign a look to every method of a run.

    A colour and a marker stand for a method, the fill of the marker for its variants ("tiw_dsm 5 %", "tiw_dsm 25 %").
    If all methods beside vanilla are variants of one method, each variant gets a colour and a marker.

    Args:
        methods: the stem of the method's file by its title, in the order of the run.
    """
    alone = len(set(methods.values()) - {"vanilla"}) <= 1
    kinds = {title: title if alone and file != "vanilla" else file for title, file in methods.items()}
    positions = _positions(list(dict.fromkeys(kinds.values())))
    assigned: dict[str, Look] = {}
    n_variants: dict[str, int] = {}
    for title, kind in kinds.items():
        variant = n_variants.setdefault(kind, 0) + positions[kind] // len(PALETTE)
        n_variants[kind] += 1
        i = positions[kind] % len(PALETTE)
        assigned[title] = Look(PALETTE[i], MARKERS[i], FILLS[variant % len(FILLS)], DASHES[variant % len(DASHES)])
    return assigned


def _positions(kinds: Sequence[str]) -> dict[str, int]:
    """Return the position of each kind; past the palette's end, a second round through it begins."""
    taken = {kind: PLACES[kind] for kind in kinds if kind in PLACES}
    # Black is reserved for vanilla, in the second round too.
    free = (i for i in itertools.count(1) if i not in taken.values() and i % len(PALETTE))
    others = [kind for kind in kinds if kind not in taken]
    return {**taken, **dict(zip(others, free, strict=False))}


@contextmanager
def style() -> Iterator[None]:
    """Set the style within a block: fonts are embedded as TrueType (type 42), no text is parsed as mathematics."""
    import matplotlib
    import seaborn

    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so that a plot is the same everywhere
        "font.size": FONT,
        "axes.labelsize": FONT,
        "axes.titlesize": FONT,
        "figure.titlesize": FONT,
        "figure.labelsize": FONT,
        "legend.fontsize": SMALL,
        "legend.title_fontsize": FONT,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "text.parse_math": False,  # a "$" in a name is a dollar
        "axes.formatter.use_mathtext": False,
        "axes.unicode_minus": True,
        "axes.linewidth": 0.6,
        "axes.edgecolor": NEUTRAL,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": FAINT,
        "grid.linewidth": 0.3,
        "lines.linewidth": 1.0,
        "lines.markersize": 4.5,
        "lines.markeredgewidth": 0.8,
        "legend.frameon": False,
        "legend.borderpad": 0.2,
        "legend.handlelength": 1.8,
        "legend.handletextpad": 0.5,
        "legend.columnspacing": SPACING,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "savefig.dpi": DPI,
    }
    with seaborn.axes_style("ticks"), matplotlib.rc_context(settings):
        yield


def figure(
    width: float, height: float, rows: int = 1, columns: int = 1, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of exactly this size in inches, and return it with its axes, row by row.

    The figure is in no global state and needs no display. Its layout keeps its contents from overlapping.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, list(fig.subplots(rows, columns, squeeze=False, sharex=sharex).flat)


def label(name: str, better: Better | None = None, longest: int = LONGEST) -> str:
    """Return the label of an axis, with an arrow in the better direction."""
    return text(name, longest) + ARROWS.get(better or "", "")


def text(name: str, longest: int = LONGEST) -> str:
    """Return a name as it can be drawn: on one line, only characters of the font, shortened in its middle."""
    plain = "".join(c if c.isprintable() and ord(c) in _glyphs() else f"\\u{ord(c):04x}" for c in name)
    if len(plain) <= longest:
        return plain
    half = (longest - 1) // 2
    return f"{plain[:half]}\N{HORIZONTAL ELLIPSIS}{plain[-half:]}"


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def legend(fig: Figure, entries: Sequence[tuple[str, Look]], title: str = "", lines: bool = False) -> Legend:
    """Write a legend below the axes, in as many columns as the figure's width holds.

    The figure becomes taller by the legend's height.

    Args:
        fig: from `figure`.
        entries: name and look of each, in order; names as `text` returns them.
        title: above the entries, and so below the axes.
        lines: whether the plot has lines through its points.
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **(look.line() if lines else look.points())) for _, look in entries]
    return legend_of(fig, handles, [name for name, _ in entries], title)


def legend_of(fig: Figure, handles: Sequence[Artist], names: Sequence[str], title: str = "") -> Legend:
    """Write a legend of any artists below the axes.

    The common label of the x axes belongs into the title: `Figure.supxlabel` would lie under the legend.
    """
    columns = legend_columns(fig.get_figwidth(), names)
    lines = textwrap.wrap(title, int((fig.get_figwidth() - 0.1) / (inches("n", FONT) * 1.02)), break_on_hyphens=False)
    grow(fig, (-(-len(names) // columns) + 1.3 * len(lines) + 0.2) * LINE)
    box = fig.legend(
        handles, list(map(entry, names)), title="\n".join(lines) or None, loc="outside lower center", ncols=columns
    )
    box.get_title().set_multialignment("center")
    return box


def entry(name: str) -> str:
    """Return a name that matplotlib shows in a legend: it hides names that start with an underscore."""
    return "\N{ZERO WIDTH SPACE}" + name if name.startswith("_") else name


def legend_columns(width: float, names: Sequence[str]) -> int:
    """Return the number of columns, at least one, of a legend of these names in a figure of this width in inches."""
    em = SMALL / 72
    widest = max((inches(name) for name in names), default=0.0) + (2.3 + SPACING) * em  # with its marker and the gaps
    return max(1, min(int((width + SPACING * em) // widest), len(names)))


def grow(fig: Figure, height: float) -> None:
    """Make a figure taller by this many inches."""
    fig.set_size_inches(fig.get_figwidth(), fig.get_figheight() + height)


@functools.cache
def inches(name: str, size: float = SMALL) -> float:
    """Return the width of a text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not name.strip():
        return 0.0  # a blank has no outline
    path = TextPath((0, 0), name, size=size, prop=FontProperties(family="DejaVu Sans"))
    return float(path.get_extents().width) / 72


def save(fig: Figure, stem: Path, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write stem.png and stem.pdf atomically; the same figure gives the same bytes.

    Args:
        fig: from `figure`.
        stem: the path without its suffix.
        kinds: the suffixes, without their dots.

    Raises:
        ConfigError: the folder cannot be written.
    """
    from bench.storage.files import write_bytes

    files = []
    for kind in kinds:
        out = io.BytesIO()
        fig.savefig(out, format=kind, metadata=UNDATED[kind])
        files.append(stem.with_name(f"{stem.name}.{kind}"))
        write_bytes(files[-1], out.getvalue())
    return files
