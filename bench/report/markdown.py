"""The leaderboard as Markdown, from leaderboard.csv alone: what the README shows."""

from __future__ import annotations

from pathlib import Path

from bench.report.terminal import MARKS, interval, read_table


def leaderboard_markdown(folder: Path) -> str:
    """One table over all tasks of a suite's folder; failed and skipped rows say so."""
    rows = read_table(folder / "leaderboard.csv")
    frechet = [c for c in rows[0] if c.startswith("frechet_") and not c.endswith(("_low", "_high"))]
    heads = [
        "task",
        "method",
        "fd_l2_hard ↓",
        "",
        *(f"Fréchet to {c.rpartition(' ')[2]} ↓" for c in frechet),
        "calls/image",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        if row["status"] == "ok":
            cells = [interval(row, "fd_l2_hard", 3), MARKS[row["tied_best"]]]
            cells += [interval(row, column, 0) for column in frechet] + [f"{float(row['nfe_per_image']):g}"]
        else:
            cells = [row["status"]] + [""] * (len(heads) - 3)
        lines.append("| " + " | ".join([row["task"], row["method"], *cells]) + " |")
    return "\n".join(lines)
