"""The critical-difference plot: mean ranks over tasks and seeds, with a bar over methods that no test separates."""

from __future__ import annotations

from matplotlib.figure import Figure
from scikit_posthocs import critical_difference_diagram

from bench.comparison.ranking import ALPHA, rank
from bench.report.plots.finished import Finished, named
from bench.report.plots.style import NEUTRAL, PAGE, SMALL, figure, text

HEIGHT = 0.2  # inches per method, in two columns of names
ROOM = 0.9  # inches for the axis and the remark


def draw(run: Finished) -> dict[str, Figure]:
    """Draw one figure. Names are in the order of the mean ranks; bars join methods that do not differ significantly.

    The tests are those of `bench.comparison.ranking`, so the bars are no function of the ranks alone: two methods with
    near ranks may differ.

    Raises:
        Incompatible: fewer than two methods have the ranking metric on every task.
    """
    import pandas as pd

    ranking = rank(run.run)
    titles = [text(m.method) for m in ranking.methods]
    colours = {text(m.method): str(run.looks[m.method].colour) for m in ranking.methods}
    fig, (ax,) = figure(PAGE, ROOM + HEIGHT * (len(titles) + 1) / 2 + 0.06 * len(titles))
    critical_difference_diagram(
        {title: m.rank for title, m in zip(titles, ranking.methods, strict=True)},
        pd.DataFrame(ranking.p, index=titles, columns=titles),
        alpha=ALPHA,
        ax=ax,
        label_fmt_left="{label}  {rank:.1f}",
        label_fmt_right="{rank:.1f}  {label}",
        label_props={"fontsize": SMALL},
        color_palette=colours,
        crossbar_props={"linewidth": 2.6, "color": "black"},
        elbow_props={"linewidth": 0.8},
    )
    ax.grid(visible=False)
    tasks, seeds = len(ranking.tasks), ranking.seeds
    remark = (
        f"mean rank by {ranking.metric} over {tasks} {'tasks' if tasks > 1 else 'task'} and {seeds} "
        f"{'seeds' if seeds > 1 else 'seed'}; bars join methods whose means do not differ significantly (Holm, 5 %)"
    )
    left_out = named("not on every task", ranking.left_out)
    ax.set_title(f"{remark}{chr(10) if left_out else ''}{left_out}", fontsize=SMALL, color=NEUTRAL)
    return {"ranking": fig}
