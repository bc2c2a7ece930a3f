"""Fairness discrepancy by prompt: of each, and over all of them the mean, the worst and the 90th percentile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, marginal, product
from bench.core.stats import LEVEL, percentile_interval, redraw_shares, wilson_interval
from bench.protocols.evaluator import REDRAWS, WILSON, Card, Column, Reference, Sample, Score
from evaluators.classifiers.shares import MIN_JUDGED, MIN_N, Tally, distance, l2, tally, why_undefined

Floats = npt.NDArray[np.float64]
N_DRAWS = 2000
SEED = 20_240_218
NO_PROMPTS = "the suite has no prompts; name a prompt set with its key `prompts`"
ONE, SHARE = "fd_l2_by_prompt", "share_by_prompt"


def _mean(distances: Floats) -> Floats:
    return np.asarray(distances.mean(axis=-1))


def _worst(distances: Floats) -> Floats:
    return np.asarray(distances.max(axis=-1))


def _percentile(distances: Floats) -> Floats:
    """The 90th, between neighbours by their distance (type 7 of Hyndman & Fan 1996, NumPy's "linear")."""
    return np.asarray(np.quantile(distances, 0.9, axis=-1))


# Over prompts, the last axis.
OVER: dict[str, Callable[[Floats], Floats]] = {
    "fd_l2_prompt_mean": _mean,
    "fd_l2_prompt_worst": _worst,
    "fd_l2_prompt_p90": _percentile,
}


class Evaluator:
    """The distance of class shares from the target, prompt by prompt and over the prompts of a suite.

    Source: Choi et al. 2020, arXiv 1910.12008, eq. of the fairness discrepancy, for each prompt; the mean, the worst
    and a percentile over prompts are ours.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    # without for one prompt, with for the other
    >>> classified = np.repeat([[1.0, 0.0], [0.0, 1.0]], [100, 100], axis=0)
    >>> prompts = {"a pilot": slice(0, 100), "a baker": slice(100, 200)}
    >>> sample = Sample({"eyeglasses": classified}, {}, np.full(200, -1), prompts=prompts)
    >>> scores = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> print(scores[0].metric, round(scores[0].value, 3))  # pooled, they would be even
    fd_l2_prompt_mean 0.707
    """

    card: ClassVar[Card] = Card(
        summary="Fairness discrepancy of each prompt, and over prompts its mean, worst and 90th percentile; 0 is fair.",
        formula="d_j = ||r - p_j||_2 for the target r and the shares p_j of the classifier's labels among the samples of "
        "prompt j (fd_l2_by_prompt, over `ATTRIBUTES at PROMPT`); over prompts the mean of d_j, its maximum "
        "(fd_l2_prompt_worst) and its 90th percentile, between neighbours by their distance (type 7 of Hyndman & Fan "
        "1996), which is the 10th percentile of fairness, -d_j. share_by_prompt is p_j, class by class, over "
        "`ATTRIBUTE=CLASS at PROMPT`.",
        source="Choi et al. 2020, arXiv 1910.12008, for one prompt; over prompts ours",
        columns=(
            Column("fd_l2_prompt_mean", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("fd_l2_prompt_worst", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("fd_l2_prompt_p90", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column(ONE, "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column(SHARE, None, 0.0, 1.0, "share of the classified samples of a prompt", WILSON),
        ),
        classifier="each",
        min_n=f"{MIN_N} of each prompt; {MIN_JUDGED} classified ones where the classifier abstained on others",
        bias="The distances are too large, as fd_l2_hard is, by what the samples of one prompt allow: the mean over "
        "many prompts does not take that away, and a maximum adds to it. Measured on a perfect sampler of two even "
        "classes with 100 samples a prompt: mean 0.056 whatever the number of prompts; worst 0.126 of 8 prompts and "
        "0.163 of 30; 90th percentile 0.102 and 0.112. `noise_floor` is the 95th percentile of each for a perfect "
        "sampler of these n, so hold the worst against its own.",
        interval="Samples are redrawn within each prompt, and the prompts are held fixed: it says nothing of other "
        "prompts. Over prompts the redraws are shifted to be centred on the value, and the interval is that of the "
        "value at this n, its bias included; measured coverage of that is 93 to 98 % at 100 samples a prompt with 8 "
        "and 30 prompts. Where the value is at or below `noise_floor`, `ci_low` is 0. `fd_l2_by_prompt` has the "
        "interval of fd_l2_hard.",
        limits="Which way a prompt is biased, but for share_by_prompt; fd_l2_hard of all samples together is low "
        "where the biases of prompts cancel. Whether the images show what the prompt says (`clip_score_*`), and "
        "anything of prompts that are not in the set.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Scores of every attribute, then of the joint where there are two or more.

        Args:
            sample: its `probabilities` must hold every attribute of the reference, its `prompts` their rows.
            reference: its `attributes` and `distribution` are the target.

        Returns:
            For each scope the mean, the worst and the 90th percentile, then that of each prompt with its shares, in
            order; without prompts the first three alone, undefined.

        Raises:
            Incompatible: an attribute was not classified.
            ConfigError: an array has the wrong shape.
        """
        scopes: list[tuple[Attribute, ...]] = [(a,) for a in reference.attributes]
        if len(scopes) > 1:
            scopes.append(reference.attributes)
        found = []
        for attributes in scopes:
            one = len(attributes) == 1
            r = marginal(reference.distribution, reference.attributes, attributes[0]) if one else reference.distribution
            found += _scores(sample, attributes, r)
        return found


def _scores(sample: Sample, attributes: tuple[Attribute, ...], r: Floats) -> list[Score]:
    scope = product(attributes).name
    total = len(next(iter(sample.probabilities.values())))
    if not sample.prompts:
        return [Score(metric, scope, None, n=total, status="undefined", reason=NO_PROMPTS) for metric in OVER]
    seen = {name: tally(_part(sample, rows), attributes) for name, rows in sample.prompts.items()}
    # A generator for each scope, so that a scope's interval does not depend on which others are asked for.
    rng = np.random.default_rng(SEED)
    redrawn = {name: _redrawn(one, r, rng) for name, one in seen.items() if not why_undefined(one)}
    each = [score for name, one in seen.items() for score in _of_prompt(name, attributes, one, redrawn.get(name), r)]
    return [*_over(scope, seen, redrawn, r), *each]


def _part(sample: Sample, rows: slice) -> Sample:
    """The predicted classes of a prompt's samples."""
    return Sample({name: array[rows] for name, array in sample.probabilities.items()}, {}, sample.assigned_class[rows])


def _redrawn(seen: Tally, r: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Distances of redraws of a prompt's samples, and of as many drawn from the target: float64 [N_DRAWS] each."""
    null = rng.multinomial(seen.n, r, size=N_DRAWS) / seen.n
    return l2(redraw_shares(seen.counts, r, N_DRAWS, rng), r), l2(null, r)


def _of_prompt(
    name: str, attributes: tuple[Attribute, ...], seen: Tally, redrawn: tuple[Floats, Floats] | None, r: Floats
) -> list[Score]:
    joint = product(attributes)
    scopes = [(ONE, f"{joint.name} at {name}"), *((SHARE, f"{joint.name}={c} at {name}") for c in joint.classes)]
    if redrawn is None:
        reason = why_undefined(seen)
        return [Score(metric, scope, None, n=seen.n, status="undefined", reason=reason) for metric, scope in scopes]
    shares = seen.counts / seen.n
    ends = [wilson_interval(int(count), seen.n) for count in seen.counts]
    return [
        distance(ONE, scopes[0][1], seen.n, l2(shares, r), *redrawn),
        *(
            Score(SHARE, scope, float(share), low, high, seen.n)
            for (_, scope), share, (low, high) in zip(scopes[1:], shares, ends, strict=True)
        ),
    ]


def _over(scope: str, seen: dict[str, Tally], redrawn: dict[str, tuple[Floats, Floats]], r: Floats) -> list[Score]:
    n = sum(one.n for one in seen.values())
    missing = next((name for name in seen if name not in redrawn), None)
    if missing is not None:
        reason = f"prompt {missing}: {why_undefined(seen[missing])}"
        return [Score(metric, scope, None, n=n, status="undefined", reason=reason) for metric in OVER]
    values = l2(np.stack([one.counts / one.n for one in seen.values()]), r)
    draws, null = (np.stack(found, axis=-1) for found in zip(*redrawn.values(), strict=True))
    return [_summary(metric, scope, n, f(values), f(draws), f(null)) for metric, f in OVER.items()]


def _summary(metric: str, scope: str, n: int, value: Floats, draws: Floats, null: Floats) -> Score:
    """A score over prompts; its interval is that of the value at this n, so the redraws are centred on it."""
    low, high = percentile_interval(draws - draws.mean() + value)
    noise_floor = float(np.quantile(null, LEVEL))
    low = 0.0 if value <= noise_floor else max(0.0, min(low, float(value)))
    return Score(metric, scope, float(value), low, max(high, float(value)), n, noise_floor)
