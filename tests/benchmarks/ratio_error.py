"""The paper's ratio-error plot on a mixture whose ratio is exact: `python -m tests.benchmarks.ratio_error [FILE.png]`.

Writes docs/ratio-error.png unless another file is named. Source: the comparison of a time-dependent with a
time-independent discriminator of Kim et al. 2024, arXiv 2403.01189.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from bench.report.plots.style import PAGE, PALETTE, Look, figure, label, legend, save, style
from tests.support.planes import GUESSES, ratio_errors

SEEDS = (0, 1, 2)
TIMESTEPS = tuple(range(0, 1000, 37))
LOOKED_AT = 592  # the timestep of the histogram
LOOKS = (Look(PALETTE[1], "o"), Look(PALETTE[2], "s", dashes="--"), Look(PALETTE[0], "^", dashes=":"))
NAMES = ("time-dependent discriminator", "time-independent discriminator", "ratio 1 everywhere")


def main(file: Path) -> None:
    torch.set_num_threads(1)
    runs = [ratio_errors(TIMESTEPS, seed) for seed in SEEDS]
    with style():
        fig, (by_time, spread) = figure(PAGE, 2.2, columns=2)
        for name, look in zip(GUESSES, LOOKS, strict=True):
            squared = np.array([[float(e.square().mean()) for e in run[name]] for run in runs])
            by_time.plot(TIMESTEPS, squared.mean(0), **look.line(), markevery=3)
            by_time.fill_between(TIMESTEPS, squared.min(0), squared.max(0), color=look.colour, alpha=0.15, linewidth=0)
            errors = torch.cat([run[name][TIMESTEPS.index(LOOKED_AT)] for run in runs]).numpy()
            bins = np.linspace(-3, 3, 61)
            spread.hist(
                errors.clip(-3, 3), bins, density=True, histtype="step", color=look.colour, linestyle=look.dashes
            )
        by_time.set(xlabel="timestep (0: clean, 999: noise alone)", ylabel=label("mean squared error", "lower"))
        by_time.set_yscale("log")
        by_time.set_ylim(1e-4, 2)  # at 999 nothing is left to tell, and a ratio of 1 is right
        by_time.yaxis.set_major_formatter("{x:g}")
        spread.set(xlabel=f"error at timestep {LOOKED_AT}", ylabel="density")
        fig.suptitle("Error of log w, of a mixture with shares 0.9 / 0.1 against one with 0.5 / 0.5")
        legend(fig, list(zip(NAMES, LOOKS, strict=True)), lines=True)
        save(fig, file.with_suffix(""), ("png",))
    for name, told in zip(GUESSES, NAMES, strict=True):
        mean = np.mean([[float(e.square().mean()) for e in run[name]] for run in runs])
        sys.stdout.write(f"{told}: mean squared error over all timesteps and {len(SEEDS)} seeds {mean:.4f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "ratio-error.png")
