"""Temperatures have closed forms, abstentions are NaN, and kappa is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score, log_loss

from bench.core.errors import Undefined
from evaluators.classifiers.abstention import abstain
from evaluators.classifiers.agreement import cohen_kappa
from evaluators.classifiers.calibration import fit_temperature, negative_log_likelihood, softmax


@pytest.mark.parametrize("share", [0.6, 0.75, 0.99])
@pytest.mark.parametrize("gap", [0.05, 3.0, 40.0])
def test_two_classes_closed_form(share, gap):
    """A classifier that gives logits (gap, 0) and is right in a share of rows: sigmoid(gap / T) = share."""
    labels = (np.arange(100) >= 100 * share).astype(int)
    actual = fit_temperature({"a": np.tile([gap, 0.0], (100, 1))}, {"a": labels})
    assert actual == pytest.approx(gap / np.log(share / (1 - share)), rel=1e-3)


def test_the_temperature_that_labels_were_drawn_with_comes_back():
    rng = np.random.default_rng(0)
    logits = {"a": rng.normal(0, 3, (40_000, 2)), "b": rng.normal(0, 3, (40_000, 4))}
    labels = {}
    for name, z in logits.items():
        edges = softmax(z / 2.5).cumsum(1)
        labels[name] = (rng.random((len(z), 1)) > edges).sum(1).clip(max=z.shape[1] - 1)
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)
    assert fit_temperature({k: 10 * z for k, z in logits.items()}, labels) == pytest.approx(
        10 * fit_temperature(logits, labels), rel=1e-3
    )


def test_likelihood_and_softmax_are_scikit_learns_and_survive_large_logits():
    rng = np.random.default_rng(1)
    z, labels = rng.normal(0, 2, (50, 3)), rng.integers(3, size=50)
    assert negative_log_likelihood(z, labels) == pytest.approx(log_loss(labels, softmax(z), labels=[0, 1, 2]))
    assert negative_log_likelihood(np.array([[2000.0, 0.0]]), np.array([1])) == pytest.approx(2000)
    assert softmax(np.array([[1e4, 0.0]], np.float32)).tolist() == [[1.0, 0.0]]
    assert softmax(z.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("labels", [np.zeros(20, int), np.arange(20) % 2], ids=["all right", "half right"])
def test_no_temperature_is_best(labels):
    """All right: the lower the better. Right by chance alone: the higher the better."""
    with pytest.raises(
        Undefined, match="must be fitted on images of which some, but not a random share, are misclassified"
    ):
        fit_temperature({"a": np.tile([1.0, 0.0], (20, 1))}, {"a": labels})


def test_abstentions():
    p = np.array([[0.5, 0.5], [0.7, 0.3], [0.2, 0.8]], np.float32)
    actual = abstain(p, 0.7)
    assert actual.dtype == np.float32
    assert np.isnan(actual[0]).all()
    np.testing.assert_array_equal(actual[1:], p[1:])  # at the threshold it answers
    assert not np.isnan(abstain(p, 0.0)).any()
    assert np.isnan(abstain(p, 1.0)).all()
    assert abstain(p[:0], 0.7).shape == (0, 2)
    assert not np.isnan(p).any(), "the argument is left as it is"


pairs = st.integers(1, 60).flatmap(lambda n: arrays(np.int64, (2, n), elements=st.integers(0, 3)))


def table_of(a, b, n_classes):
    table = np.zeros((n_classes, n_classes))
    np.add.at(table, (a, b), 1)
    return table


@given(pairs)
def test_kappa_is_scikit_learns(labels):
    a, b = labels
    actual = cohen_kappa(table_of(a, b, 4))
    if len(np.unique(labels)) == 1:
        assert np.isnan(actual)
        return
    assert actual == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert cohen_kappa(table_of(a, b, 9)) == pytest.approx(actual, abs=1e-12), "a class that nobody names"
    assert cohen_kappa(table_of(b, a, 4) / len(a)) == pytest.approx(actual, abs=1e-12), "symmetric, and of shares"


def test_kappa_closed_forms_of_many_tables_at_once():
    tables = np.array([[[3, 0], [0, 5]], [[1, 1], [1, 1]], [[0, 1], [1, 0]], [[4, 0], [0, 0]], [[0, 0], [0, 0]]])
    actual = cohen_kappa(tables.astype(np.float64).reshape(5, 1, 2, 2))
    assert actual.shape == (5, 1)
    np.testing.assert_allclose(actual[:, 0], [1, 0, -1, np.nan, np.nan], atol=1e-12)
