"""Plots: what is drawn is what the run's tables say, nothing is dropped, no name breaks one, and fonts are embedded."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bench.core import plugins
from bench.report.plots import cost, curves, gallery, groups, latency, pareto, proportions, sheets, sweeps, ties
from bench.report.plots.finished import Finished, unlike
from bench.report.plots.gallery import list_plots, write_plots
from bench.report.plots.style import (
    CLASSES,
    COLUMN,
    MARKERS,
    PAGE,
    PALETTE,
    PLACES,
    Look,
    figure,
    legend,
    looks,
    save,
    style,
    text,
)
from bench.results.key import Task
from bench.results.tables import read_records
from bench.storage.files import write_arrays
from bench.storage.store import Store
from tests.support.runs import (
    GLASSES,
    Call,
    caller,
    classified,
    edited_run,
    failed,
    half_and_half,
    read_rows,
    refusal,
    score,
    undefined,
    write_run,
)

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "golden" / "run"
HOSTILE = r"_$\frac$ </text> ../../x %s 日 \n" + "\t" + "z" * 60
EYES = Task("eyeglasses", "0.5/0.5")


@pytest.fixture(autouse=True)
def _in_style() -> Iterator[None]:
    with style():
        yield


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def points(ax: Any) -> dict[str, tuple[float, float, list[float], list[float]]]:
    """What is drawn with intervals: x, y and the ends of the bars along x and y, by label."""
    found = {}
    for drawn in ax.containers:
        line, _, bars = drawn.lines
        segments = [bar.get_segments()[0] for bar in bars]
        along = {0: [math.nan, math.nan], 1: [math.nan, math.nan]}
        for (x0, y0), (x1, y1) in segments:
            axis = int(x0 == x1)
            along[axis] = [y0, y1] if axis else [x0, x1]
        found[drawn.get_label()] = (float(line.get_xdata()[0]), float(line.get_ydata()[0]), along[0], along[1])
    return found


def rows_of(run: Path, **wanted: str) -> dict[str, dict[str, str]]:
    """Rows of results.csv by method."""
    return {r["method"]: r for r in read_rows(run / "results.csv") if all(r[k] == v for k, v in wanted.items())}


def ends(row: dict[str, str]) -> list[float]:
    return [float(row["ci_low"]), float(row["ci_high"])]


def near(wanted: Any) -> Any:
    return pytest.approx(wanted, rel=1e-12, abs=1e-12)


def panel(fig: Any, title: str) -> Any:
    (found,) = [ax for ax in fig.axes if title in (ax.get_title(), ax.get_title("right"))]
    return found


def words(ax: Any) -> set[str]:
    return {t.get_text() for t in ax.texts if t.get_text()}


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def legend_names(fig: Any) -> list[str]:
    return [t.get_text() for t in fig.legends[0].get_texts()]


# --- the numbers are those of the run


def test_shares_and_their_intervals_and_the_target_share(tmp_path: Path) -> None:
    rows = [*classified("vanilla", half_and_half(200, 40)), *classified("guided", half_and_half(200, 95))]
    run = Finished.open(write_run(tmp_path, [*rows, failed("broken", "it broke")]))
    (fig,) = proportions.draw(run).values()
    for name in GLASSES.classes:
        ax = panel(fig, name)
        wanted = rows_of(tmp_path, metric="share_hard", scope=f"eyeglasses={name}")
        drawn = points(ax)
        assert set(drawn) == {"vanilla", "guided"}
        for method, (x, y, along, _) in drawn.items():
            assert x == near(float(wanted[method]["value"]))
            assert along == near(ends(wanted[method]))
            assert y == run.run.methods.index(method)
        assert words(ax) == {"failed"}
        (target,) = [line for line in ax.lines if line.get_label() == "target"]
        assert set(target.get_xdata()) == {0.5}


@pytest.mark.parametrize("reference", ["avatars-balanced", "avatars-biased"])
def test_discrepancy_over_frechet_distance_with_its_front(reference: str) -> None:
    run = Finished.open(RUN)
    fig = pareto.draw(run)[f"pareto-frechet-efficientnet-lite0-{reference}"]
    assert len(fig.axes) == len(run.run.tasks) == 3
    for task in run.run.tasks:
        ax = panel(fig, task.name)
        where = {"attributes": task.attributes, "target": task.target}
        x = rows_of(RUN, **where, metric="frechet_efficientnet_lite0", scope=reference)
        y = rows_of(RUN, **where, metric="fd_l2_hard")
        drawn = points(ax)
        assert set(drawn) == set(x)
        for method, (x0, y0, along, up) in drawn.items():
            assert (x0, y0) == near((float(x[method]["value"]), float(y[method]["value"])))
            assert along == near(ends(x[method]))
            assert up == near(ends(y[method]))
        (front,) = [line for line in ax.lines if line.get_label() == "front"]
        at = {(p[0], p[1]) for p in drawn.values()}
        beaten = {p for p in at if any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in at)}
        assert set(zip(*front.get_data(), strict=True)) == at - beaten
        assert front.get_drawstyle() == "steps-post"
    assert legend_names(fig) == [*run.run.methods, "Pareto front"]
    assert " ".join(fig.legends[0].get_title().get_text().split()).endswith(f"{reference} ↓")
    assert fig.axes[0].get_ylabel().endswith("↓")


def test_ties_are_those_of_the_leaderboard() -> None:
    run = Finished.open(RUN)
    fig = ties.draw(run)["ties"]
    board = read_rows(RUN / "leaderboard.csv")
    for task in run.run.tasks:
        ax = panel(fig, task.name)
        mine = [row for row in board if row["task"] == task.name]
        assert [label.get_text() for label in ax.get_yticklabels()] == [row["method"] for row in mine]
        marked = {line.get_label() for line in ax.lines if line.get_linewidth() > 2}
        assert marked == {row["method"] for row in mine if row["tied_best"] in ("best", "yes")}
        assert {m: p[0] for m, p in points(ax).items()} == near({r["method"]: float(r["fd_l2_hard"]) for r in mine})
        (null,) = [line for line in ax.lines if str(line.get_label()).startswith("noise floor")]
        of_task = rows_of(RUN, attributes=task.attributes, target=task.target, metric="fd_l2_hard")
        assert null.get_xdata()[0] == near(float(of_task["vanilla"]["noise_floor"]))


def test_latency_and_cost_are_those_of_the_costs() -> None:
    run = Finished.open(RUN)
    timed, spent = latency.draw(run)["latency"], cost.draw(run)["cost"]
    rows = read_rows(RUN / "costs.csv")
    for task in run.run.tasks:
        mine = {r["method"]: r for r in rows if r["task"] == task.name}
        drawn = points(panel(timed, task.name))
        assert {m: p[0] for m, p in drawn.items()} == near({m: float(r["seconds_per_image"]) for m, r in mine.items()})
        assert {m: p[1] for m, p in drawn.items()} == near(
            {m: run.ranking_metric(task, m).value for m in mine}  # type: ignore[union-attr]
        )
        both = points(panel(spent, task.name))
        for method, row in mine.items():
            seconds, fit = float(row["seconds_per_image"]), float(row["fit_seconds"])
            assert both[method][0] == near(seconds)
            assert both[f"{method}, with the fit"][0] == near(seconds + fit / 200)


def fields(**values: Any) -> dict[str, str]:
    return {"fields": json.dumps(values), "method_file": "guide"}


def test_a_sweep_joins_cells_that_differ_in_one_field_alone(tmp_path: Path) -> None:
    values = {(10, 0.0): 0.5, (100, 0.0): 0.3, (1000, 0.0): 0.2, (10, 0.5): 0.4, (100, 0.5): 0.1}
    rows = [
        score(f"s{s} w{w}", "fd_l2_hard", "eyeglasses", v, 0.05, **fields(strength=s, window=[w, 1.0], loss="l2"))
        for (s, w), v in values.items()
    ]
    rows.append(score("vanilla", "fd_l2_hard", "eyeglasses", 0.6, 0.05))
    last, other = fields(strength=1000, window=[0.5, 1.0], loss="l2"), fields(strength=5, window=[0.0, 1.0], loss="l1")
    rows.append(undefined("s1000 w0.5", "fd_l2_hard", "eyeglasses", "none", **last))
    rows.append(score("other", "fd_l2_hard", "eyeglasses", 0.1, 0.05, **other))
    figures = sweeps.draw(Finished.open(write_run(tmp_path, rows)))
    assert set(figures) == {"sweep-strength-fd-l2-hard", "sweep-window-0-fd-l2-hard"}
    (ax,) = figures["sweep-strength-fd-l2-hard"].axes
    drawn = {c.get_label(): c.lines[0].get_data() for c in ax.containers}
    assert {name: (list(x), list(y)) for name, (x, y) in drawn.items()} == {
        "guide, window[0] 0.0": ([10, 100, 1000], [0.5, 0.3, 0.2]),
        "guide, window[0] 0.5": ([10, 100], [0.4, 0.1]),
    }
    bars = ax.containers[0].lines[2][0].get_segments()
    assert [[y for _, y in bar] for bar in bars] == [near([v - 0.05, v + 0.05]) for v in (0.5, 0.3, 0.2)]
    assert words(ax) == {"undefined: s1000 w0.5"}
    (level,) = [line for line in ax.lines if line.get_label() == "vanilla"]
    assert level.get_ydata()[0] == 0.6
    assert ax.get_xscale() == "log"


def test_the_worst_group_and_every_group(tmp_path: Path) -> None:
    rows = []
    for method, values in {"vanilla": (10.0, 30.0), "guided": (12.0, 20.0)}.items():
        each = zip(GLASSES.classes, values, strict=True)
        rows += [score(method, "group_frechet_net", f"eyeglasses={c} to real", v, 1) for c, v in each]
        rows.append(score(method, "worst_group_frechet_net", "eyeglasses to real", max(values), 2))
    rows.append(undefined("lone", "worst_group_frechet_net", "eyeglasses to real", "needs 20 samples"))
    run = Finished.open(write_run(tmp_path, rows))
    fig = groups.draw(run)["groups-group-frechet-net-real"]
    (ax,) = fig.axes
    assert {m: (p[0], p[2]) for m, p in points(ax).items()} == {"vanilla": (30, [28, 32]), "guided": (20, [18, 22])}
    named = {str(line.get_label()): line.get_xdata()[0] for line in ax.lines}
    ticks = {name: x for name, x in named.items() if ", eyeglasses=" in name}
    assert ticks["vanilla, eyeglasses=absent"] == 10
    assert len(ticks) == 4
    assert words(ax) == {"undefined"}
    assert (
        " ".join(fig.legends[0].get_title().get_text().split())
        == "Fréchet distance, net, of each class to its images in real ↓"
    )


# --- what the store holds


CLASSIFIED = (np.arange(70) % 4 == 0).astype(np.int64)


def with_store(folder: Path, n: int = 70) -> Path:
    """A run of some methods whose store has pictures; image i of a method is filled with i."""
    rows = []
    for method in ("vanilla", "guided"):
        found = classified(method, CLASSIFIED[:n], store=folder / "store")
        rows += found
        key = found[0]["sample_key"]
        for index, start in enumerate(range(0, n, 50)):
            size = min(50, n - start)
            pictures = np.tile(np.arange(start, start + size, dtype=np.uint8)[:, None, None, None], (1, 3, 8, 8))
            write_arrays(Store(folder / "store").shard(key, index, size), {"images": pictures})
    return write_run(folder / "made", [*rows, failed("broken", "it broke", n_asked=n)]).parent


def test_a_sheet_has_a_row_per_method_and_marks_the_predicted_class(tmp_path: Path) -> None:
    run = Finished.open(with_store(tmp_path))
    (fig,) = sheets.draw(run).values()
    ax = fig.axes[0]
    assert words(ax) == {"vanilla", "guided", "broken", "failed"}
    marks = {line.get_label(): line for line in ax.lines}
    for label, name in enumerate(GLASSES.classes):
        x, y = marks[name].get_data()
        predicted_so = CLASSIFIED[:15] == label
        wanted = [(c, r) for r in (0, 1) for c in np.flatnonzero(predicted_so)]
        assert [(int(a), int(b)) for a, b in zip(x, y, strict=True)] == wanted
        assert to_hex(marks[name].get_color()) == CLASSES[label]
        assert marks[name].get_marker() == MARKERS[label]
    mosaic = np.asarray(ax.images[0].get_array())
    h, w = mosaic.shape[0] // 3, mosaic.shape[1] // 15
    assert (mosaic[h // 2, w * 7 + w // 2] == 7).all(), "column i is sample i"
    assert [to_hex(mosaic[h // 2, w * c + 3] / 255) for c in (7, 8)] == list(CLASSES[:2]), "in its class's frame"
    assert (mosaic[2 * h :] == 255).all(), "a failed method has no images"


def test_an_image_that_the_classifier_left_out_has_no_frame() -> None:
    strip = sheets.Strip("a", np.zeros((2, 3, 8, 8), np.uint8), np.array([-1, 0]))
    fig = sheets.draw_sheet([strip], ["x", "y"], "title", "hair", "")
    mosaic = np.asarray(fig.axes[0].images[0].get_array())
    frames = [to_hex(mosaic[mosaic.shape[0] // 2, column + 3] / 255) for column in (0, mosaic.shape[1] // 2)]
    assert frames == ["#ffffff", CLASSES[0]]
    assert [line.get_label() for line in fig.axes[0].lines] == ["x"]
    assert "no frame: not classified" in legend_names(fig)


def test_a_run_leaves_a_sheet_per_task(tmp_path: Path) -> None:
    files = sheets.write_grids(Finished.open(with_store(tmp_path)), tmp_path / "grids")
    assert [f.name for f in files] == ["eyeglasses-uniform.png"]


def test_a_sheet_per_cell_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Finished.open(with_store(tmp_path))
    files, _ = write_plots(run, tmp_path / "plots", ["cells"])
    stems = ["cell-eyeglasses-uniform-vanilla-seed0", "cell-eyeglasses-uniform-guided-seed0"]
    assert [f.name for f in files] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]
    width, height = size_of(files[0])
    assert height > width * 4 * 0.05, "60 samples take four rows"
    monkeypatch.setattr(gallery, "list_plots", lambda: ["cells", "sheets"])
    files, without = write_plots(run, tmp_path / "plots")
    assert not without
    assert {f.stem.partition("-")[0] for f in files} == {"sheet"}


def test_curves_of_the_fits_once_for_cells_that_share_them(tmp_path: Path) -> None:
    folder = with_store(tmp_path)
    rows = read_rows(folder / "results.csv")
    key = next(row["sample_key"] for row in rows if row["method"] == "guided")
    curve = {
        "title": "T",
        "x_label": "tau",
        "y_label": "d",
        "x": [0, 1],
        "lines": {"_a": [3.0, 1.0]},
        "marks": {"_a": 1},
    }
    write_arrays(Store(tmp_path / "store").record(key), {}, {"curves": [curve]})
    figures = curves.draw(Finished.open(folder))
    assert list(figures) == ["curves-eyeglasses-uniform-guided-seed0"]
    (ax,) = figures["curves-eyeglasses-uniform-guided-seed0"].axes
    assert [list(map(float, v)) for v in ax.lines[0].get_data()] == [[0, 1], [3, 1]]
    assert ax.lines[1].get_xdata()[0] == 1
    assert ax.get_legend().get_texts()[0].get_text().endswith("_a"), "an underscore hides nothing"
    shared = [
        {**row, "target": "0.1/0.9"} for row in rows if row["method"] == "guided" and row["metric"] == "share_hard"
    ]
    write_run(folder, [*rows, *shared])
    assert list(curves.draw(Finished.open(folder))) == ["curves-guided-seed0"]


# --- looks


def test_every_shipped_method_has_a_look_of_its_own() -> None:
    shipped = plugins.names("method")
    assert set(PLACES) == set(shipped)
    found = looks({name: name for name in shipped})
    assert len(set(found.values())) == len(shipped)
    first = [found[name] for name, position in PLACES.items() if position < len(PALETTE)]
    assert len({look.colour for look in first}) == len({look.marker for look in first}) == len(PALETTE)
    alone = looks({"tiw_dsm": "tiw_dsm", "dsm_ref": "dsm_ref"})
    assert alone["tiw_dsm"] == found["tiw_dsm"], "the same in every run"


def test_variants_share_a_colour_and_differ_in_fill_but_not_where_they_are_alone() -> None:
    several = looks({"v": "vanilla", "a 5": "a", "a 25": "a", "b": "b"})
    assert several["a 5"].colour == several["a 25"].colour != several["b"].colour
    assert several["a 5"].fill != several["a 25"].fill
    alone = looks({"v": "vanilla", "a 5": "a", "a 25": "a"})
    assert alone["a 5"].colour != alone["a 25"].colour


def test_no_two_methods_look_alike_and_black_is_vanillas() -> None:
    many = looks({"vanilla": "vanilla"} | {f"m{i}": f"m{i}" for i in range(50)})
    assert len(set(many.values())) == 51
    assert [name for name, look in many.items() if look.colour == PALETTE[0]] == ["vanilla"]


def test_colours_differ_for_the_colour_blind() -> None:
    """Simulated by Viénot, Brettel and Mollon 1999: deuteranopia and protanopia as linear maps of linear RGB."""
    blind = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }
    for palette in (PALETTE, CLASSES):
        rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette])
        for matrix in blind.values():
            seen = (np.clip(rgb**2.2 @ np.array(matrix).T, 0, 1)) ** (1 / 2.2)
            apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(seen), 1)]
            assert apart.min() > 0.07


def test_names_become_drawable() -> None:
    assert text("a\nb") == "a\\u000ab"
    assert text("日") == "\\u65e5"
    assert len(text("x" * 99)) <= 40
    assert unlike(["a", "a", "", "a-2", ""]) == ["a", "a-2", "2", "a-2-2", "3"]


def fonts(pdf: bytes) -> bytes:
    """The objects of a PDF, inflated."""
    parts = [pdf]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            parts.append(b"")
    return b"\n".join(parts)


def test_files_have_the_stated_width_and_embedded_truetype_fonts_and_stay_the_same(tmp_path: Path) -> None:
    for width in (COLUMN, PAGE):
        pages = []
        for again in ("a", "b"):
            fig, (ax,) = figure(width, 1.5)
            ax.plot([1, 2], [1, 2])
            ax.set(xlabel="1 000 µ", title="$x$")
            legend(fig, [("_a name", Look("#000000", "o")), ("another", Look("#332288", "s"))])
            png, pdf = save(fig, tmp_path / again)
            pages.append((png.read_bytes(), pdf.read_bytes()))
            assert size_of(png)[0] == pytest.approx(width * 200, abs=1)
        assert pages[0] == pages[1]
        found = fonts(pages[0][1])
        assert b"/Type3" not in found
        assert b"/FontFile2" in found, "TrueType, embedded"
        assert f"/MediaBox [ 0 0 {width * 72:g}".encode() in found


# --- the command


def hostile(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "method": HOSTILE} if old["method"] == "sample_guidance" else old


def test_the_command_draws_all_that_a_run_has_and_says_what_it_has_not(tmp_path: Path, call: Call) -> None:
    run = edited_run(RUN, tmp_path / "run", hostile)
    before = {p: p.read_bytes() for p in run.iterdir()}
    code, out, err = call("plot", run, "--out", tmp_path / "out")
    assert code == 0, err
    names = {p.name for p in (tmp_path / "out").iterdir()}
    stems = {n.rpartition(".")[0] for n in names}
    assert names == {f"{s}.{kind}" for s in stems for kind in ("png", "pdf")}
    assert {s.partition("-")[0] for s in stems} == {"pareto", "latency", "cost", "ranking", "ties"}
    for name in ("curves", "groups", "proportions", "sheets", "sweeps"):
        assert f"skipped: {name}: " in out
    assert {p: p.read_bytes() for p in run.iterdir()} == before
    assert not any(b"/Type3" in fonts(p.read_bytes()) for p in (tmp_path / "out").glob("*.pdf"))


SIGNS = {"sample_guidance": "-s", "distribution_guidance": "+d", "latent_editing": "=1+1", "universal_guidance": "@u"}


def signed(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "method": SIGNS.get(old["method"], old["method"])}


def test_labels_that_a_spreadsheet_would_compute_are_methods_everywhere(tmp_path: Path, call: Call) -> None:
    """Plots, page, tables, comparison and gate of a run whose labels begin with a minus, plus, equals or at sign."""
    run = edited_run(RUN, tmp_path / "run", signed)
    for sign in SIGNS.values():
        assert f"'{sign}" in (run / "results.csv").read_text()
    assert set(SIGNS.values()) <= {row["method"] for row in read_records(run / "leaderboard.csv", ("method",))}
    commands = (
        ("plot", run, "--out", tmp_path / "plots"),
        ("report", run, "--out", tmp_path / "page.html"),
        *(("table", t, run, "--format", f) for t in ("full", "costs") for f in ("latex", "markdown", "csv")),
        ("compare", f"{run}:-s", f"{run}:=1+1"),
        ("compare", f"{run}:+d", f"{run}:@u"),
        ("check", run, "--baseline", run / "results.csv"),
    )
    for command in commands:
        code, out, err = call(*command)
        assert (code, "Traceback" in err) == (0, False), f"{command}: {out}{err}"
    page = (tmp_path / "page.html").read_text()
    assert all(f'"{sign}"' in page for sign in SIGNS.values())


def test_only_one_plot_beside_the_run(tmp_path: Path, call: Call) -> None:
    run = edited_run(RUN, tmp_path / "run", dict)
    assert call("plot", run / "results.csv", "--only", "ties")[0] == 0
    assert {p.name for p in (run / "plots").iterdir()} == {"ties.png", "ties.pdf"}


def test_every_plot_is_found_by_its_name() -> None:
    assert list_plots() == [
        *(
            "cells",
            "cost",
            "curves",
            "groups",
            "latency",
            "pareto",
            "prompts",
            "proportions",
            "ranking",
            "sheets",
            "sweeps",
            "ties",
        ),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no run at nowhere"),
        (["{empty}"], "no results.csv in"),
        (["{run}", "--only", "paretto"], "unknown plot 'paretto'; did you mean 'pareto'"),
        (["{run}", "--only", "sheets"], "cannot draw sheets"),
        (["{run}", "--only", "sweeps"], "no numeric field of a method takes several values"),
        (["{run}", "--out", "{file}/x"], "cannot"),
        (["{alone}", "--only", "ties"], "leaderboard.csv"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(
    tmp_path: Path, call: Call, arguments: list[str], said: str
) -> None:
    places = {name: tmp_path / name for name in ("run", "empty", "file", "alone")}
    edited_run(RUN, places["run"], dict)
    places["empty"].mkdir()
    places["file"].write_text("")
    write_run(places["alone"], read_rows(RUN / "results.csv"))
    before = sorted(tmp_path.rglob("*"))
    assert said in refusal(call("plot", *(a.format(**places) for a in arguments)))
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"


def test_a_run_of_nothing_but_failures_is_drawn_as_such(tmp_path: Path, call: Call) -> None:
    write_run(tmp_path, [failed("a", "it broke"), failed("b", "it broke")])
    assert "leaderboard.csv" in refusal(call("plot", tmp_path, "--only", "ties"))
    board = "task,method,fd_l2_hard,status,tied_best\neyeglasses uniform,a,,failed,\n"
    (tmp_path / "leaderboard.csv").write_text(board)
    fig = ties.draw(Finished.open(tmp_path))["ties"]
    assert [t.get_text() for t in fig.axes[0].texts if t.get_text()] == ["failed", "failed"]


def test_plots_load_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from bench.report.plots.finished import Finished; "
        "from bench.report.plots import cost, curves, groups, latency, pareto, proportions, sheets, sweeps, ties; "
        f"run = Finished.open(Path({str(RUN)!r})); pareto.draw(run); ties.draw(run); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
