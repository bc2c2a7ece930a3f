"""Fairness discrepancy by prompt: of each prompt, and the mean, worst and 90th percentile over prompts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, marginal, product
from bench.core.distances import l2
from bench.core.intervals import LEVEL, at_most, percentile_interval
from bench.protocols.evaluator import PARAMETRIC_BOOTSTRAP, WILSON, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.share_draws import N_DRAWS, simplex
from evaluators.classifiers.shares import MIN_CLASSIFIED, MIN_N, Tally, distance, tally, why_undefined

Floats = npt.NDArray[np.float64]
SEED = 20_240_218
NO_PROMPTS = "the suite has no prompts; name a prompt set with its key `prompts`"
PER_PROMPT, SHARE = "fd_l2_by_prompt", "share_by_prompt"


def _mean(distances: Floats) -> Floats:
    return np.asarray(distances.mean(axis=-1))


def _worst(distances: Floats) -> Floats:
    return np.asarray(distances.max(axis=-1))


def _percentile(distances: Floats) -> Floats:
    """Return the 90th percentile, linearly interpolated (type 7 of Hyndman & Fan 1996, NumPy's "linear")."""
    return np.asarray(np.quantile(distances, 0.9, axis=-1))


# Statistics over prompts, the last axis.
OVER: dict[str, Callable[[Floats], Floats]] = {
    "fd_l2_prompt_mean": _mean,
    "fd_l2_prompt_worst": _worst,
    "fd_l2_prompt_p90": _percentile,
}


class Evaluator:
    """Distance of the class shares from the target, for each prompt and over the prompts of a suite.

    Source: Choi et al. 2020, arXiv 1910.12008, the fairness discrepancy, for each prompt; the mean, worst and 90th
    percentile over prompts are this project's.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> classified = np.repeat([[1.0, 0.0], [0.0, 1.0]], [100, 100], axis=0)
    >>> prompts = {"a pilot": slice(0, 100), "a baker": slice(100, 200)}
    >>> sample = Sample({"eyeglasses": classified}, {}, np.full(200, -1), prompts=prompts)
    >>> scores = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> print(scores[0].metric, round(scores[0].value, 3))  # pooled, they would be even
    fd_l2_prompt_mean 0.707
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Fairness discrepancy of each prompt, and over prompts its mean, worst and 90th percentile; 0 is fair.",
        formula="d_j = ||r - p_j||_2 for the target r and the shares p_j of the attribute classifier's labels among "
        "the samples of prompt j (fd_l2_by_prompt, scope `ATTRIBUTES at PROMPT`); over prompts the mean of d_j, its "
        "maximum (fd_l2_prompt_worst) and its 90th percentile, linearly interpolated (type 7 of Hyndman & Fan 1996), "
        "which is the 10th percentile of fairness, -d_j. share_by_prompt is p_j for each class, scope `ATTRIBUTE=CLASS "
        "at PROMPT`.",
        source="Choi et al. 2020, arXiv 1910.12008, for one prompt; over prompts ours",
        columns=(
            Column("fd_l2_prompt_mean", "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("fd_l2_prompt_worst", "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("fd_l2_prompt_p90", "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column(PER_PROMPT, "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column(SHARE, None, 0.0, 1.0, "share of the classified samples of a prompt", WILSON),
        ),
        classifier="each",
        min_n=f"{MIN_N} of each prompt; {MIN_CLASSIFIED} classified samples if the classifier abstained on some",
        bias="The distances are too large, as fd_l2_hard is, by an amount that depends on the samples per prompt: the "
        "mean over many prompts does not remove it, and a maximum adds to it. Measured on a perfect sampler of two "
        "even classes with 100 samples per prompt: mean 0.056 for any number of prompts; worst 0.126 of 8 prompts and "
        "0.163 of 30; 90th percentile 0.102 and 0.112. `noise_floor` is the 95th percentile of each for a perfect "
        "sampler at these n, so compare each score with its own.",
        interval="Samples are drawn within each prompt, and the prompts are held fixed: it does not cover other "
        "prompts. For scores over prompts, the draws are shifted to be centred on the value, and the interval is that "
        "of the value at this n, including its bias; its measured coverage is 93 to 98 % at 100 samples per prompt "
        "with 8 and 30 prompts. If the value is at or below `noise_floor`, `ci_low` is 0. `fd_l2_by_prompt` has the "
        "interval of fd_l2_hard.",
        limits="The direction of a prompt's bias (see share_by_prompt); fd_l2_hard of all samples together is low if "
        "the biases of prompts cancel. Whether the images fit the prompt (see `clip_score_*`), and prompts outside the "
        "set.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return scores of every attribute, then of the joint if there are two or more.

        Args:
            sample: its `probabilities` must hold every attribute of the reference; its `prompts` give the rows.
            reference: its `attributes` and `distribution` are the target.

        Returns:
            For each scope: the mean, worst and 90th percentile, then the distance and shares of each prompt, in order.
            Without prompts only the first three, undefined.

        Raises:
            Incompatible: an attribute was not classified.
            ConfigError: an array has the wrong shape.
        """
        scopes: list[tuple[Attribute, ...]] = [(a,) for a in reference.attributes]
        if len(scopes) > 1:
            scopes.append(reference.attributes)
        scores = []
        for attributes in scopes:
            r = reference.distribution
            if len(attributes) == 1:
                r = marginal(r, reference.attributes, attributes[0])
            scores += _scores(sample, attributes, r)
        return scores


def _scores(sample: Sample, attributes: tuple[Attribute, ...], r: Floats) -> list[Score]:
    scope = product(attributes).name
    total = len(next(iter(sample.probabilities.values())))
    if not sample.prompts:
        return [Score(metric, scope, None, n=total, status="undefined", reason=NO_PROMPTS) for metric in OVER]
    tallies = {name: tally(_rows(sample, rows), attributes) for name, rows in sample.prompts.items()}
    # One generator per scope, so that a scope's interval does not depend on the other scopes.
    rng = np.random.default_rng(SEED)
    draws = {name: _draws(t, r, rng) for name, t in tallies.items() if not why_undefined(t)}
    by_prompt = [s for name, t in tallies.items() for s in _of_prompt(name, attributes, t, draws.get(name), r)]
    return [*_over(scope, tallies, draws, r), *by_prompt]


def _rows(sample: Sample, rows: slice) -> Sample:
    """Return the predicted classes of a prompt's samples."""
    predicted = {name: array[rows] for name, array in sample.probabilities.items()}
    design = None if sample.design is None else sample.design.rows(rows)
    return Sample(predicted, {}, sample.assigned_class[rows], design=design)


def _draws(counted: Tally, r: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the shares of a prompt's samples, and of as many of the target: float64 [N_DRAWS, K] each."""
    perfect = rng.multinomial(counted.n, r, size=N_DRAWS) / counted.n
    return counted.hard.draw(rng), perfect


def _of_prompt(
    name: str, attributes: tuple[Attribute, ...], counted: Tally, draws: tuple[Floats, Floats] | None, r: Floats
) -> list[Score]:
    joint = product(attributes)
    scopes = [(PER_PROMPT, f"{joint.name} at {name}"), *((SHARE, f"{joint.name}={c} at {name}") for c in joint.classes)]
    if draws is None:
        reason = why_undefined(counted)
        return [Score(metric, scope, None, n=counted.n, status="undefined", reason=reason) for metric, scope in scopes]
    shares, (drawn, perfect) = counted.counts / counted.n, draws
    ends = [counted.hard.share_interval(k, drawn) for k in range(len(r))]
    first = ends[0] if len(r) == 2 else None
    return [
        distance(PER_PROMPT, scopes[0][1], l2, r, (shares, drawn), perfect, counted, first),
        *(
            Score(SHARE, scope, float(share), low, high, counted.n, reason=counted.hard.note)
            for (_, scope), share, (low, high) in zip(scopes[1:], shares, ends, strict=True)
        ),
    ]


def _over(scope: str, tallies: dict[str, Tally], draws: dict[str, tuple[Floats, Floats]], r: Floats) -> list[Score]:
    n = sum(t.n for t in tallies.values())
    missing = next((name for name in tallies if name not in draws), None)
    if missing is not None:
        reason = f"prompt {missing}: {why_undefined(tallies[missing])}"
        return [Score(metric, scope, None, n=n, status="undefined", reason=reason) for metric in OVER]
    values = l2(np.stack([t.counts / t.n for t in tallies.values()]), r)
    bootstrap, perfect = (np.stack([l2(s, r) for s in shares], axis=-1) for shares in zip(*draws.values(), strict=True))
    null = perfect
    if not all(t.hard.independent for t in tallies.values()):  # a perfect sampler with the cell's own design
        null = np.stack([l2(simplex(s - s.mean(axis=0) + r), r) for s, _ in draws.values()], axis=-1)
    note = next((t.hard.note for t in tallies.values() if t.hard.note), "")
    scores = []
    for metric, f in OVER.items():
        value, drawn = float(f(values)), f(bootstrap)
        # The interval is that of the value at this n, so the draws are centred on it.
        low, high = percentile_interval(drawn - drawn.mean() + value)
        low = 0.0 if at_most(value, np.quantile(f(null), LEVEL)) else max(0.0, min(low, value))
        floor = float(np.quantile(f(perfect), LEVEL))
        scores.append(Score(metric, scope, value, low, max(high, value), n, floor, reason=note))
    return scores
