"""The tasks, settings and fixed questions that the tests of the reweighting family share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.protocols.cache import NoCache
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Guided, Task
from bench.storage.fits import FitCache
from methods import dsm_halves, dsm_obs, dsm_ref, iw_dsm, tiw_dsm
from methods.reweighting.settings import Settings
from tests.support.mixtures import GROUP, labelled, pictures

TINY = Settings(steps=6, discriminator_steps=4, batch=8, width=8, checkpoint_minutes=1e-9)
METHODS = {"tiw_dsm": tiw_dsm, "iw_dsm": iw_dsm, "dsm_ref": dsm_ref, "dsm_obs": dsm_obs, "dsm_halves": dsm_halves}
EVEN = torch.tensor([0.5, 0.5], dtype=torch.float64)


class Blind:
    """An image set that fails the test when anything but its images and its hash is looked at."""

    def __init__(self, data: LabelledImages) -> None:
        self.images, self.digest = data.images, data.digest

    def __len__(self) -> int:
        return len(self.images)

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} of an image set was read")


def picture_task(folder: Path | None = None, shipped: Path | None = None, **more: object) -> Task:
    model = pictures((0.8, 0.2))
    even = labelled(pictures((0.5, 0.5)), 100, 2)
    task = Task(
        model, (GROUP,), np.array([0.5, 0.5]), (999, 500, 0),
        observed=Blind(labelled(model, 200, 1)), unbiased=Blind(even), cache=FitCache(folder, shipped) if folder else
        NoCache(),
    )  # fmt: skip
    return dataclasses.replace(task, **more)


def method(name: str, **fields: object) -> object:
    """A method that trains for a moment, from scratch: mixtures have no network to start from."""
    return METHODS[name].Method(**{"reference_frac": 0.25, "training": TINY, "init": "scratch", **fields})


def look(guided: Guided, shape: tuple[int, ...] = (3, 2, 2), dtype: torch.dtype = torch.float64) -> Tensor:
    """What a denoiser says of some fixed rows at three timesteps."""
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    batch = Batch(torch.arange(5), torch.zeros(5, dtype=torch.long), 2)
    with torch.no_grad():
        return torch.stack([guided.denoise(x, t, batch) for t in (999, 500, 0)])


def unlabelled(images: np.ndarray, digest: str) -> LabelledImages:
    return LabelledImages("unlabelled", images, np.zeros((len(images), 1), int), (GROUP,), EVEN.numpy(), digest)
