"""Networks in the files that the published backbones come in, small and with random weights, and images for them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.digest import file_digest

OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}


class _Layers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 23, stride=23)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))).mean((2, 3), keepdim=True)


class _Detector(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = _Layers(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def save_detector(path: Path, width: int = 12) -> dict[str, Any]:
    """A TorchScript archive with `layers`, as clean-fid's Inception; the fields that load it."""
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        torch.jit.script(_Detector(width)).save(str(path))
    return {"weights": str(path), "sha256": file_digest(path)}


def save_dinov2(folder: Path, architecture: str = "vit_small_patch14_dinov2", seed: int = 0, **changes: Any) -> Path:
    """A folder as timm's DINOv2 networks have it on the hub."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = timm.create_model(architecture, num_classes=0, **SMALL)
    with torch.no_grad():  # timm begins with layer scales of 1e-5, through which hardly anything would pass
        for name, value in network.named_parameters():
            value.copy_(torch.randn_like(value) * (0.3 if name.endswith("gamma") else 0.2))
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"architecture": architecture, "num_classes": 0, "model_args": SMALL, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_clip(folder: Path) -> Path:
    """A folder as open_clip writes it, with the image transform of OpenAI's ViT-B/32."""
    vision = {"image_size": 224, "layers": 1, "width": 32, "patch_size": 32, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    config = {"embed_dim": 10, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    written = {"model_cfg": config, "preprocess_cfg": OPENAI | {"interpolation": "bicubic", "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    return folder


def pictures(n: int, seed: int, dark: float = 1.0) -> Tensor:
    """Blurred blots, uint8 [n, 3, 40, 32]: of sizes that no resize may swap, and no two alike."""
    rng = np.random.default_rng(seed)
    small = (rng.uniform(0, 255 * dark, (n, 5, 4, 3))).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((32, 40), Image.Resampling.BILINEAR)) for one in small]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).contiguous()


def save_pngs(folder: Path, images: Tensor) -> str:
    """The images as PNG files; their folder."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return str(folder)
