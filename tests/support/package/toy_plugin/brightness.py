"""A classifier that takes dark images for faces with glasses."""

import numpy as np
import torch

from bench.core.attributes import Attribute


class Extractor:
    """Return the probability of glasses from the mean brightness."""

    name = "brightness"
    digest = "brightness 1"
    attributes = (Attribute("eyeglasses", ("absent", "present")),)
    confusion = {"eyeglasses": [[90, 10], [10, 90]]}  # noqa: RUF012

    def extract(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        level = images.float().mean((1, 2, 3)).numpy() / 255
        present = 1 / (1 + np.exp(20 * (level - 0.5)))
        return {"eyeglasses": np.stack([1 - present, present], axis=1)}
