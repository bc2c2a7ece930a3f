"""The leaderboard as Markdown, from leaderboard.csv alone: what the README shows."""

from __future__ import annotations

from pathlib import Path

from bench.report.terminal import MARKS, columns, frechet_head, interval, method_name, read_table


def leaderboard_markdown(folder: Path) -> str:
    """One table over all tasks of a suite's folder; failed and skipped rows say so."""
    rows = read_table(folder / "leaderboard.csv")
    frechet, epsilon = columns(rows[0], "frechet_"), columns(rows[0], "epsilon_")
    others = columns(rows[0], "fd_l2_hard by ")
    heads = [
        "task",
        "method",
        "fd_l2_hard ↓",
        "",
        *(f"{c.removeprefix('fd_l2_hard ')} ↓" for c in others),
        *(f"Fréchet {frechet_head(c, frechet)} ↓" for c in frechet),
        *("epsilon ↑" for _ in epsilon),
        "calls/image",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        if row["status"] == "ok":
            cells = [interval(row, "fd_l2_hard", 3), MARKS[row["tied_best"]]]
            cells += [interval(row, column, 3) for column in others]
            cells += [interval(row, column, 0) for column in frechet] + [interval(row, column, 3) for column in epsilon]
            cells += [f"{float(row['nfe_per_image']):g}"]
        else:
            cells = [row["status"]] + [""] * (len(heads) - 3)
        lines.append("| " + " | ".join([row["task"], method_name(row), *cells]) + " |")
    return "\n".join(lines)
