"""A bench small enough for tests: a tiny saved U-Net, and a suite on it that runs in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import DDIMScheduler, UNet2DModel

from bench.models.mixture import SCHEDULER


def save_tiny_unet(folder: Path, **changes: Any) -> Path:
    """A random 32 x 32 v-predicting U-Net, as diffusers saves it."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 48,
        "out_channels": 48,
        "block_out_channels": (32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,  # 32 groups of one channel would normalise the embeddings of t and class away
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        **changes,
    }
    UNet2DModel(**arguments).save_pretrained(folder)
    DDIMScheduler(**SCHEDULER, prediction_type="v_prediction").save_config(folder)
    return folder


def small_suite(folder: Path, **changes: Any) -> Path:
    """A suite file on the tiny model in `folder`/model, which is saved there if it is not."""
    if not (folder / "model").is_dir():
        save_tiny_unet(folder / "model")
    suite: dict[str, Any] = {
        "suite": "small",
        "model": f"path:{folder / 'model'}",
        "n": 25,
        "guidance_batch": 10,
        "sampler": {"name": "ddim", "steps": 3},
        "tasks": [{"attributes": ["eyeglasses"]}, {"attributes": ["skin_tone"], "target": [0.2, 0.3, 0.5]}],
        "methods": [
            {"name": "vanilla"},
            {"name": "sample_guidance", "with": {"labels_per_class": 20}},
            {"name": "distribution_guidance", "with": {"labels_per_class": 20}},
        ],
        "labelled": "avatars-heldout",
        "features": [],
        "references": {},
        "metrics": ["fairness_discrepancy"],
        **changes,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path
