"""Epsilon-fairness: how well classifiers predict the assigned class of a generated image from its features."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.attributes import product
from bench.core.errors import Undefined
from bench.core.gaussian import check_features
from bench.core.intervals import at_most, percentile_interval
from bench.protocols.evaluator import PARAMETRIC_BOOTSTRAP, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import undefined
from evaluators.features.subset import drawn, drawn_note, drawn_rows

if TYPE_CHECKING:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FOLDS = 5  # outer folds, whose errors are reported
INNER = 3  # inner folds, which select the probe
COMPONENTS = 32  # principal components that the probes use
MIN_GROUP = 20  # samples that every group must have: four per outer fold
MAX_N = 2000  # samples used: the probes' time grows faster than n
N_DRAWS = 2000
SEED = 20_240_103


def balanced_error(wrong: npt.NDArray[np.bool_], group: Ints, n_groups: int) -> float:
    """Return BER = mean over groups s of P(f(x) wrong | s), in [0, 1]; 1 - 1/K is chance for K groups.

    Source: Choi et al. 2024, arXiv 2401.03140 (after Feldman et al. 2015, arXiv 1412.3756).
    """
    return float(np.mean([wrong[group == s].mean() for s in range(n_groups)]))


class Probe(Protocol):
    """A classifier of scikit-learn."""

    def fit(self, features: Floats, group: Ints) -> Probe:
        """Fit features [n, d] to groups int64 [n]."""
        ...

    def predict(self, features: Floats) -> Ints:
        """Return the predicted group int64 [n] of features [n, d]."""
        ...


def probes() -> dict[str, Callable[[], Probe]]:
    """Return the family of probes: linear, nearest-neighbour, neural, and boosted trees. All are deterministic."""
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
    """Return out-of-fold predictions of the best probe, selected anew in every training part (nested cross-validation).

    The inner cross-validation never sees the outer fold, so the smallest of several errors is reported without
    selection bias.

    Args:
        features: [n, d].
        group: int64 [n] in [0, K), every group at least MIN_GROUP times.

    Returns:
        Predicted groups int64 [n], the outer fold of every row int64 [n], and the probe selected in each fold.
    """
    from sklearn import config_context
    from sklearn.model_selection import StratifiedKFold

    predicted, fold_of, picked = np.empty_like(group), np.empty_like(group), []
    with config_context(
        assume_finite=True, skip_parameter_validation=True
    ):  # for hundreds of small fits, checked beforehand
        for fold, (train, test) in enumerate(
            StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(features, group)
        ):
            name = _pick(features[train], group[train])
            learnt, new = _standardised(features[train], features[test])
            predicted[test] = _fit(name, learnt, group[train]).predict(new)
            fold_of[test] = fold
            picked.append(name)
    return predicted, fold_of, picked


def _pick(features: Floats, group: Ints) -> str:
    from sklearn.model_selection import StratifiedKFold

    n_groups = int(group.max()) + 1
    errors: dict[str, list[float]] = {name: [] for name in probes()}
    for train, test in StratifiedKFold(INNER, shuffle=True, random_state=SEED).split(features, group):
        learnt, new = _standardised(features[train], features[test])
        for name, fold_errors in errors.items():
            wrong = _fit(name, learnt, group[train]).predict(new) != group[test]
            fold_errors.append(balanced_error(wrong, group[test], n_groups))
    return min(errors, key=lambda name: float(np.mean(errors[name])))


def _standardised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Return both sets as the probes take them: the largest components of `train`, scaled to unit variance there."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[StandardScaler | PCA] = [StandardScaler()]
    if train.shape[1] > COMPONENTS:
        steps += [PCA(min(COMPONENTS, len(train) - 1), random_state=SEED), StandardScaler()]
    pipeline = make_pipeline(*steps)
    return pipeline.fit_transform(train), pipeline.transform(test)


def _fit(name: str, features: Floats, group: Ints) -> Probe:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping at max_iter is part of the probe's definition
        return probes()[name]().fit(features, group)


def null_draws(predicted: Ints, group: Ints, fold_of: Ints, n_groups: int, rng: np.random.Generator) -> Floats:
    """Draw the BER under independence of image and group, float64 [N_DRAWS]: groups are permuted within outer folds.

    The predictions of a fold were made without its groups, so under independence all permutations within the fold are
    equally likely. Across folds they are not: see `noise_floor`.
    """
    draws = np.empty(N_DRAWS)
    rows = [np.flatnonzero(fold_of == fold) for fold in range(FOLDS)]
    shuffled = group.copy()
    for i in range(N_DRAWS):
        for fold_rows in rows:
            shuffled[fold_rows] = rng.permutation(group[fold_rows])
        draws[i] = balanced_error(predicted != shuffled, shuffled, n_groups)
    return draws


def noise_floor(draws: Floats) -> float:
    """Return the 5th percentile of the error if images carry no information, from `null_draws`, float64 [n_draws].

    The draws hold the predictions fixed, and so treat the errors of different folds as independent. They are not: two
    similar images in different folds vote for each other's group, and both votes are right or both wrong. With groups
    y = +-1 and a probe linear in its training groups, the errors sum to sum_ij y_i K_ij y_j, whose variance
    sum_ij (K_ij^2 + K_ij K_ji) is up to twice the sum_ij K_ij^2 of fixed predictions. So the distance from chance is
    widened by sqrt(2).
    """
    centre = float(draws.mean())
    return max(centre - math.sqrt(2) * (centre - float(np.quantile(draws, 0.05))), 0.0)


def bootstrap_draws(wrong: npt.NDArray[np.bool_], group: Ints, n_groups: int, rng: np.random.Generator) -> Floats:
    """Draw the BER from its stratified parametric bootstrap, float64 [N_DRAWS]; the trained probes are held fixed.

    Half an error and half a success are added to every group, so that zero errors still have an interval.
    """
    counts = [(wrong[group == s].sum(), (group == s).sum()) for s in range(n_groups)]
    rates = [rng.binomial(n, (k + 0.5) / (n + 1), N_DRAWS) / n for k, n in counts]
    return np.asarray(np.mean(rates, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Evaluator:
    """Balanced error rate of the best of four classifiers (probes) predicting the assigned class from image features.

    Source: Choi et al. 2024, arXiv 2401.03140: a generator is epsilon-fair if BER(f) > epsilon for every f. The minimum
    over four kinds of probes stands for "every f": an upper bound of the true epsilon, which another probe may lower.
    `noise_floor` is the error's 5th percentile (at most) if images carry no information about the class: a value above
    it cannot be distinguished from fair.
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Balanced error rate of the best of four classifiers (probes) predicting the assigned class from image "
        "features; chance is fair.",
        formula="min over probes f of mean over classes s of P(f(x) wrong | s assigned), x the features of an image, "
        f"by {FOLDS}-fold cross-validation; the probe is selected within each training part. 1 - 1/K is chance for K "
        "classes.",
        source="Choi et al. 2024, arXiv 2401.03140",
        columns=(Column("epsilon_*", "higher", 0.0, 1.0, "error rate", PARAMETRIC_BOOTSTRAP),),
        classifier="none",
        min_n=f"{MIN_GROUP} of every assigned class",
        bias="Too large: probes train on four fifths of n samples and would be better with more, so it falls as n "
        f"grows. At most {MAX_N:,} samples are used, drawn at random with a fixed seed. It depends on the extractor.",
        interval="The trained probes are held fixed: it is the interval of their error on new images, without that of "
        "training. Where the value is at or above `noise_floor`, the interval reaches chance. Half an error and half a "
        "success are added to every class, so that zero errors have a width. "
        "Measured: 22 of 25 simulated intervals at n = 40 hold the mean error (classes 1 standard deviation apart). "
        "`noise_floor` is the error's 5th percentile (at most) if images carry no information. Folds train on each "
        "other's labels, so their errors are correlated: measured over such samples, the error's spread is 1.22 times "
        "that of permuted labels (logistic regression and neighbours, n = 150, 4 features: 7.5 % of 200 samples below "
        "the plain percentile), up to 1.32 (logistic regression alone, n = 200, 16 features: 9.5 % of 400); widened by "
        "sqrt(2), the most that a linear probe can need, the first falls to 2.5 %.",
        limits="What another probe, or other features, would find: it is an upper bound of the true epsilon. It says "
        "nothing about fairness towards a target, and is undefined for a method that assigns no class.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `epsilon_<features>` over the joint of the task's attributes, one score per extractor."""
        joint = product(reference.attributes)
        assigned_class = np.asarray(sample.assigned_class)
        return [_score(name, array, assigned_class, joint.name) for name, array in sample.features.items()]


def _score(name: str, array: npt.NDArray[np.floating], assigned: Ints, scope: str) -> Score:
    assigned_class = assigned[drawn_rows(len(assigned), MAX_N)]
    metric, n = f"epsilon_{name}", len(assigned_class)
    if (assigned_class < 0).all():
        return Score(metric, scope, None, n=n, status="undefined", reason="no class was asked for")
    _, group, counts = np.unique(assigned_class, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.min() < MIN_GROUP:
        reason = f"every class asked for must have {MIN_GROUP} samples, got {counts.tolist()}; raise n"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    group = group.astype(np.int64)
    features = np.asarray(drawn(array, MAX_N)[:], dtype=np.float64)
    try:
        _check(features)
    except Undefined as error:
        return undefined(metric, scope, n, error)
    predicted, fold_of, picked = cross_validated(features, group)
    wrong, rng = predicted != group, np.random.default_rng(SEED)
    low, high = percentile_interval(bootstrap_draws(wrong, group, len(counts), rng))
    floor = noise_floor(null_draws(predicted, group, fold_of, len(counts), rng))
    value, chance = balanced_error(wrong, group, len(counts)), 1 - 1 / len(counts)
    # Errors above chance are chance, and those within the null cannot be told from it.
    low, high = (min(low, chance), high) if value > chance else (low, high)
    high = max(high, chance) if at_most(floor, value) else high
    winner = Counter(picked).most_common(1)[0][0]
    notes = [f"best probe: {winner}", drawn_note(n, len(assigned))]
    reason = "; ".join(note for note in notes if note)
    return Score(metric, scope, value, min(low, value), max(high, value), n, floor, reason=reason)


def _check(features: Floats) -> None:
    """Check that every sample has features, which a face extractor has not for images without a face."""
    without = int(np.isnan(features).any(axis=1).sum())
    if without:
        raise Undefined(f"every sample must have features, got none of {without}; take another extractor")
    check_features(features)
