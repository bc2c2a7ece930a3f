"""Every family of pipelines with every method: it samples where its needs are met, and says what it lacks elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline

from bench.core import plugins
from bench.core.errors import Incompatible
from bench.models import PIPELINES, load_model
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from tests.methods.test_contracts import method_of
from tests.models.test_pipelines_flow import pipeline as stable_diffusion_3
from tests.models.test_pipelines_flux import pipeline as flux
from tests.models.test_pipelines_latent import LABELS, dit_pipeline, latent_diffusion
from tests.models.test_pipelines_pixel_text import pipeline as pixel_text
from tests.models.test_pipelines_text import stable_diffusion, stable_diffusion_xl
from tests.support.pipelines import GROUPS, SEED, N, ddpm_scheduler, patterns, rewrite, tiny_unet

STEPS = Sampler("ddim", 2)
WORDS = {"prompts": {"none": "the cat", "pattern=rows": "a dog", "pattern=columns": "two"}}
FEW = {"labels_per_class": 8}  # of the 24 striped images
FIELDS: dict[str, dict[str, Any]] = {
    "distribution_guidance": FEW,
    "sample_guidance": FEW,
    "latent_editing": {**FEW, "calibration": 2},
    "class_gap_guidance": {**FEW, "calibration": 2},
    "closed_loop_editing": FEW,
    "attribute_switching": {"minibatch": 2, "minibatches": 1},
}


def dit(folder: Path) -> None:
    dit_pipeline().save_pretrained(folder / "saved")
    rewrite("model_index.json", id2label=LABELS)(folder / "saved")


# How a tiny one is saved to FOLDER/saved, and the fields that it is loaded with.
FAMILIES: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "DDPMPipeline": (lambda folder: DDPMPipeline(tiny_unet(), ddpm_scheduler()).save_pretrained(folder / "saved"), {}),
    "LDMPipeline": (lambda folder: latent_diffusion("kl").save_pretrained(folder / "saved"), {}),
    "DiTPipeline": (dit, {"conditions": {"pattern=rows": 0, "pattern=columns": 1}}),
    "IFPipeline": (pixel_text, WORDS),
    "StableDiffusionPipeline": (stable_diffusion, WORDS),
    "StableDiffusionXLPipeline": (stable_diffusion_xl, WORDS),
    "StableDiffusion3Pipeline": (stable_diffusion_3, WORDS),
    "FluxPipeline": (flux, {**WORDS, "image_size": 16, "max_sequence_length": 32}),
}
TRAINED = ("tiw_dsm", "iw_dsm", "dsm_ref", "dsm_halves")  # from the model; dsm_obs trains from scratch
FLOWS = ("StableDiffusion3Pipeline", "FluxPipeline")
PIXELS, UNASKED = ("DDPMPipeline", "IFPipeline"), ("DDPMPipeline", "LDMPipeline")


class Stripes:
    """A differentiable classifier of images, as the shipped ones: more change down a column than along a row."""

    attributes, digest = (GROUPS,), "stripes"

    def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if x.shape[1] != 3:
            raise Incompatible(f"stripes are of images with 3 channels, got {x.shape[1]}; choose a model over pixels")
        down, along = (x.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))
        return {GROUPS.name: torch.stack([down, along], dim=1)}


@pytest.fixture(scope="module")
def task_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Task]:
    @cache
    def make(family: str) -> Task:
        folder = tmp_path_factory.mktemp(family)
        save, fields = FAMILIES[family]
        save(folder)
        model = load_model(f"path:{folder / 'saved'}", fields=fields)
        images = patterns(model.image_size)
        return Task(
            model, (GROUPS,), np.array([0.9, 0.1]), STEPS.timesteps(model), images, lambda _: Stripes(),
            observed=images, unbiased=images, cache=FitCache(folder / "fits"),
        )  # fmt: skip

    return make


def test_every_family_is_here() -> None:
    assert set(FAMILIES) | {"DDIMPipeline"} == set(PIPELINES)  # which is read as DDPMPipeline is


@pytest.mark.parametrize("name", plugins.names("method"))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_method_runs_or_says_what_it_lacks(task_of: Callable[[str], Task], family: str, name: str) -> None:
    task = task_of(family)
    method = method_of(name, **FIELDS.get(name, {}))
    if lacks(family, name):
        with pytest.raises(Incompatible, match="; ") as caught:  # what is missing, then what to do
            drawn(task, method)
        assert "\n" not in str(caught.value)
        return
    found = drawn(task, method)
    assert found.shape == (N, *task.model.shape)
    assert bool(torch.isfinite(found).all())
    assert task.model.decode(found).shape == (N, 3, task.model.image_size, task.model.image_size)


def lacks(family: str, name: str) -> bool:
    """Whether a method cannot run: images that its classifier sees, conditions, or a U-Net to train are missing."""
    return (
        (name in ("universal_guidance", "rejection") and family not in PIXELS)
        or (name in ("attribute_switching", "random_class") and family in UNASKED)
        or (name in TRAINED and family in FLOWS)
    )


def drawn(task: Task, method: Any) -> torch.Tensor:
    guided = method.build(task, SEED)
    batch = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), 2)
    return sample_batch(task.model, guided.denoise, STEPS, batch, SEED, guided.repeats)
