"""Run an extractor, and refuse arrays that its network did not mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from bench.core.errors import NotFinite
from bench.protocols.evaluator import Extractor

Arrays = dict[str, npt.NDArray[np.generic]]


def extracted(extractor: Extractor, images: npt.NDArray[np.generic]) -> Arrays:
    """Return the arrays of an extractor for uint8 images [n, 3, h, w].

    A row that is NaN throughout stands for an abstention, or for an image without a face; any other NaN and every
    infinity come from a network that overflowed.

    Raises:
        NotFinite: a row holds infinity or some NaN, or features are NaN of an image in which a face was found or
            not looked for.
    """
    arrays: Arrays = dict(extractor.extract(torch.from_numpy(np.array(images))))
    for name, values in arrays.items():
        broken = _broken(name, np.asarray(values), arrays.get("detected"))
        if broken.any():
            raise NotFinite(
                f"extractor {extractor.name} returned NaN or infinity in {name!r} for {int(broken.sum())} of "
                f"{len(values)} images; its weights are damaged, or too large for their precision"
            )
    return arrays


def _broken(
    name: str, values: npt.NDArray[np.generic], detected: npt.NDArray[np.generic] | None
) -> npt.NDArray[np.bool_]:
    """Return which rows hold numbers that no image gives, bool [n]."""
    if not np.issubdtype(values.dtype, np.floating) or not values.size:
        return np.zeros(len(values), bool)
    rows = values.reshape(len(values), -1)
    nan = np.isnan(rows)
    broken: npt.NDArray[np.bool_] = np.isinf(rows).any(1) | (nan.any(1) & ~nan.all(1))
    if name == "features":
        expected = np.ones(len(rows), bool) if detected is None else np.asarray(detected) != 0
        broken |= nan.any(1) & expected
    elif name in ("detected", "perceptual"):
        broken |= nan.any(1)
    return broken
