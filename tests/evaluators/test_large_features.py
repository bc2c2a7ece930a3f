"""Features that float64 cannot compute with: undefined with a reason, never a number that is not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core import plugins
from bench.core.errors import ConfigError, Undefined
from bench.core.gaussian import Gaussian, check_features, fit
from bench.plugin_checks.samples import GLASSES, HAIR, good
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample, Score
from bench.storage.gaussian_files import read_statistics, write_statistics

FAST = [
    "kid",
    "cmmd",
    "frechet",
    "fd_infinity",
    "prdc",
    "vendi",
    "group_quality",
    "paired_baseline",
    "prompt_alignment",
]
FITTED = ["downstream_accuracy", "epsilon_fairness"]  # what they fit takes standardised features
CASES = [(name, factor) for name in FAST for factor in (1e60, 1e120, 1e160, math.inf)]
CASES += [(name, factor) for name in FITTED for factor in (1e160, math.inf)]


def scaled(factor: float) -> Sample:
    """Return samples whose features, of images and of vanilla's, are some factor larger; infinity stands in one row."""
    sample = good(0, 60)

    def larger(features: np.ndarray) -> np.ndarray:
        changed = features * (factor if math.isfinite(factor) else 1.0)
        if not math.isfinite(factor):
            changed[3, 1] = factor
        return changed

    arrays = {
        "features": {"net": larger(sample.features["net"])},
        "perceptual": {"lpips": larger(sample.perceptual["lpips"])},
    }
    return replace(sample, **arrays)


def reference(factor: float) -> Reference:
    """Return a reference set and real images of the same scale."""
    rng = np.random.default_rng(1)
    features, labels = factor * rng.standard_normal((200, 4)), rng.integers(0, 2, (200, 2))
    real = LabelledFeatures({"net": features}, labels)
    texts = {"net": dict.fromkeys("ab", np.array([1.0, 1.0, -1.0, -1.0]))}
    return Reference(
        (GLASSES,), np.full(2, 0.5), {"net": {"real": features}}, {"real": labels[:, :1]},
        downstream=Downstream((GLASSES, HAIR), real, real, real), texts=texts,
    )  # fmt: skip


def evaluate(name: str, sample: Sample, against: Reference) -> list[Score]:
    scores: list[Score] = plugins.load("evaluator", name, "Evaluator")().evaluate(sample, against)
    return scores


@pytest.mark.parametrize(("name", "factor"), CASES)
def test_no_number_is_infinite_or_nan(name: str, factor: float) -> None:
    scores = evaluate(name, scaled(factor), reference(factor if math.isfinite(factor) else 1.0))
    assert scores
    for score in scores:
        if score.status == "ok":
            assert all(math.isfinite(v) for v in (score.value, score.ci_low, score.ci_high) if v is not None), score
        else:
            assert (score.status, score.value) == ("undefined", None)
            assert score.reason
    apart = factor == math.inf and name in ("group_quality", "prompt_alignment")  # of classes and prompts without it
    if factor >= 1e160 and not apart:
        assert {s.status for s in scores} == {"undefined"}


def test_the_largest_feature_is_named() -> None:
    check_features(np.array([[1e150, -1e150]]))
    with pytest.raises(Undefined, match=r"below 1e\+150, whose square float64 holds, got 2e\+150"):
        check_features(np.array([[1.0, -2e150]]))
    for bad in (np.nan, -np.inf):
        with pytest.raises(Undefined, match="must be finite, got NaN or infinity"):
            check_features(np.array([[1.0, bad]]))
    with pytest.raises(Undefined, match="below"):
        fit(np.full((3, 2), 1e200))


@pytest.mark.parametrize("mean", [1e151, 1.0])
def test_a_file_of_statistics_beyond_float64_s_squares_is_refused(tmp_path: Path, mean: float) -> None:
    path = tmp_path / "large.npz"
    write_statistics(path, Gaussian(np.full(2, mean), np.eye(2) * (1.0 if mean > 1 else 1e301)), "net")
    with pytest.raises(ConfigError, match=r"must be below 1e\+150 and sigma below its square"):
        read_statistics(path)
