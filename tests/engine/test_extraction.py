"""NaN and infinity out of an extractor: an abstention is a whole row of NaN, anything else a failure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from bench.core.errors import NotFinite
from bench.engine.extraction import extracted

IMAGES = np.zeros((2, 3, 8, 8), np.uint8)
NAN, INF = np.nan, np.inf


class Fixed:
    """An extractor that returns the arrays it was made with."""

    name = digest = "fixed"

    def __init__(self, **arrays: list[list[float]] | list[float]) -> None:
        self.arrays = {key: np.array(values, np.float32) for key, values in arrays.items()}

    def extract(self, _images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        return dict(self.arrays)


@pytest.mark.parametrize(
    ("arrays", "key"),
    [
        ({"features": [[1.0, INF], [0.0, 0.0]]}, "features"),
        ({"features": [[NAN, NAN], [0.0, 0.0]]}, "features"),
        ({"features": [[NAN, NAN], [0.0, 0.0]], "detected": [1.0, 0.0]}, "features"),
        ({"perceptual": [[NAN, NAN], [0.0, 0.0]]}, "perceptual"),
        ({"glasses": [[NAN, 0.5], [0.5, 0.5]]}, "glasses"),
        ({"glasses": [[INF, 0.5], [0.5, 0.5]]}, "glasses"),
    ],
)
def test_numbers_that_no_image_gives_are_refused(arrays: dict[str, list[list[float]]], key: str) -> None:
    with pytest.raises(NotFinite, match=f"extractor fixed returned NaN or infinity in '{key}' for 1 of 2 images"):
        extracted(Fixed(**arrays), IMAGES)


@pytest.mark.parametrize(
    "arrays",
    [
        {"glasses": [[NAN, NAN], [0.5, 0.5]]},
        {"features": [[NAN, NAN], [0.0, 0.0]], "detected": [0.0, 1.0]},
    ],
)
def test_abstentions_and_images_without_a_face_stay(arrays: dict[str, list[list[float]]]) -> None:
    assert set(extracted(Fixed(**arrays), IMAGES)) == set(arrays)
