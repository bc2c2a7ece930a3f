"""Repositories that hold weights in half precision alone, under the name of that variant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file, save_file

from bench.core.errors import ConfigError
from bench.models import load_model
from bench.models.pretrained import WEIGHTS
from tests.models.test_pipelines_flow import PROMPTS
from tests.models.test_pipelines_flow import pipeline as stable_diffusion_3
from tests.support.pipelines import assert_same_model, ddim_scheduler, tiny_unet

HALF = "diffusion_pytorch_model.fp16.safetensors"


def halve(folder: Path) -> Path:
    """Every network's weights in half precision, under the variant's name alone."""
    for file in list(folder.rglob("*model.safetensors")):
        state = {key: value.half() if value.is_floating_point() else value for key, value in load_file(file).items()}
        save_file(state, file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"})
        file.unlink()
    return folder


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half") / "ddpm"
    network = tiny_unet()
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})  # what half holds exactly
    DDPMPipeline(network, ddim_scheduler()).save_pretrained(folder)
    return folder


def test_a_unet_in_half_precision_alone_is_widened(unet: Path, tmp_path: Path) -> None:
    half = halve(Path(shutil.copytree(unet, tmp_path / "half")))
    assert [f.name for f in (half / "unet").glob("*.safetensors")] == [HALF]
    whole, widened = load_model(f"path:{unet}"), load_model(f"path:{half}")
    assert_same_model(widened, whole)
    assert widened.digest != whole.digest  # of the files' bytes
    (half / "unet" / HALF).rename(half / HALF)
    (half / "unet" / "config.json").rename(half / "config.json")
    (half / "unet").rmdir()
    assert_same_model(load_model(f"path:{half}"), whole)  # as the first pipelines are laid out


def test_parts_of_half_precision_are_read_by_their_own_index(unet: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(unet, tmp_path / "half")) / "unet"
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    parts = {f"diffusion_pytorch_model.fp16-0000{i + 1}-of-00002.safetensors": sorted(state)[i::2] for i in (0, 1)}
    for name, keys in parts.items():
        save_file({key: state[key].half() for key in keys}, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (folder / f"{WEIGHTS}.index.fp16.json").write_text(json.dumps(index))
    model = load_model(f"path:{folder.parent}")
    assert_same_model(model, load_model(f"path:{unet}"))
    last = folder / sorted(parts)[-1]
    last.unlink()
    with pytest.raises(ConfigError, match=f"no weights at {last}; only safetensors are read"):
        load_model(f"path:{folder.parent}")


def test_other_weights_go_before_those_in_half_precision(unet: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(unet, tmp_path / "both"))
    save_file({"odd": torch.zeros(1)}, both / "unet" / HALF)
    assert load_model(f"path:{both}").digest == load_model(f"path:{unet}").digest


def test_every_component_may_be_in_half_precision(tmp_path: Path) -> None:
    """Transformer, autoencoder, CLIP's encoders and T5's."""
    stable_diffusion_3(tmp_path, third=True)
    whole: Any = load_model(f"path:{tmp_path / 'saved'}", fields={"prompts": PROMPTS})
    half: Any = load_model(f"path:{halve(tmp_path / 'saved')}", fields={"prompts": PROMPTS})
    assert {p.dtype for p in half.network.parameters()} == {torch.float32}
    x = torch.randn(2, *whole.shape, generator=torch.Generator().manual_seed(0))
    asked = x, torch.full((2,), 400), torch.tensor([1, 0])
    found, wanted = half.denoise(*asked), whole.denoise(*asked)
    assert 0 < float((found - wanted).norm() / wanted.norm()) < 0.02
    before = half.digest
    encoder = tmp_path / "saved" / "text_encoder_3" / "model.fp16.safetensors"
    save_file({k: 2 * v for k, v in load_file(encoder).items()}, encoder, {"format": "pt"})
    assert load_model(f"path:{tmp_path / 'saved'}", fields={"prompts": PROMPTS}).digest != before
