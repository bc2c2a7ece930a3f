"""Closed forms, properties, parity and numerics of the Frechet distance."""

from collections.abc import Callable

import cleanfid.fid
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core import gaussian
from bench.core.errors import ConfigError, Incompatible, Undefined
from bench.core.gaussian import Gaussian, fit
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import frechet
from evaluators.features.comparisons import INTERVAL_N
from evaluators.features.frechet_distance import Distances, frechet_distance, from_gram, from_moments
from evaluators.features.groups import Groups, interleaved
from evaluators.frechet import Evaluator

Floats = npt.NDArray[np.float64]


def covariance_of(rng: np.random.Generator, d: int, rank: int | None = None) -> Floats:
    a = rng.standard_normal((d, rank or 2 * d)) * np.linspace(0.5, 2.0, d)[:, None]
    return np.asarray(a @ a.T / a.shape[1])


def scores_of(features: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> list[Score]:
    sample = Sample({}, {"net": features}, np.zeros(len(features), dtype=np.int64))
    return Evaluator().evaluate(sample, Reference((), np.ones(1), {"net": {"set": reference}}))


def test_equal_covariances_leave_the_distance_of_the_means() -> None:
    rng = np.random.default_rng(0)
    mu1, mu2, s = rng.standard_normal(16), rng.standard_normal(16), covariance_of(rng, 16)
    assert frechet_distance(mu1, s, mu2, s) == pytest.approx(((mu1 - mu2) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("c", [0.5, 3.0])
def test_a_scaled_covariance(c: float) -> None:
    rng = np.random.default_rng(0)
    mu1, mu2, s = rng.standard_normal(16), rng.standard_normal(16), covariance_of(rng, 16)
    expected = (1 - c) ** 2 * np.trace(s) + ((mu1 - mu2) ** 2).sum()
    assert frechet_distance(mu1, s, mu2, c**2 * s) == pytest.approx(expected, rel=1e-10)


def test_commuting_covariances() -> None:
    # Diagonal: sum (sqrt a - sqrt b)^2 = (1 - 2)^2 + (3 - 1)^2 + (0 - 2)^2
    s1, s2 = np.diag([1.0, 9.0, 0.0]), np.diag([4.0, 1.0, 4.0])
    assert frechet_distance(np.zeros(3), s1, np.zeros(3), s2) == pytest.approx(9.0)
    assert frechet_distance(np.zeros(3), s2, np.zeros(3), s1) == pytest.approx(9.0)


@pytest.mark.parametrize("rank", [1, 5])
def test_singular_covariances(rank: int) -> None:
    rng = np.random.default_rng(1)
    s, full, mu = covariance_of(rng, 16, rank), covariance_of(rng, 16), np.zeros(16)
    assert frechet_distance(mu, s, mu, 4 * s) == pytest.approx(np.trace(s), rel=1e-6)
    # A small ridge makes both matrices regular and moves the distance by little.
    ridge = 1e-8 * np.eye(16)
    expected = frechet_distance(mu, s + ridge, mu, full)
    assert frechet_distance(mu, s, mu, full) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(mu, full, mu, s) == pytest.approx(expected, rel=1e-3)


def test_orthogonal_supports_add_their_traces() -> None:
    s1, s2 = np.diag([2.0, 0.0]), np.diag([0.0, 3.0])
    assert frechet_distance(np.zeros(2), s1, np.zeros(2), s2) == pytest.approx(5.0)


def test_a_matrix_that_is_no_covariance_is_undefined_not_a_plausible_number() -> None:
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])  # eigenvalues 3 and -1
    for s1, s2 in ((bad, np.eye(2)), (np.eye(2), bad)):
        with pytest.raises(Undefined, match="negative eigenvalue"):
            frechet_distance(np.zeros(2), s1, np.zeros(2), s2)


def test_nan_is_undefined() -> None:
    with pytest.raises(Undefined, match="finite"):
        frechet_distance(np.array([np.nan]), np.eye(1), np.zeros(1), np.eye(1))


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # of SciPy, called by clean-fid
@pytest.mark.parametrize("rank", [None, 40])
def test_parity_with_clean_fid(rank: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    mu1, mu2 = rng.standard_normal((2, 64))
    s1, s2 = covariance_of(rng, 64), covariance_of(rng, 64, rank)
    theirs = cleanfid.fid.frechet_distance(mu1, s1, mu2, s2)
    assert frechet_distance(mu1, s1, mu2, s2) == pytest.approx(theirs, rel=1e-6)
    capsys.readouterr()  # clean-fid prints


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 8))
def test_symmetric_not_negative_zero_on_itself_and_unmoved_by_rotation_and_shift(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    (mu1, mu2, shift), s1, s2 = rng.standard_normal((3, d)), covariance_of(rng, d), covariance_of(rng, d)
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    value = frechet_distance(mu1, s1, mu2, s2)
    assert value >= 0
    assert frechet_distance(mu1, s1, mu1, s1) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(mu2, s2, mu1, s1) == pytest.approx(value, rel=1e-8, abs=1e-10)
    moved = frechet_distance(q @ mu1 + shift, q @ s1 @ q.T, q @ mu2 + shift, q @ s2 @ q.T)
    assert moved == pytest.approx(value, rel=1e-8, abs=1e-10)


def test_fit_is_the_unbiased_covariance_also_beside_a_large_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "CHUNK", 7)
    x = np.random.default_rng(0).standard_normal((50, 5)) + 1e6
    fitted = fit(x)
    np.testing.assert_allclose(fitted.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(fitted.covariance, np.cov(x.T), rtol=1e-9)


def test_fit_of_float32_rows_is_summed_in_float64() -> None:
    x = (np.random.default_rng(0).standard_normal((20_000, 2)) + 1000).astype(np.float32)
    np.testing.assert_allclose(fit(x).covariance, np.cov(x.astype(np.float64).T), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", [from_gram, from_moments])
@pytest.mark.parametrize(("n", "d"), [(23, 40), (60, 12), (31, 31)])
def test_both_forms_give_the_distance_of_the_fits_and_of_each_jackknife_replicate(
    form: Callable[[Floats, Groups], Distances], n: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussian, "CHUNK", 13)  # no multiple of the groups, so that a group's rows move in the chunk
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, d)) + 100.0, 1.5 * rng.standard_normal((3 * d, d)) + 99.0
    reference = fit(y)
    expected = []
    for group in (None, *range(10)):
        selected = x[np.arange(n) % 10 != group] if group is not None else x
        expected.append(
            frechet_distance(selected.mean(axis=0), np.cov(selected.T), reference.mean, reference.covariance)
        )
    np.testing.assert_allclose(form(x, interleaved(n))(reference), expected, rtol=1e-6)


def test_a_reference_of_fewer_images_than_dimensions_is_handled() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 40)), rng.standard_normal((25, 40))
    expected = frechet_distance(x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T))
    assert scores_of(x, y)[0].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [30, 200])
def test_scores_have_the_names_the_value_and_an_interval_about_it(n: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 50)), rng.standard_normal((300, 50)) + 0.3
    sample = Sample({}, {"net": x, "eye": x[:, :5]}, np.zeros(n, dtype=np.int64))
    reference = Reference((), np.ones(1), {"eye": {"real": y[:, :5]}, "net": {"real": y, "fair": y[:150]}})
    scores = Evaluator().evaluate(sample, reference)
    assert [(s.metric, s.scope) for s in scores] == [
        ("frechet_eye", "real"),
        ("frechet_net", "real"),
        ("frechet_net", "fair"),
    ]
    for score, array in zip(scores, (y[:, :5], y, y[:150]), strict=True):
        feature = x[:, : array.shape[1]]
        expected = frechet_distance(feature.mean(axis=0), np.cov(feature.T), array.mean(axis=0), np.cov(array.T))
        assert score.value == pytest.approx(expected, rel=1e-6)
        assert score.n == n
        if n < INTERVAL_N:
            assert (score.ci_low, score.ci_high) == (None, None)
            continue
        assert score.ci_low is not None
        assert score.ci_high is not None
        assert 0 <= score.ci_low < expected < score.ci_high


def test_the_interval_covers_the_expected_distance_at_this_n() -> None:
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((500, 4))
    scores = [scores_of(0.7 * rng.standard_normal((100, 4)) + 0.5, reference)[0] for _ in range(300)]
    expected = np.mean([score.value for score in scores if score.value is not None])
    covered = np.mean([s.ci_low <= expected <= s.ci_high for s in scores if s.ci_low is not None and s.ci_high])
    assert 0.91 <= covered <= 0.985


def test_rows_permuted_within_their_group_change_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((90, 8))
    shuffled = x.reshape(6, 10, 8)[rng.permutation(6)].reshape(60, 8)
    first, second = scores_of(x, y)[0], scores_of(shuffled, y)[0]
    assert (first.value, first.ci_low, first.ci_high) == pytest.approx((second.value, second.ci_low, second.ci_high))


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_samples_are_undefined(n: int) -> None:
    score = scores_of(np.zeros((n, 4)), np.eye(4))[0]
    assert (score.status, score.value, score.n) == ("undefined", None, n)
    assert f"got {n}" in score.reason


def test_twenty_samples_are_enough() -> None:
    rng = np.random.default_rng(0)
    assert scores_of(rng.standard_normal((20, 4)), rng.standard_normal((9, 4)))[0].status == "ok"


def test_bad_features_and_references_are_undefined() -> None:
    good = np.random.default_rng(0).standard_normal((30, 4))
    holed = good.copy()
    holed[3, 2] = np.nan
    assert scores_of(holed, good)[0].status == "undefined"
    assert scores_of(good, holed)[0].status == "undefined"
    assert scores_of(good, good[:1])[0].status == "undefined"


def test_mistakes_are_named() -> None:
    x = np.zeros((30, 4))
    sample = Sample({}, {"net": x}, np.zeros(30, dtype=np.int64))
    with pytest.raises(Incompatible, match="no features of eye"):
        Evaluator().evaluate(sample, Reference((), np.ones(1), {"eye": {"real": x}}))
    with pytest.raises(ConfigError, match="width of reference set real, 3, got 4"):
        Evaluator().evaluate(sample, Reference((), np.ones(1), {"net": {"real": x[:, :3]}}))


def test_a_reference_is_fitted_once_and_another_array_of_its_name_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []

    def counted(features: npt.NDArray[np.floating]) -> Gaussian:
        fitted.append(features)
        return fit(features)

    monkeypatch.setattr(frechet, "fit", counted)
    rng = np.random.default_rng(0)
    x, first, second = rng.standard_normal((30, 4)), rng.standard_normal((30, 4)), rng.standard_normal((30, 4)) + 5
    sample, evaluator = Sample({}, {"net": x}, np.zeros(30, dtype=np.int64)), Evaluator()
    values = [
        evaluator.evaluate(sample, Reference((), np.ones(1), {"net": {"real": array}}))[0].value
        for array in (first, first, second)
    ]
    assert len(fitted) == 2
    assert values[0] == values[1]
    assert values[2] == scores_of(x, second)[0].value
