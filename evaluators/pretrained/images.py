"""Checks of the images that an extractor is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def check_images(images: Tensor) -> None:
    """Refuse a tensor that is not uint8 [n, 3, h, w].

    Raises:
        ConfigError: the images are of another type or shape.
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
