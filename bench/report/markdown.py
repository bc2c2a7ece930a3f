"""The leaderboard as Markdown, as the README shows it, read from leaderboard.csv."""

from __future__ import annotations

from pathlib import Path

from bench.core.schema import BY_PROMPT, OVER_PROMPTS, POOLED, ranking_metric_of
from bench.results.leaderboard_csv import LEADERBOARD, MARKS, columns, frechet_head, interval, method_name
from bench.results.tables import read_records


def leaderboard_markdown(folder: Path) -> str:
    """Return one table over all tasks of a suite's folder; failed and skipped rows show their status."""
    rows = read_records(folder / "leaderboard.csv", LEADERBOARD)
    frechet, epsilon = columns(rows[0], "frechet_"), columns(rows[0], "epsilon_")
    ranking_metric, clip = ranking_metric_of(OVER_PROMPTS in rows[0]), columns(rows[0], "clip_score_")
    beside = [*BY_PROMPT, POOLED] if ranking_metric == OVER_PROMPTS else []
    others = columns(rows[0], f"{ranking_metric} by ")
    heads = [
        "task",
        "method",
        f"{ranking_metric} ↓",
        "",
        *(f"{c} ↓" for c in beside),
        *(f"{c.removeprefix(f'{ranking_metric} ')} ↓" for c in others),
        *("CLIP score ↑" for _ in clip),
        *(f"Fréchet {frechet_head(c, frechet)} ↓" for c in frechet),
        *("epsilon ↑" for _ in epsilon),
        "NFE per image",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        if row["status"] == "ok":
            cells = [interval(row, ranking_metric, 3), MARKS[row["tied_best"]]]
            cells += [interval(row, column, 3) for column in (*beside, *others)]
            cells += [interval(row, column, 1) for column in clip]
            cells += [interval(row, column, 0) for column in frechet] + [interval(row, column, 3) for column in epsilon]
            cells += [f"{float(row['nfe_per_image']):g}"]
        else:
            cells = [row["status"]] + [""] * (len(heads) - 3)
        lines.append("| " + " | ".join([row["task"], method_name(row), *cells]) + " |")
    return "\n".join(lines)
