"""The distance at 2048 dimensions beside clean-fid's; run by name, since it measures time and needs a quiet machine.

    pytest tests/benchmarks/frechet.py

The ratio of the two times is kept in the second benchmark's `extra_info`. No time is asserted, equality is.
"""

import cleanfid.fid
import numpy as np
import numpy.typing as npt
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evaluators.features.frechet_distance import frechet_distance

Floats = npt.NDArray[np.float64]
Fits = tuple[Floats, Floats, Floats, Floats]
D = 2048


@pytest.fixture(scope="module")
def fits() -> Fits:
    """Means and covariances of 2 D rows with a falling spectrum, as image features have it."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, D + 1) ** -0.5
    x = rng.standard_normal((2 * D, D)) * scale
    y = 1.2 * rng.standard_normal((2 * D, D)) * scale[::-1] + 0.01
    return x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T)


@pytest.fixture(scope="module")
def first() -> dict[str, float]:
    """The value and the time of the first benchmark, for the second to compare with."""
    return {}


def test_ours(benchmark: BenchmarkFixture, fits: Fits, first: dict[str, float]) -> None:
    first["value"] = benchmark.pedantic(frechet_distance, args=fits, rounds=1, iterations=1)
    first["seconds"] = benchmark.stats.stats.mean


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # of SciPy, called by clean-fid
def test_clean_fid(benchmark: BenchmarkFixture, fits: Fits, first: dict[str, float]) -> None:
    theirs = benchmark.pedantic(cleanfid.fid.frechet_distance, args=fits, rounds=1, iterations=1)
    benchmark.extra_info["times_faster"] = benchmark.stats.stats.mean / first["seconds"]
    benchmark.extra_info["relative_difference"] = abs(first["value"] / theirs - 1)
    assert first["value"] == pytest.approx(theirs, rel=1e-6)
