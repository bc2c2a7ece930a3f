"""Epsilon-fairness: how well any probe can tell, from a generated image, which class was asked for."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import product
from bench.core.stats import percentile_interval
from bench.protocols.evaluator import REDRAWS, Card, Column, Reference, Sample, Score

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FOLDS = 5  # outer, whose errors are reported
INNER = 3  # inner, which pick the probe
COMPONENTS = 32  # principal components that the probes see
MIN_GROUP = 20  # samples that every group must have: four an outer fold
MAX_N = 2000  # samples used, the first ones: the probes' time grows faster than n
N_DRAWS = 2000
SEED = 20_240_103


def balanced_error(wrong: npt.NDArray[np.bool_], group: Ints, n_groups: int) -> float:
    """BER = mean over groups s of P(f(x) wrong | s), in [0, 1]; 1 - 1/K is chance for K groups.

    Source: Choi et al. 2024, arXiv 2401.03140 (after Feldman et al. 2015, arXiv 1412.3756).
    """
    return float(np.mean([wrong[group == s].mean() for s in range(n_groups)]))


def probes() -> dict[str, Callable[[], Any]]:
    """The family of probes: linear, local, smooth, and of steps. Deterministic."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    return {
        "logistic_regression": lambda: LogisticRegression(C=0.1, class_weight="balanced", max_iter=200),
        "nearest_neighbours": lambda: KNeighborsClassifier(15),
        "mlp": lambda: MLPClassifier((32,), alpha=1.0, max_iter=150, random_state=SEED),
        "gradient_boosting": lambda: HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=8, min_samples_leaf=10, class_weight="balanced", random_state=SEED
        ),
    }


def cross_validated(features: Floats, group: Ints) -> tuple[npt.NDArray[np.int64], Ints, list[str]]:
    """Out-of-fold predictions of the best probe, picked anew inside every training part.

    The probe is picked by an inner cross-validation that never sees the outer fold, so that the smallest of several
    errors is reported without the optimism of having picked it.

    Args:
        features: [n, d].
        group: int64 [n] in [0, K), every group at least MIN_GROUP times.

    Returns:
        Predicted groups int64 [n], the outer fold of every row int64 [n], and the probe picked in each fold.
    """
    from sklearn import config_context
    from sklearn.model_selection import StratifiedKFold

    found, fold_of, picked = np.empty_like(group), np.empty_like(group), []
    with config_context(assume_finite=True, skip_parameter_validation=True):  # hundreds of small fits, checked before
        for fold, (train, test) in enumerate(
            StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(features, group)
        ):
            name = _pick(features[train], group[train])
            learnt, new = _standardised(features[train], features[test])
            found[test] = _fit(name, learnt, group[train]).predict(new)
            fold_of[test] = fold
            picked.append(name)
    return found, fold_of, picked


def _pick(features: Floats, group: Ints) -> str:
    from sklearn.model_selection import StratifiedKFold

    n_groups = int(group.max()) + 1
    errors: dict[str, list[float]] = {name: [] for name in probes()}
    for train, test in StratifiedKFold(INNER, shuffle=True, random_state=SEED).split(features, group):
        learnt, new = _standardised(features[train], features[test])
        for name, kept in errors.items():
            wrong = _fit(name, learnt, group[train]).predict(new) != group[test]
            kept.append(balanced_error(wrong, group[test], n_groups))
    return min(errors, key=lambda name: float(np.mean(errors[name])))


def _standardised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """What the probes look at, learnt from `train` alone: its largest components, each of unit variance."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[Any] = [StandardScaler()]
    if train.shape[1] > COMPONENTS:
        steps += [PCA(min(COMPONENTS, len(train) - 1), random_state=SEED), StandardScaler()]
    made = make_pipeline(*steps)
    return made.fit_transform(train), made.transform(test)


def _fit(name: str, features: Floats, group: Ints) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is part of the probe's definition
        return probes()[name]().fit(features, group)


def null_draws(found: Ints, group: Ints, fold_of: Ints, n_groups: int, rng: np.random.Generator) -> Floats:
    """BER under "the image does not tell the group", float64 [N_DRAWS]: groups permuted within each outer fold.

    Within a fold, the predictions were made without its groups; where images and groups are independent, every
    permutation of them was as likely. Of all folds together that is not so: see `noise_floor`.
    """
    draws = np.empty(N_DRAWS)
    rows = [np.flatnonzero(fold_of == fold) for fold in range(FOLDS)]
    shuffled = group.copy()
    for i in range(N_DRAWS):
        for part in rows:
            shuffled[part] = rng.permutation(group[part])
        draws[i] = balanced_error(found != shuffled, shuffled, n_groups)
    return draws


def noise_floor(draws: Floats) -> float:
    """What the error falls below in 5 of 100 samples where images tell nothing, from `null_draws`, float64 [n_draws].

    The draws hold the predictions as they are, and so take the errors of different folds for independent. They are not:
    two images that are alike and in different folds vote for each other's group, and both votes are right or both
    wrong. With groups y = +-1 and a probe linear in those it learnt from, the errors sum to sum_ij y_i K_ij y_j, whose
    variance sum_ij (K_ij^2 + K_ij K_ji) is up to twice the sum_ij K_ij^2 of fixed predictions. So the fall from chance
    is widened by sqrt(2).
    """
    centre = float(draws.mean())
    return max(centre - math.sqrt(2) * (centre - float(np.quantile(draws, 0.05))), 0.0)


def redraws(wrong: npt.NDArray[np.bool_], group: Ints, n_groups: int, rng: np.random.Generator) -> Floats:
    """Stratified bootstrap of the BER, float64 [N_DRAWS]; the probes are held as they are, their training's luck too.

    Half an error and half a success are added to every group, so that no errors at all keep an interval.
    """
    counts = [(wrong[group == s].sum(), (group == s).sum()) for s in range(n_groups)]
    rates = [rng.binomial(n, (k + 0.5) / (n + 1), N_DRAWS) / n for k, n in counts]
    return np.asarray(np.mean(rates, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Evaluator:
    """The balanced error of the best probe that guesses, from features of an image, which class was asked for.

    Source: Choi et al. 2024, arXiv 2401.03140: a generator is epsilon-fair if BER(f) > epsilon for every f. The
    smallest over four kinds of probes stands for "every f": an upper bound of the true epsilon, which another probe
    may lower. `noise_floor` is what the error falls below in at most 5 of 100 samples where images tell nothing: a
    value above it is not told from fair.
    """

    card: ClassVar[Card] = Card(
        summary="Balanced error of the best probe that tells from an image which class was asked for; chance is fair.",
        formula="min over probes f of mean over classes s of P(f(x) wrong | s asked for), x the features of an "
        f"image, by {FOLDS}-fold cross-validation; the probe is picked within each training part. 1 - 1/K is chance "
        "for K classes.",
        source="Choi et al. 2024, arXiv 2401.03140",
        columns=(Column("epsilon_*", "higher", 0.0, 1.0, "error rate", REDRAWS),),
        classifier="none",
        min_n=f"{MIN_GROUP} of every class asked for",
        bias="Too large: probes learn from four fifths of n samples what they would learn better from more, so it "
        f"falls as n grows. Of more than {MAX_N:,} samples the first {MAX_N:,} are used. It depends on the extractor.",
        interval="The probes are held as they are: it is that of their error on new images, not of training them "
        "anew. Half an error and half a success are added to every class, so that no errors at all keep a width. "
        "`noise_floor` is what the error falls below in at most 5 of 100 samples where images tell nothing. Folds "
        "learn from each other's labels, so their errors go together: measured over such samples, the error's spread "
        "is 1.22 times that of permuted labels (logistic regression and neighbours, n = 150, 4 features: 7.5 % of "
        "200 samples below the plain percentile), up to 1.32 (logistic regression alone, n = 200, 16 features: 9.5 % "
        "of 400); widened by sqrt(2), the most that a linear probe can need, the first falls to 2.5 %.",
        limits="What another probe, or other features, would tell: it is an upper bound of the true epsilon. It does "
        "not see fairness to a target, and a method that asks for no class has none.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`epsilon_<features>` over the joint of the task's attributes, one for each extractor."""
        joint = product(reference.attributes)
        assigned_class = np.asarray(sample.assigned_class)[:MAX_N]
        return [_score(name, array, assigned_class, joint.name) for name, array in sample.features.items()]


def _score(name: str, array: npt.NDArray[np.floating], assigned_class: Ints, scope: str) -> Score:
    metric, n = f"epsilon_{name}", len(assigned_class)
    if (assigned_class < 0).all():
        return Score(metric, scope, None, n=n, status="undefined", reason="no class was asked for")
    _, group, counts = np.unique(assigned_class, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.min() < MIN_GROUP:
        reason = f"every class asked for must have {MIN_GROUP} samples, got {counts.tolist()}; raise n"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    group = group.astype(np.int64)
    features = np.asarray(array[:MAX_N], dtype=np.float64)
    if not np.isfinite(features).all():  # an extractor of faces has no features where it saw none
        n_bad = int((~np.isfinite(features)).any(axis=1).sum())
        reason = f"every sample must have features, got none of {n_bad}; take another extractor"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    found, fold_of, picked = cross_validated(features, group)
    wrong, rng = found != group, np.random.default_rng(SEED)
    low, high = percentile_interval(redraws(wrong, group, len(counts), rng))
    null = noise_floor(null_draws(found, group, fold_of, len(counts), rng))
    value = balanced_error(wrong, group, len(counts))
    winner = Counter(picked).most_common(1)[0][0]
    return Score(metric, scope, value, min(low, value), max(high, value), n, null, reason=f"best probe: {winner}")
