"""Make inputs.npz and expected.csv: `python docs/conformance/make.py`, in any folder that this file lies in.

Every expected value is a closed form or computed here, slowly and plainly, by numpy, scipy, scikit-learn and mpmath;
nothing of fairdiff-bench is imported.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import brentq
from scipy.spatial.distance import cdist, cosine
from scipy.special import rel_entr
from scipy.stats import binomtest, entropy, skew, t
from sklearn.metrics import cohen_kappa_score
from sklearn.metrics.pairwise import cosine_similarity, polynomial_kernel, rbf_kernel
from sklearn.neighbors import NearestNeighbors

HERE = Path(__file__).parent
INPUTS: dict[str, np.ndarray] = {}
ROWS: list[tuple[str, str, str, str, str, str, str]] = []
RNG = np.random.default_rng(20_240_229)


def given(case: str, **arrays: np.ndarray) -> None:
    """Put a case's arrays into inputs.npz."""
    INPUTS.update({f"{case}.{name}": np.asarray(array) for name, array in arrays.items()})


def expect(
    case: str, score: str, scope: str, value: float, origin: str, interval: tuple[float, float] | None = None
) -> None:
    """Put a line into expected.csv."""
    low, high = ("", "") if interval is None else (repr(float(v)) for v in interval)
    ROWS.append((case, score, scope, repr(float(value)), low, high, origin))


def drawn(*shape: int) -> np.ndarray:
    """Normal numbers with three decimals, so that they are exact however they are written."""
    return RNG.standard_normal(shape).round(3)


def wilson(count: int, n: int) -> tuple[float, float]:
    actual = binomtest(count, n).proportion_ci(0.95, "wilson")
    return actual.low, actual.high


def without(n: int, groups: int) -> list[np.ndarray]:
    """All rows, then those that are left without each group; row i is in group i % groups."""
    index = np.arange(n)
    return [index, *(index[index % groups != g] for g in range(groups))]


def jackknifed(
    statistic: Callable[[np.ndarray], float], x: np.ndarray, groups: int, squared: bool = False, pairs: float = 0.0
) -> tuple[float, tuple[float, float] | None]:
    """A statistic and its delete-a-group jackknife interval, the statistic computed anew without each group.

    There is no interval where the statistic is the same without any group.

    The end on the long side solves, of 20 groups or more, Hall's equation (1992) for 1.5 times the skewness of the
    groups' pseudo-values, up to where its root is farthest; the upper end of a squared distance v + h is raised by
    h^2 / (4 max(v, h / 2)).
    """
    value, *left = (statistic(x[selected]) for selected in without(len(x), groups))
    if all(v == value for v in left):
        return value, None
    spread = np.sqrt((groups - 1) * np.var(left) + pairs)
    quantile, asymmetry = t.ppf(0.975, groups - 1), float(skew(-np.array(left), bias=False)) if groups >= 20 else 0.0
    a = min(1.5 * abs(asymmetry) / np.sqrt(groups), 3 * (np.sqrt(quantile**2 + 0.75) - quantile))
    long = max(-brentq(lambda v: v + a * v**2 / 3 + a**2 * v**3 / 27 + a / 6 + quantile, -50, 0), quantile)
    below, above = (long, quantile) if asymmetry < 0 else (quantile, long)
    raised = (above * spread) ** 2 / (4 * max(value, above * spread / 2)) if squared else 0.0
    return value, (value - below * spread, value + above * spread + raised)


def of_pairs(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray) -> float:
    """Variance of a U-statistic beyond single rows: 2 / (n (n - 1)) mean of the centred kernel's square."""
    n, off = len(x), ~np.eye(len(x), dtype=bool)
    values = kernel(x, x)
    rows = (values * off).sum(1) / (n - 1)
    centred = (values[off] ** 2).mean() - 2 * (rows**2).mean() + values[off].mean() ** 2
    return float(2 / (n * (n - 1)) * centred)


def at_least(low: float, interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval and (max(low, interval[0]), interval[1])


def within(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval and (max(0.0, interval[0]), min(1.0, interval[1]))


# --- distances of features


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """With A = X / sqrt(n - 1) of centred rows, and B likewise: tr((A'A B'B)^(1/2)) is the nuclear norm of A B'."""
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    cross = np.linalg.norm(a @ b.T, "nuc")
    if len(x) > x.shape[1]:  # where the matrix square root is accurate, it agrees
        assert np.isclose(cross, np.trace(sqrtm(a.T @ a @ b.T @ b)).real, rtol=1e-9)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross)


def extrapolated(x: np.ndarray, y: np.ndarray) -> float:
    """Intercept over 1/N of the mean distance of windows of 5, 7, 9 and 10 of ten interleaved groups."""
    n, group = len(x), np.arange(len(x)) % 10
    sizes, means = [], []
    for size in (5, 7, 9, 10):
        windows = [[(s + i) % 10 for i in range(size)] for s in range(10 if size < 10 else 1)]
        sizes.append(size / 10 * n)
        means.append(np.mean([frechet(x[np.isin(group, w)], y) for w in windows]))
    return float(np.polyfit(1 / np.array(sizes), means, 1)[1])


def mmd(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray, biased: bool) -> float:
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    if biased:
        return float(xx.mean() + yy.mean() - 2 * xy.mean())
    n, m = len(x), len(y)
    off = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(off - 2 * xy.mean())


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return polynomial_kernel(x, y, degree=3)  # gamma = 1 / width, coef0 = 1


def gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    return rbf_kernel(a, b, gamma=1 / 200)


def vendi(x: np.ndarray) -> float:
    values = np.linalg.eigvalsh(cosine_similarity(x) / len(x))
    return float(np.exp(entropy(np.clip(values, 0, None))))


def radius(x: np.ndarray) -> np.ndarray:
    return NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)[0][:, 5]


def precision(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (cdist(x, y) <= radius(y)[None, :]).any(1)


def recall(x: np.ndarray, y: np.ndarray) -> float:
    return float((cdist(y, x) <= radius(x)[None, :]).any(1).mean())


def density(x: np.ndarray, y: np.ndarray) -> float:
    return float((cdist(x, y) <= radius(y)[None, :]).sum(1).mean() / 5)


def coverage(x: np.ndarray, y: np.ndarray) -> float:
    return float((cdist(y, x).min(1) <= radius(y)).mean())


def features() -> None:
    plain = "numpy and scipy, the statistic anew without each group of the jackknife"
    for case, n, m, d in (("many", 60, 50, 3), ("wide", 30, 45, 40)):
        x, y = 1.2 * drawn(n, d) + 0.5, drawn(m, d)
        given(case, features=x, reference=y)
        value, interval = jackknifed(lambda v, y=y: frechet(v, y), x, 10, squared=True)
        expect(case, "frechet_net", "real", value, f"{plain}; the nuclear norm of A B'", at_least(0, interval))
        value, interval = jackknifed(lambda v, y=y: mmd(cubic, v, y, False), x, n, True, of_pairs(cubic, x))
        expect(case, "kid_net", "real", value, "scikit-learn's polynomial_kernel, all pairs", interval)
        left = [mmd(cubic, x[selected], y, False) for selected in without(n, n)[1:]]
        error = np.sqrt((n - 1) * np.var(left))
        expect(case, "kid_se_net", "real", error, "the same without each sample: delete-one jackknife")
        pairs = 1e6 * of_pairs(gaussian, x)
        for name, biased in (("cmmd_v_net", True), ("cmmd_u_net", False)):
            value, interval = jackknifed(lambda v, y=y, b=biased: 1000 * mmd(gaussian, v, y, b), x, n, True, pairs)
            expect(
                case, name, "real", value, "scikit-learn's rbf_kernel", at_least(0, interval) if biased else interval
            )
        value, interval = jackknifed(vendi, x, 10)
        expect(case, "vendi_net", "all", value, "scikit-learn's cosine_similarity", at_least(1, interval))
        inside = precision(x, y)
        near = "scikit-learn's NearestNeighbors, scipy's cdist"
        expect(case, "precision_k5_net", "real", inside.mean(), near, wilson(int(inside.sum()), n))
        value, interval = jackknifed(lambda v, y=y: recall(v, y), x, 10)
        expect(case, "recall_k5_net", "real", value, near, within(interval))
        value, interval = jackknifed(lambda v, y=y: density(v, y), x, n)
        expect(case, "density_k5_net", "real", value, near, at_least(0, interval))
        value, interval = jackknifed(lambda v, y=y: coverage(v, y), x, 10)
        expect(case, "coverage_k5_net", "real", value, near, within(interval))
    x, y = INPUTS["many.features"], INPUTS["many.reference"]
    at_n, interval = jackknifed(lambda v: frechet(v, y), x, 10)
    value = extrapolated(x, y)
    ends = interval and (interval[0] - at_n + value, interval[1] - at_n + value)
    expect("many", "fd_infinity_net", "real", value, f"{plain}; numpy.polyfit over 1/N", ends)


def closed_forms_of_features() -> None:
    x = drawn(40, 3)
    given("shifted", features=x, reference=x + np.array([3.0, 4.0, 12.0]))
    expect("shifted", "frechet_net", "real", 169.0, "closed form: equal covariances, |shift|^2 = 9 + 16 + 144")
    x = x - x.mean(axis=0)
    given("doubled", features=x, reference=2 * x)
    trace = sum(mpmath.fsum(mpmath.mpf(float(v)) ** 2 for v in column) for column in x.T) / (len(x) - 1)
    expect("doubled", "frechet_net", "real", float(trace), "closed form: covariances S and 4 S about 0, (2 - 1)^2 tr S")
    a, b = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    given("two points", features=np.tile(a, (20, 1)), reference=np.tile(b, (7, 1)))
    value = (5 / 2 + 1) ** 3 + (10 / 2 + 1) ** 3 - 2 * (1 / 2 + 1) ** 3
    expect("two points", "kid_net", "real", value, "closed form: k(a,a) + k(b,b) - 2 k(a,b), k = (x.y/2 + 1)^3")
    given("poles", features=np.tile([0.0, 3.0], (20, 1)), reference=np.tile([0.0, -15.0], (7, 1)))
    value = float(2000 * (1 - mpmath.exp(mpmath.mpf(-4) / 200)))
    for name in ("cmmd_v_net", "cmmd_u_net"):
        expect("poles", name, "real", value, "closed form: 2000 (1 - exp(-4/200)) of opposite directions")
    given("axes", features=np.repeat(np.eye(3), [10, 20, 70], axis=0), reference=np.eye(3))
    value = mpmath.exp(-sum(mpmath.mpf(p) / 10 * mpmath.log(mpmath.mpf(p) / 10) for p in (1, 2, 7)))
    expect("axes", "vendi_net", "all", float(value), "closed form: exp of the entropy of shares 0.1, 0.2, 0.7")
    given("line", features=np.r_[np.full(15, 4.5), np.full(5, 14.0)][:, None], reference=np.arange(10.0)[:, None])
    by_hand = (("precision", 1.0), ("recall", 0.5), ("density", (15 * 10 + 5) / 20 / 5), ("coverage", 1.0))
    for name, value in by_hand:
        expect("line", f"{name}_k5_net", "real", value, "by hand: balls of the reals 0..9 reach 5, 4, 3, ..., 3, 4, 5")
    given("border", features=np.full((20, 1), 14.0), reference=np.arange(10.0)[:, None])
    for name, value in (("precision", 1.0), ("recall", 0.0), ("density", 0.2), ("coverage", 0.1)):
        expect(
            "border", f"{name}_k5_net", "real", value, "by hand: 14 is on the border of the ball of 9, which holds it"
        )


def groups() -> None:
    """240 samples of two classes: the first 20 of each in a permutation are scored, against 20 reals of each."""
    labels, x = np.arange(240) % 2, drawn(240, 2)
    order = np.random.default_rng(20_261_128).permutation(240)
    members = [x[np.sort(order[labels[order] == k][:20])] for k in (0, 1)]
    reals = np.concatenate([members[0] + np.array([3.0, 4.0]), members[1] + np.array([0.5, 0.0])])
    labelled = np.repeat([0, 1], 20)[:, None]
    given(
        "groups", features=x, reference=reals, labels=labelled, probabilities=np.eye(2)[labels], target=np.full(2, 0.5)
    )
    shift = "closed form: equal covariances, |shift|^2"
    for k, value in enumerate((25.0, 0.25)):
        expect("groups", "group_frechet_net", f"a={k} to real", value, shift)
    expect("groups", "worst_group_frechet_net", "a to real", 25.0, f"{shift}, of the worst class")
    actual = []
    for k in (0, 1):
        value, interval = jackknifed(lambda v, k=k: coverage(v, reals[labelled[:, 0] == k]), members[k], 10)
        actual.append(value)
        name = "scikit-learn's NearestNeighbors, scipy's cdist"
        expect("groups", "group_coverage_k5_net", f"a={k} to real", value, name, within(interval))
    expect("groups", "worst_group_coverage_k5_net", "a to real", min(actual), "the smaller of the two")


# --- classes


def discrepancies() -> None:
    sure = np.repeat([[0.9, 0.1], [0.2, 0.8]], [70, 30], axis=0)
    given("70 to 30", probabilities=sure, target=np.full(2, 0.5))
    root = float(mpmath.sqrt(mpmath.mpf(2) / 25))
    expect("70 to 30", "fd_l2_hard", "a", root, "closed form: sqrt(2) 0.2")
    expect("70 to 30", "fd_l1", "a", 0.4, "closed form: 2 * 0.2")
    kl = mpmath.mpf(7) / 10 * mpmath.log(mpmath.mpf(7) / 5) + mpmath.mpf(3) / 10 * mpmath.log(mpmath.mpf(3) / 5)
    expect("70 to 30", "kl", "a", float(kl), "closed form: 0.7 log 1.4 + 0.3 log 0.6")
    soft = mpmath.sqrt(2) * (mpmath.mpf(69) / 100 - mpmath.mpf(1) / 2)
    expect("70 to 30", "fd_l2_soft", "a", float(soft), "closed form: mean probability 0.7 * 0.9 + 0.3 * 0.2 = 0.69")
    expect("70 to 30", "share_hard", "a=0", 0.7, "closed form; interval: scipy's Wilson", wilson(70, 100))
    p = RNG.dirichlet([2, 1, 1], 90).round(3)
    p[:, 2] = 1 - p[:, 0] - p[:, 1]
    r = np.array([0.5, 0.3, 0.2])
    given("three", probabilities=p, target=r)
    q = np.bincount(p.argmax(1), minlength=3) / 90
    expect("three", "fd_l2_hard", "a", np.linalg.norm(q - r), "numpy")
    expect("three", "fd_l1", "a", np.abs(q - r).sum(), "numpy")
    expect("three", "kl", "a", rel_entr(q, r).sum(), "scipy.special.rel_entr")
    expect("three", "fd_l2_soft", "a", np.linalg.norm(p.mean(0) - r), "numpy")
    first, second = p[:, :2] / p[:, :2].sum(1, keepdims=True), p[::-1]
    joint = (first[:, :, None] * second[:, None, :]).reshape(90, 6)
    target = np.array([1, 2, 3, 3, 2, 1]) / 12
    given("joint", probabilities=first, probabilities_b=second, target=target)
    expect("joint", "fd_l2_soft", "a+b", np.linalg.norm(joint.mean(0) - target), "numpy; the last attribute fastest")
    q = np.bincount(first.argmax(1) * 3 + second.argmax(1), minlength=6) / 90
    expect("joint", "fd_l2_hard", "a+b", np.linalg.norm(q - target), "numpy; the last attribute fastest")
    expect("joint", "fd_l2_hard", "b", np.linalg.norm(q.reshape(2, 3).sum(0) - target.reshape(2, 3).sum(0)), "numpy")


def corrections() -> None:
    labels = np.repeat([0, 1], [70, 30])
    given("rogan gladen", probabilities=np.eye(2)[labels], target=np.full(2, 0.5), confusion=[[196, 4], [5, 95]])
    p = mpmath.mpf("0.28") / mpmath.mpf("0.93")  # (0.30 - 0.02) / (0.95 - 0.02)
    value = mpmath.sqrt(2) * (mpmath.mpf(1) / 2 - p)
    expect("rogan gladen", "fd_l2_corrected", "a", float(value), "closed form: p = (q - 0.02) / (0.95 - 0.02)")
    expect("rogan gladen", "share_corrected", "a=1", float(p), "closed form: Rogan & Gladen 1978")
    counts = np.array([[95, 3, 2], [4, 90, 6], [1, 2, 97]])
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    given("three classes", probabilities=np.eye(3)[labels], target=np.full(3, 1 / 3), confusion=counts)
    p = np.linalg.solve((counts / counts.sum(1, keepdims=True)).T, np.array([0.5, 0.3, 0.2]))
    expect("three classes", "fd_l2_corrected", "a", np.linalg.norm(p - 1 / 3), "numpy.linalg.solve(C^T, q)")
    for k in range(3):
        expect("three classes", "share_corrected", f"a={k}", p[k], "numpy.linalg.solve(C^T, q)")


def counts() -> None:
    classified = np.tile([0.9, 0.1], (40, 1))
    classified[:7] = np.nan
    detected = (np.arange(40) % 4 > 0).astype(float)
    given("abstained", probabilities=classified, target=np.full(2, 0.5), detected=detected)
    expect("abstained", "abstained_share", "a", 7 / 40, "closed form; interval: scipy's Wilson", wilson(7, 40))
    expect("abstained", "detection_rate_net", "all", 0.75, "closed form; interval: scipy's Wilson", wilson(30, 40))
    first, second = RNG.integers(0, 3, (2, 60))
    second = np.where(np.arange(60) % 3 == 0, second, first)
    given("classifiers", probabilities=np.eye(3)[first], second=np.eye(3)[second], target=np.full(3, 1 / 3))
    expect("classifiers", "kappa_second", "a", cohen_kappa_score(first, second), "scikit-learn's cohen_kappa_score")
    first, second = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    given("cohen", probabilities=np.eye(2)[first], second=np.eye(2)[second], target=np.full(2, 0.5))
    expect("cohen", "kappa_second", "a", 0.4, "closed form: (0.7 - 0.5) / (1 - 0.5) of the table 20 5 10 15")


def leakage() -> None:
    assigned = np.arange(60) % 2
    given("told", features=drawn(60, 2) + 100.0 * assigned[:, None], assigned_class=assigned, target=np.full(2, 0.5))
    expect("told", "epsilon_net", "a", 0.0, "closed form: two groups 100 standard deviations apart")
    given("untold", features=np.ones((60, 2)), assigned_class=assigned, target=np.full(2, 0.5))
    expect(
        "untold", "epsilon_net", "a", 0.5, "closed form: equal images, one answer for all is wrong on one group of 2"
    )
    assigned = np.arange(75) % 3
    given("untold three", features=np.ones((75, 2)), assigned_class=assigned, target=np.full(3, 1 / 3))
    expect("untold three", "epsilon_net", "a", 2 / 3, "closed form: one answer for all is wrong on two groups of 3")


def paired_baselines() -> None:
    x, y = drawn(25, 6), drawn(25, 6)
    points, others = drawn(25, 8), drawn(25, 8)
    before, after = np.repeat([0, 1], [15, 10]), np.repeat([0, 1, 0, 1], [9, 6, 2, 8])
    given(
        "paired_baselines", features=x, paired_baseline=y, points=points, paired_baseline_points=others,
        target=np.full(2, 0.5), other=np.eye(2)[after], paired_baseline_other=np.eye(2)[before],
    )  # fmt: skip
    mean = "mean of scipy.spatial.distance"
    apart = np.array([[cosine(a, b)] for a, b in zip(x, y, strict=True)])
    value, interval = jackknifed(lambda v: float(v.mean()), apart, 25)
    expect("paired_baselines", "paired_cosine_net", "all", value, f"{mean}.cosine", at_least(0, interval))
    apart = cdist(points, others, "sqeuclidean").diagonal()[:, None]
    value, interval = jackknifed(lambda v: float(v.mean()), apart, 25)
    expect(
        "paired_baselines", "paired_distance_lpips", "all", value, f"{mean}.cdist, sqeuclidean", at_least(0, interval)
    )
    expect("paired_baselines", "drift_changed", "b", 8 / 25, "closed form: 6 + 2 of 25; scipy's Wilson", wilson(8, 25))
    expect(
        "paired_baselines",
        "drift_l2",
        "b",
        float(mpmath.sqrt(2) * 4 / 25),
        "closed form: shares 14/25 and 10/25 of class 1",
    )


def downstream() -> None:
    labels = np.stack([np.arange(80) % 2, np.arange(80) // 2 % 2], axis=1)
    x = drawn(80, 2) + 100.0 * labels[:, :1]
    sets = {
        f"{name}{suffix}": v
        for name in ("biased", "balanced", "heldout")
        for suffix, v in (("", x), ("_labels", labels))
    }
    classes = np.arange(40) % 2
    given(
        "downstream", features=drawn(40, 2) + 100.0 * classes[:, None], probabilities=np.eye(2)[classes],
        target=np.full(2, 0.5), **sets,
    )  # fmt: skip
    apart = "closed form: classes 100 standard deviations apart"
    for name, value in (("worst_group", 1.0), ("gain", 0.0), ("biased_only", 1.0), ("ceiling", 1.0)):
        expect("downstream", f"downstream_{name}_net", "a by b", value, apart)


def prompts() -> None:
    present, n = np.array([10, 17, 4]), np.array([20, 20, 10])
    labels = np.concatenate([np.repeat([0, 1], [m - k, k]) for k, m in zip(present, n, strict=True)])
    ends = np.cumsum(n)
    x, texts = drawn(50, 4), drawn(3, 4)
    given(
        "prompts", probabilities=np.eye(2)[labels], target=np.full(2, 0.5), features=x, ends=ends, texts=texts
    )  # fmt: skip
    d = [mpmath.sqrt(2) * abs(mpmath.mpf(int(k)) / int(m) - mpmath.mpf(1) / 2) for k, m in zip(present, n, strict=True)]
    for j, (k, m) in enumerate(zip(present, n, strict=True)):
        expect("prompts", "fd_l2_by_prompt", f"a at p{j}", float(d[j]), "closed form: sqrt(2) |p - 1/2|")
        origin = "closed form; interval: scipy's Wilson"
        expect("prompts", "share_by_prompt", f"a=1 at p{j}", k / m, origin, wilson(int(k), int(m)))
    middle, largest = sorted(d)[1:]
    expect("prompts", "fd_l2_prompt_mean", "a", float(sum(d) / 3), "closed form: mean of the three")
    expect("prompts", "fd_l2_prompt_worst", "a", float(largest), "closed form: the largest of the three")
    ninth = float(middle + (largest - middle) * mpmath.mpf("0.8"))
    expect("prompts", "fd_l2_prompt_p90", "a", ninth, "closed form: type 7, 0.9 * 2 = 1.8 steps up from the smallest")
    by_prompt = [
        100 * np.maximum(cosine_similarity(x[end - m : end], texts[j : j + 1]).ravel(), 0)
        for j, (m, end) in enumerate(zip(n, ends, strict=True))
    ]
    for j, scores in enumerate(by_prompt):
        _, interval = jackknifed(lambda v: float(v.mean()), scores, len(scores))
        ends = interval and (max(0.0, interval[0]), min(100.0, interval[1]))
        origin = "scikit-learn's cosine_similarity; interval: jackknife"
        expect("prompts", "clip_by_prompt_net", f"all at p{j}", scores.mean(), origin, ends)
    mean = np.concatenate(by_prompt).mean()
    expect("prompts", "clip_score_net", "all", mean, "scikit-learn's cosine_similarity")


def main() -> None:
    """Write both files."""
    for make_cases in (
        features,
        closed_forms_of_features,
        groups,
        discrepancies,
        corrections,
        counts,
        leakage,
        paired_baselines,
        downstream,
        prompts,
    ):
        make_cases()
    np.savez_compressed(HERE / "inputs.npz", **INPUTS)
    with (HERE / "expected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("case", "score", "scope", "value", "low", "high", "origin"))
        writer.writerows(ROWS)


if __name__ == "__main__":
    main()
