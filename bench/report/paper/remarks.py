"""The remarks under a paper table: the settings of the run that all of its numbers share."""

from __future__ import annotations

import json

import numpy as np

from bench.results.run import Run


def seeds_of(run: Run) -> list[int]:
    """Return the seeds of a run, ascending."""
    return sorted(set(run.rows["seed"]))


def protocol(run: Run) -> str:
    """Return one sentence on samples, seeds, model, sampler, attribute classifier, suite and commits of a run."""
    first, seeds = run.rows.iloc[0], seeds_of(run)
    commits = [c[:12] for c in dict.fromkeys(run.rows["commit"]) if c]
    eta = f", eta {first['eta']:g}" if first["eta"] else ""
    facts = [
        f"{first['n_asked']} samples per cell, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}",
        f"model {first['model']}",
        f"{first['sampler']}, {first['steps']} steps, {first['spacing']} spacing, {first['precision']}{eta}, "
        f"guidance batch {first['guidance_batch']}",
        f"attribute classifier {first['classifier']} (held-out balanced accuracy {_accuracies(run)})",
        f"suite {first['suite']}, protocol {first['protocol']}" + (f", commit {', '.join(commits)}" if commits else ""),
    ]
    return "; ".join(facts) + "."


def _accuracies(run: Run) -> str:
    """Return the balanced accuracy of the first classifier per attribute; "not measured" without a confusion matrix."""
    accuracies: dict[str, float] = {}
    for text in run.rows.loc[run.rows["classifier"] == run.classifier, "classifier_confusion"].unique():
        for name, counts in json.loads(text).items():
            if counts is not None:  # None where the errors of the classifier were not measured
                table = np.array(counts, dtype=np.float64)
                accuracies[name] = float((table.diagonal() / table.sum(1)).mean())
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in accuracies.items()) or "not measured"
