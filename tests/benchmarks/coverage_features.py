"""Rows of the coverage table: metrics of image features."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.plugins import load
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import paired_baseline
from evaluators.features.comparisons import INTERVAL_N
from tests.support.coverage import Draw, Row

Floats = npt.NDArray[np.float64]
Rows = Callable[[np.random.Generator, int], Floats]
WIDTH = 4  # features
REALS = 300  # images of the reference set
SHIFT = 0.5  # of the samples from the reference
HAIR = Attribute("hair", ("no", "yes"))
NO_REFERENCE = Reference((), np.ones(1))


def gaussian(rng: np.random.Generator, n: int) -> Floats:
    """Standard normal features."""
    return rng.standard_normal((n, WIDTH))


def student(rng: np.random.Generator, n: int) -> Floats:
    """Student's t of 3 degrees of freedom: the squares have no variance."""
    return rng.standard_t(3, (n, WIDTH))


def lognormal(rng: np.random.Generator, n: int) -> Floats:
    """Lognormal features, sigma 0.5."""
    return rng.lognormal(0.0, 0.5, (n, WIDTH))


def mixture(rng: np.random.Generator, n: int) -> Floats:
    """Two classes with shares 0.7 and 0.3."""
    return rng.standard_normal((n, WIDTH)) + 3.0 * (rng.random((n, 1)) < 0.3)


def rare(rng: np.random.Generator, n: int) -> Floats:
    """A class with a share of 0.02, six standard deviations away."""
    return rng.standard_normal((n, WIDTH)) + 6.0 * (rng.random((n, 1)) < 0.02)


FEATURES: dict[str, Rows] = {
    "Gaussian features": gaussian,
    "t features, 3 df": student,
    "lognormal features": lognormal,
    "two classes": mixture,
    "a rare class": rare,
}


@cache
def evaluator(name: str) -> object:
    """Return an evaluator; it caches what it computed of a reference set."""
    return load("evaluator", name, "Evaluator")()


@cache
def against(rows: Rows) -> Reference:
    """Return a fixed reference set; its two classes have the same features."""
    labels = np.arange(REALS)[:, None] % 2
    return Reference(
        (HAIR,), np.full(2, 0.5), {"net": {"real": rows(np.random.default_rng(99), REALS)}}, {"real": labels}
    )


def draw_of(name: str, column: str, rows: Rows, shift: float) -> Draw:
    """Return draws of one column of an evaluator."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        features = rows(rng, n) + shift
        classified = {"hair": np.eye(2)[rng.permutation(np.arange(n) % 2)]}
        sample = Sample(classified, {"net": features}, np.full(n, -1))
        scores = evaluator(name).evaluate(sample, against(rows))  # type: ignore[attr-defined]
        return next(s for s in scores if s.metric == f"{column}_net")

    return draw


def pairs(distances: Callable[[np.random.Generator, int], Floats]) -> Draw:
    """Return draws of pairs with the given squared distances [n]."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        points, unassigned = np.sqrt(distances(rng, n))[:, None], np.full(n, -1)
        vanilla = Sample({}, {}, unassigned, perceptual={"net": np.zeros((n, 1))})
        sample = Sample({}, {}, unassigned, perceptual={"net": points}, paired_baseline=vanilla)
        return paired_baseline.Evaluator().evaluate(sample, NO_REFERENCE)[0]

    return draw


def cosines(sigma: float) -> Draw:
    """Return draws of pairs whose angle is half-normal, times sigma."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        angle, unassigned = sigma * rng.standard_normal(n), np.full(n, -1)
        vanilla = Sample({}, {"net": np.tile([1.0, 0.0], (n, 1))}, unassigned)
        turned = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        sample = Sample({}, {"net": turned}, unassigned, paired_baseline=vanilla)
        return paired_baseline.Evaluator().evaluate(sample, NO_REFERENCE)[0]

    return draw


def clip_scores(n: int, rng: np.random.Generator) -> Score:
    """Draw CLIP scores of two prompts whose images differ in spread."""
    spread = np.where(np.arange(n) < n // 2, 0.2, 0.8)
    images = np.array([1.0, 0.5]) + spread[:, None] * rng.standard_normal((n, 2))
    sample = Sample({}, {"net": images}, np.full(n, -1), prompts={"a": slice(0, n // 2), "b": slice(n // 2, n)})
    texts = {"net": dict.fromkeys("ab", np.array([1.0, 0.0]))}
    return load("evaluator", "prompt_alignment", "Evaluator")().evaluate(
        sample, Reference((), np.ones(1), texts=texts)
    )[0]


def half_unmoved(rng: np.random.Generator, n: int) -> Floats:
    """Distances of which 60 % are 0, as of a method that moves some images only."""
    return (rng.random(n) < 0.4) * rng.random(n)


PAIRS = (
    Row(
        "paired_distance", "lognormal, sigma 0.5", pairs(lambda r, n: r.lognormal(0, 0.5, n)), lambda n: math.exp(0.125)
    ),
    Row("paired_distance", "lognormal, sigma 1", pairs(lambda r, n: r.lognormal(0, 1.0, n)), lambda n: math.exp(0.5)),
    Row(
        "paired_distance", "lognormal, sigma 1.5", pairs(lambda r, n: r.lognormal(0, 1.5, n)), lambda n: math.exp(1.125)
    ),
    Row("paired_distance", "squares of t, 5 df", pairs(lambda r, n: r.standard_t(5, n) ** 2), lambda n: 5 / 3),
    Row("paired_distance", "40 % moved", pairs(half_unmoved), lambda n: 0.2),
    Row("paired_cosine", "angles of 0.3", cosines(0.3), lambda n: 1 - math.exp(-0.045)),
)
COLUMNS = (
    ("kid", "kid"),
    ("cmmd", "cmmd_v"),
    ("cmmd", "cmmd_u"),
    ("frechet", "frechet"),
    ("fd_infinity", "fd_infinity"),
    ("vendi", "vendi"),
    ("prdc", "precision_k5"),
    ("prdc", "recall_k5"),
    ("prdc", "density_k5"),
    ("prdc", "coverage_k5"),
)
GROUPS = tuple(
    Row(column, name, draw_of("group_quality", column, rows, SHIFT), None, (60, 240, 1200), 200)
    for column in ("group_frechet", "worst_group_frechet", "group_coverage_k5", "worst_group_coverage_k5")
    for name, rows in FEATURES.items()
)
ROWS: tuple[Row, ...] = (
    *PAIRS,
    Row("clip_score", "two prompts", clip_scores, sizes=(20, 200, 1000)),
    *(
        Row(
            column,
            f"{name}{', shifted' if shift else ''}",
            draw_of(metric, column, rows, shift),
            None,
            (20, INTERVAL_N, 200, 1000),
            300,
        )
        for metric, column in COLUMNS
        for name, rows in FEATURES.items()
        for shift in (0.0, SHIFT)
    ),
    *GROUPS,
)
